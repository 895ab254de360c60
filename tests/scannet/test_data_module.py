from functools import partial
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
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
    SceneDataModule,
    SceneLoader,
)
from latentgraph.scannet.lightning_module import SegmentationModule
from latentgraph.scannet.network_config import NetworkConfig
from latentgraph.scannet.parcel import packed
from latentgraph.scannet.scene_order import SceneBatches, SceneSampler
from latentgraph.scannet.segmenter import Segmenter
from latentgraph.scannet.transforms import RandomRotateZ, Voxelize, mix
from latentgraph.voxel.graph import block_size_for


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


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_go_on_with_the_next_epoch_unless_another_is_set(workers: int) -> None:
    sampler = SceneSampler(5, shuffle=True, seed=3)
    loader = SceneLoader(
        Keys(),
        batch_sampler=SceneBatches(sampler, 2, endless=True),
        collate_fn=partial(packed, list) if workers else list,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    for epoch, taken in ((0, 3), (1, 3), (2, 1), (3, 3), (7, 3), (8, 3), (8, 3)):
        sampler.set_epoch(epoch)
        # As Lightning does, which does not ask for a batch after the last.
        found = [key for batch in islice(loader, taken) for key in batch]
        expected = [(epoch, (scene,)) for scene in sampler.scenes_of(epoch)]
        assert found == expected[: 2 * taken]


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


def test_processes_need_scenes(rooms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = SegmentationModule(NetworkConfig(voxel_size=0.4, channels=(3, 5)))
    data = SceneDataModule(rooms, num_workers=0)
    trainer = SimpleNamespace(lightning_module=module, global_rank=0, world_size=4)
    monkeypatch.setattr(data, "trainer", trainer)
    with pytest.raises(ValueError, match="a scene or more for each of 4 processes, got 3"):
        data.val_dataloader()


def test_it_needs_a_trainer() -> None:
    with pytest.raises(RuntimeError, match="inside a Trainer"):
        SceneDataModule("rooms").train_dataloader()
