import pytest
import torch
from random_scenes import scene

from latentgraph.scannet.transforms import (
    ColorAutoContrast,
    ColorDrop,
    ColorJitter,
    ColorShift,
    NormalDrop,
)


def test_auto_contrast_fills_the_range() -> None:
    data = scene()
    data.color = 0.2 + 0.3 * data.color
    data.color[:, 2] = 0.4  # nothing to stretch
    color = ColorAutoContrast(p=1.0, blend=1.0)(data).color
    assert torch.equal(color[:, :2].amin(dim=0), torch.zeros(2))
    assert torch.equal(color[:, :2].amax(dim=0), torch.ones(2))
    assert torch.equal(color[:, 2], data.color[:, 2])
    half = ColorAutoContrast(p=1.0, blend=0.5)(data).color
    torch.testing.assert_close(half, (color + data.color) / 2)
    assert torch.equal(ColorAutoContrast(p=1.0, blend=0.0)(data).color, data.color)


def test_auto_contrast_draws_its_blend() -> None:
    data = scene()
    data.color = 0.2 + 0.3 * data.color
    low = [float(ColorAutoContrast(p=1.0)(data).color.amin()) for _ in range(97)]
    assert 0.0 <= min(low) < 0.03
    assert 0.17 < max(low) <= 0.21


def test_shift() -> None:
    data = scene()
    data.color = torch.full_like(data.color, 0.5)
    moved = torch.stack([ColorShift(0.1, p=1.0)(data).color - 0.5 for _ in range(199)])
    assert torch.equal(moved, moved[:, :1].expand_as(moved))
    assert float(moved.abs().max()) <= 0.1
    assert float(moved.amax()) > 0.09
    assert float(moved.amin()) < -0.09
    assert float((moved[:, 0, 0] - moved[:, 0, 1]).abs().max()) > 0.05
    assert float(ColorShift(5.0, p=1.0)(data).color.max()) <= 1.0


def test_jitter() -> None:
    data = scene(9973)
    data.color = torch.full_like(data.color, 0.5)
    noise = ColorJitter(0.02, p=1.0)(data).color - data.color
    assert float(noise.std()) == pytest.approx(0.02, rel=0.05)
    bright = ColorJitter(3.0, p=1.0)(data).color
    assert (float(bright.min()), float(bright.max())) == (0.0, 1.0)


def test_drops() -> None:
    data = scene()
    assert (ColorDrop(p=1.0)(data).color == 0.5).all()
    assert not NormalDrop(p=1.0)(data).normal.any()
    del data.normal
    assert "normal" not in NormalDrop(p=1.0)(data)


@pytest.mark.parametrize("kind", [ColorShift, ColorJitter, ColorDrop, ColorAutoContrast])
def test_probability(kind: type) -> None:
    data, transform = scene(11), kind(p=0.3)
    still = sum(torch.equal(transform(data).color, data.color) for _ in range(199)) / 199
    assert abs(still - 0.7) < 0.12
    assert torch.equal(kind(p=0.0)(data).color, data.color)
