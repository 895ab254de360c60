from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset
from torch_geometric.data import Batch

from latentgraph.scannet import ScanNet
from latentgraph.scannet.data_module import (
    CollateVoxels,
    EpochScenes,
    SceneBatches,
    SceneDataModule,
    SceneLoader,
    SceneSampler,
)
from latentgraph.scannet.network_config import NetworkConfig
from latentgraph.scannet.segmenter import Segmenter
from latentgraph.scannet.transforms import RandomRotateZ, Voxelize, mix
from latentgraph.voxel.graph import block_size_for


def test_each_epoch_has_an_order_of_its_own_that_the_seed_repeats() -> None:
    sampler = SceneSampler(11, shuffle=True, seed=3)
    orders = []
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        keys = list(sampler)
        assert {key[0] for key in keys} == {epoch}
        orders.append([scene for _, scene in keys])
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(11))
    assert orders[0] != [scene for _, scene in SceneSampler(11, shuffle=True, seed=4)]


@pytest.mark.parametrize("num_scenes", [0, 1, 7, 13])
def test_processes_evaluate_every_scene_once(num_scenes: int) -> None:
    samplers = [SceneSampler(num_scenes, False, rank=rank, world_size=3) for rank in range(3)]
    seen = Counter(scene for sampler in samplers for _, scene in sampler)
    assert seen == dict.fromkeys(range(num_scenes), 1)
    assert [len(sampler) for sampler in samplers] == [len(list(sampler)) for sampler in samplers]


@pytest.mark.parametrize("num_scenes", [0, 1, 7, 13])
def test_processes_train_in_step_on_different_scenes(num_scenes: int) -> None:
    samplers = [SceneSampler(num_scenes, True, rank=rank, world_size=3) for rank in range(3)]
    seen = [scene for sampler in samplers for _, scene in sampler]
    assert len(set(seen)) == len(seen) == num_scenes // 3 * 3
    assert {len(sampler) for sampler in samplers} == {num_scenes // 3}


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_batches_hold_every_scene_once_some_of_them_mixed(share: float) -> None:
    sampler = SceneSampler(997, shuffle=True, seed=3)
    batches = SceneBatches(sampler, 5, share)
    sampler.set_epoch(7)
    found = list(batches)
    assert len(found) == len(batches) == 200
    assert {epoch for batch in found for epoch, _ in batch} == {7}
    order = [scene for batch in found for _, scenes in batch for scene in scenes]
    assert order == [scene for _, scene in sampler]
    shapes = Counter(tuple(len(scenes) for _, scenes in batch) for batch in found)
    assert abs(sum(n for shape, n in shapes.items() if 2 in shape) / 200 - share) < 0.1
    assert set(shapes) <= {(1, 1, 1, 1, 1), (2, 2, 1), (1, 1), (2,)}
    assert list(SceneBatches(sampler, 5, share)) == found


def test_augmentation_depends_on_seed_epoch_and_scene_alone(rooms: Path) -> None:
    scenes = ScanNet(rooms, "train")
    dataset = EpochScenes(scenes, RandomRotateZ(), None, seed=5)
    state = torch.random.get_rng_state()
    first = dataset[2, (1,)].pos
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(7)
    assert torch.equal(dataset[2, (1,)].pos, first)
    assert not torch.equal(dataset[3, (1,)].pos, first)
    other = EpochScenes(scenes, RandomRotateZ(), None, seed=6)
    assert not torch.equal(other[2, (1,)].pos, first)
    angles = [turned_by(scenes[scene].pos, dataset[2, (scene,)].pos) for scene in range(3)]
    assert len(set(np.round(angles, 4))) == 3


def test_an_epoch_is_the_one_that_is_set_before_its_first_batch() -> None:
    sampler = SceneSampler(3, shuffle=False)
    for workers in (0, 1):
        sampler.set_epoch(0)
        loader = SceneLoader(
            Keys(), batch_sampler=SceneBatches(sampler, 3), collate_fn=list, num_workers=workers
        )
        opened = iter(loader)
        sampler.set_epoch(5)
        assert list(opened) == [[(5, (0,)), (5, (1,)), (5, (2,))]]


class Keys(Dataset[Any]):
    r"""Gives back what it is asked for."""

    def __getitem__(self, key: Any) -> Any:
        return key


def test_scenes_are_mixed_after_they_were_changed_each_by_itself(rooms: Path) -> None:
    scenes = ScanNet(rooms, "train")
    dataset = EpochScenes(scenes, RandomRotateZ(), None, seed=5)
    mixed = dataset[2, (1, 0)]
    parts = [dataset[2, (1,)], dataset[2, (0,)]]
    assert torch.equal(mixed.pos, mix(parts).pos)
    voxels = EpochScenes(scenes, RandomRotateZ(), Voxelize(0.4), seed=5)[2, (1, 0)]
    assert torch.equal(voxels.coord, Voxelize(0.4)(mixed).coord)


def turned_by(before: torch.Tensor, after: torch.Tensor) -> float:
    angle = torch.atan2(after[0, 1], after[0, 0]) - torch.atan2(before[0, 1], before[0, 0])
    return float(angle) % (2 * np.pi)


def test_graphs_come_with_a_batch_and_change_nothing(rooms: Path) -> None:
    segmenter = Segmenter(NetworkConfig(voxel_size=0.4, channels=(3, 5, 7))).eval()
    scenes = [segmenter.voxelize(scene) for scene in ScanNet(rooms, "val")]
    batch = CollateVoxels(segmenter.config, block_size_for("cpu"))(scenes)
    with torch.no_grad():
        found_ahead = segmenter(batch.to("cpu"))
        found_there = segmenter(Batch.from_data_list(scenes))
    assert torch.equal(found_ahead, found_there)


@pytest.mark.parametrize("argument", ["batch_size", "num_workers"])
def test_numbers_must_make_sense(argument: str) -> None:
    with pytest.raises(ValueError, match=f"data.{argument} must be at least ., got -1"):
        SceneDataModule("rooms", **{argument: -1})


def test_it_needs_a_trainer() -> None:
    with pytest.raises(RuntimeError, match="inside a Trainer"):
        SceneDataModule("rooms").train_dataloader()
