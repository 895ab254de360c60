import pytest
import torch
from random_scenes import distances, scene, slopes
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from latentgraph.scannet.transforms import (
    RandomFlip,
    RandomJitter,
    RandomRotateZ,
    RandomScale,
    RandomTilt,
)
from latentgraph.scannet.transforms.motions import turned


@pytest.mark.parametrize("transform", [RandomRotateZ(), RandomFlip()])
def test_turns_and_mirrors_move_normals_along(transform: BaseTransform) -> None:
    data = scene()
    moved = transform(data)
    torch.testing.assert_close(slopes(moved), slopes(data), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(distances(moved.pos), distances(data.pos), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(moved.pos[:, 2], data.pos[:, 2])
    torch.testing.assert_close(moved.normal[:, 2], data.normal[:, 2])


def test_angles_stay_in_their_range_and_fill_it() -> None:
    data = Data(pos=torch.tensor([[1.0, 0.0, 5.0]]))
    moved = torch.cat([RandomRotateZ(30.0)(data).pos for _ in range(199)])
    angle = torch.atan2(moved[:, 1], moved[:, 0]).rad2deg()
    assert float(angle.abs().max()) <= 30.001
    assert float(angle.min()) < -25
    assert float(angle.max()) > 25


def test_flips_of_both_axes_and_of_none() -> None:
    data = Data(pos=torch.tensor([[1.0, 2.0, 3.0]]))
    seen = {tuple(RandomFlip()(data).pos[0].tolist()) for _ in range(61)}
    assert seen == {(x, y, 3.0) for x in (1.0, -1.0) for y in (2.0, -2.0)}
    assert torch.equal(RandomFlip(0.0)(data).pos, data.pos)
    assert torch.equal(RandomFlip(1.0)(data).pos, torch.tensor([[-1.0, -2.0, 3.0]]))


def test_scale() -> None:
    data = scene()
    factors = []
    for _ in range(53):
        moved = RandomScale(0.5, 2.0)(data)
        factor = moved.pos[0, 0] / data.pos[0, 0]
        torch.testing.assert_close(moved.pos, data.pos * factor)
        assert torch.equal(moved.normal, data.normal)
        factors.append(float(factor))
    assert 0.5 <= min(factors) < 0.7
    assert 1.8 < max(factors) <= 2.0


def test_jitter() -> None:
    data = scene(9973)
    moved = RandomJitter(0.01)(data).pos - data.pos
    assert float(moved.std()) == pytest.approx(0.01, rel=0.05)
    assert float(moved.abs().max()) <= 0.0401
    assert torch.equal(RandomJitter(0.0)(data).pos, data.pos)


def test_turns_are_counterclockwise() -> None:
    for axis, before, after in (
        (0, [0, 1, 0], [0, 0, 1]),
        (1, [0, 0, 1], [1, 0, 0]),
        (2, [1, 0, 0], [0, 1, 0]),
    ):
        data = turned(Data(pos=torch.tensor([before]).float()), 90.0, axis)
        torch.testing.assert_close(data.pos, torch.tensor([after]).float())


def test_tilts_are_small_and_about_both_axes() -> None:
    up = Data(pos=torch.tensor([[0.0, 0.0, 1.0]]), normal=torch.tensor([[0.0, 0.0, 1.0]]))
    tilted = [RandomTilt(5.0)(up) for _ in range(199)]
    lean = torch.cat([data.pos[:, :2] for data in tilted])
    limit = torch.tensor(5.0).deg2rad().sin()
    assert bool((lean.abs() <= limit + 1e-6).all())
    for axis in (0, 1):
        values = lean[:, axis].abs()
        assert 0.35 < float((values == 0).float().mean()) < 0.65
        assert float(values.max()) > 0.9 * limit
    assert all(torch.equal(data.pos, data.normal) for data in tilted)


@pytest.mark.parametrize("transform", [RandomRotateZ(p=0.3), RandomTilt(p=0.0)])
def test_probability(transform: BaseTransform) -> None:
    data = scene(7)
    still = sum(torch.equal(transform(data).pos, data.pos) for _ in range(199)) / 199
    assert abs(still - (1 - transform.p)) < 0.12
