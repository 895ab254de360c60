r"""Scenes in batches: their order and augmentation are functions of seed, epoch and scene."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch_geometric.data import Batch, Data
from torch_geometric.transforms import BaseTransform, Compose

from latentgraph.scannet.dataset import ScanNet
from latentgraph.scannet.network_config import NetworkConfig, TrainedOn
from latentgraph.scannet.parcel import Parcel, packed
from latentgraph.scannet.scene_order import SceneBatches, SceneSampler
from latentgraph.scannet.segmenter import Segmenter
from latentgraph.scannet.transforms import augmentation, mix
from latentgraph.voxel import VoxelLevels
from latentgraph.voxel.graph import block_size_for


class EpochScenes(Dataset[Data]):
    r"""Voxelized scenes under a random transform that depends on seed, epoch and scene alone.

    Args:
        scenes: The scenes.
        transform: Applied to each; draws from torch's global generator alone.
        voxelize: Applied after that, to several scenes mixed into one too; None to leave it out.
        seed: Of what is random.
    """

    def __init__(
        self,
        scenes: ScanNet,
        transform: BaseTransform,
        voxelize: BaseTransform | None,
        seed: int = 0,
    ) -> None:
        self.scenes = scenes
        self.transform = transform
        self.voxelize = voxelize
        self.seed = seed

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, key: tuple[int, tuple[int, ...]]) -> Data:
        epoch, scenes = key
        changed = []
        with torch.random.fork_rng(devices=[]):
            for scene in scenes:
                seed = np.random.SeedSequence((self.seed, epoch, scene)).generate_state(1)
                torch.default_generator.manual_seed(int(seed[0]))
                changed.append(self.transform(self.scenes[scene]))
            mixed = mix(changed)
            return mixed if self.voxelize is None else self.voxelize(mixed)


class CollateVoxels:
    r"""Voxelized scenes as one batch, with its voxel graphs: work for the loader's processes.

    Args:
        config: Of the network that the graphs are for.
        block_size: What suits the device of the network, not that of the loader.
    """

    def __init__(self, config: NetworkConfig, block_size: int) -> None:
        self.config = config
        self.block_size = block_size

    def __call__(self, scenes: list[Data]) -> Batch:
        batch = Batch.from_data_list(scenes)
        batch.levels = VoxelLevels.build(
            batch.coord,
            batch.batch,
            batch.num_graphs,
            num_levels=len(self.config.channels),
            kernel_size=self.config.kernel_size,
            stem_kernel_size=self.config.stem_kernel_size,
            block_size=self.block_size,
        )
        return batch


class SceneLoader(DataLoader[Any]):
    r"""A loader whose processes start on an epoch when its first batch is asked for.

    Lightning opens the first epoch before it has read which one a checkpoint goes on with. With
    endless :class:`SceneBatches` they go on with the next epoch while this one ends.
    """

    _running: tuple[int, Iterator[Any]] | None = None  # an epoch that has not begun, and on

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        batches = self.batch_sampler
        assert isinstance(batches, SceneBatches)
        epoch, running = batches.sampler.epoch, self._running
        self._running = None
        found = running[1] if running and running[0] == epoch else super().__iter__()
        for left in reversed(range(len(self))):
            batch = next(found)
            if batches.endless and left == 0:
                self._running = epoch + 1, found
            yield batch.open() if isinstance(batch, Parcel) else batch


class SceneDataModule(LightningDataModule):
    r"""Prepared scenes for training and for evaluation.

    Args:
        root: Folder of the release, with ``scans/`` in it; prepared by ``latentgraph prepare``.
        out: Folder of the prepared scenes, null for where ``latentgraph prepare ROOT`` puts them.
        split: Split to evaluate on.
        batch_size: Scenes in a step of training.
        num_workers: Processes that load scenes, 0 to load in the training process.
        augment: Random transforms of the scenes of training by name, see
            :func:`~latentgraph.scannet.augmentation`.
        mix: Probability that the scenes of a batch are mixed two by two, as Mix3D does.
        seed: Of order and augmentation.
        scene_list: File with the names of the scenes to train on, null for all.
        annotated: File with the vertices whose labels are to be used in training, null for all.
    """

    def __init__(
        self,
        root: str | Path,
        out: str | Path | None = None,
        split: str = "val",
        batch_size: int = 2,
        num_workers: int = 1,
        augment: Sequence[dict[str, dict[str, Any]]] = ({"RandomRotateZ": {}}, {"RandomFlip": {}}),
        mix: float = 0.0,
        seed: int = 0,
        scene_list: str | Path | None = None,
        annotated: str | Path | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"data.batch_size must be at least 1, got {batch_size}")
        if num_workers < 0:
            raise ValueError(f"data.num_workers must be at least 0, got {num_workers}")
        if not 0.0 <= mix <= 1.0:
            raise ValueError(f"data.mix must be a probability, got {mix}")
        self.root = root
        self.out = out
        self.split = split
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.augment = augmentation(augment)
        self.mix = mix
        self.seed = seed
        self.scene_list = scene_list
        self.annotated = annotated
        self._scenes: dict[str, ScanNet] = {}

    def scenes(self, split: str) -> ScanNet:
        r"""The scenes of a split, prepared where they are not yet."""
        if split not in self._scenes:
            training = split == "train"
            self._scenes[split] = ScanNet(
                self.root,
                split,
                self.out,
                self._segmenter.labels,
                scene_list=self.scene_list if training else None,
                annotated=self.annotated if training else None,
            )
        return self._scenes[split]

    def prepare_data(self) -> None:
        r"""Called by Lightning in one process, before anything is written for the run."""
        assert self.trainer is not None
        if not self.trainer.validating:
            self.scenes("train")
        if self.trainer.limit_val_batches != 0:
            self.scenes(self.split)

    def class_counts(self) -> Tensor:
        r"""Vertices of each class in the scenes of training, (C,) int64."""
        classes = self._segmenter.labels.num_classes
        counts = torch.zeros(classes, dtype=torch.int64)
        for scene in self.scenes("train"):
            counts += torch.bincount(scene.y[scene.y >= 0], minlength=classes)
        if not counts.any():
            raise ValueError(f"no vertex of the scenes of training under {self.root} has a class")
        return counts

    def trained_on(self) -> TrainedOn:
        r"""What to say about the scenes of training in a checkpoint."""
        rooms = [int(scene.room.max()) + 1 for scene in self.scenes("train") if "room" in scene]
        source = "scans" if not rooms else "rooms" if max(rooms) == 1 else "apartments"
        return TrainedOn(source, len(self.scenes("train")))

    def train_dataloader(self) -> DataLoader[Any]:
        r"""Shuffled, augmented batches."""
        scenes = EpochScenes(
            self.scenes("train"), self.augment, self._segmenter.voxelize, self.seed
        )
        return self._loader(scenes, self.batch_size, self.mix, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        r"""Whole scenes, one at a time; not voxelized where they are voted on."""
        assert self.trainer is not None
        votes = getattr(self.trainer.lightning_module, "votes", None)
        voxelize = None if votes is not None else self._segmenter.voxelize
        scenes = EpochScenes(self.scenes(self.split), Compose([]), voxelize, self.seed)
        return self._loader(scenes, 1, 0.0, shuffle=False)

    @property
    def _segmenter(self) -> Segmenter:
        segmenter = getattr(self.trainer and self.trainer.lightning_module, "segmenter", None)
        if not isinstance(segmenter, Segmenter):
            raise RuntimeError("a SceneDataModule works inside a Trainer with a SegmentationModule")
        return segmenter

    def _loader(
        self, scenes: EpochScenes, batch_size: int, mix: float, shuffle: bool
    ) -> DataLoader[Any]:
        assert self.trainer is not None
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        if len(scenes) < world_size:
            raise ValueError(
                f"expected a scene or more for each of {world_size} processes, got {len(scenes)}"
            )
        sampler = SceneSampler(len(scenes), shuffle, self.seed, rank, world_size)
        # Asked here, since the processes that load have one thread each.
        block_size = block_size_for(self.trainer.strategy.root_device.type)
        collate = CollateVoxels(self._segmenter.config, block_size)
        whole = _only_one if scenes.voxelize is None else collate
        return SceneLoader(
            scenes,
            collate_fn=partial(packed, whole) if self.num_workers else whole,
            batch_sampler=SceneBatches(sampler, batch_size, mix, endless=shuffle),
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )


def _only_one(scenes: list[Data]) -> Data:
    (scene,) = scenes
    return scene
