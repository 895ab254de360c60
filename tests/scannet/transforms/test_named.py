from typing import Any

import pytest
import torch
from random_scenes import scene

from latentgraph.scannet import transforms
from latentgraph.scannet.transforms import Voxelize, augmentation
from latentgraph.scannet.transforms.named import AUGMENTATIONS

ALL = [{name: {}} for name in AUGMENTATIONS]


def test_every_random_transform_has_its_name() -> None:
    kinds = {getattr(transforms, name) for name in transforms.__all__ if name[0].isupper()}
    assert set(AUGMENTATIONS.values()) == kinds - {Voxelize}


def test_a_seed_repeats_them() -> None:
    data = scene()
    results = []
    for seed in (11, 11, 13):
        torch.manual_seed(seed)
        results.append(Voxelize(0.1)(augmentation(ALL)(data)).x)
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_the_scene_is_left_as_it_was() -> None:
    data = scene()
    before = data.clone()
    for kind in (*AUGMENTATIONS.values(), lambda: Voxelize(0.3)):
        kind()(data)
        for key, value in before.to_dict().items():
            assert value == data[key] if isinstance(value, str) else torch.equal(value, data[key])


@pytest.mark.parametrize("kind", AUGMENTATIONS.values())
@pytest.mark.parametrize("count", [0, 1])
def test_no_vertex_and_one(kind: Any, count: int) -> None:
    changed = kind()(scene(count))
    assert {len(changed[key]) for key in ("pos", "color", "normal", "y", "room")} == {count}


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"RandomShear": {}}, "a transform of RandomRotateZ, .* got 'RandomShear'"),
        ({"RandomFlip": {}, "RandomScale": {}}, "one transform by name"),
        ({"RandomFlip": {"q": 1.0}}, "RandomFlip with .*q"),
        ({"RandomRotateZ": {"degrees": -1.0}}, "degrees must be at least 0, got -1.0"),
        ({"RandomFlip": {"p": 1.5}}, "p must be a probability, got 1.5"),
        ({"RandomScale": {"low": 1.2, "high": 0.8}}, "0 < low <= high"),
        ({"RandomScale": {"low": 0.0}}, "0 < low <= high"),
        ({"RandomJitter": {"sigma": float("nan")}}, "sigma must be at least 0, got nan"),
        ({"ColorShift": {"shift": -0.1}}, "shift must be at least 0"),
        ({"ColorAutoContrast": {"blend": 2.0}}, "blend must be from 0 to 1"),
        ({"RandomDropout": {"ratio": 1.0}}, "ratio must be from 0 to below 1"),
        ({"RandomCrop": {"max_points": 0}}, "max_points must be at least 1"),
    ],
)
def test_arguments_that_cannot_be(step: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        augmentation([step])
