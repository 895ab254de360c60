r"""Scenes in batches: their order and augmentation are functions of seed, epoch and scene."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torch_geometric.data import Batch, Data
from torch_geometric.transforms import BaseTransform, Compose

from latentgraph.scannet.dataset import ScanNet
from latentgraph.scannet.segmenter import NetworkConfig, Segmenter, TrainedOn
from latentgraph.scannet.transforms import RandomFlip, RandomRotateZ
from latentgraph.voxel import VoxelLevels
from latentgraph.voxel.graph import block_size_for


class SceneSampler(Sampler[tuple[int, int]]):
    r"""Pairs (epoch, scene), each scene at most once an epoch over all processes together.

    The epoch travels with the index, since a loader's workers have no other way to learn of it.

    Args:
        num_scenes: Number of scenes.
        shuffle: A new order each epoch, else ascending.
        seed: Of the order.
        rank: Number of this process.
        world_size: Number of processes, which share the scenes. With ``shuffle`` each gets equally
            many, so that they stay in step, and a few scenes may wait for another epoch; without,
            every scene is seen once.
    """

    def __init__(
        self, num_scenes: int, shuffle: bool, seed: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        self.num_scenes = num_scenes
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        r"""Called by Lightning at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        if self.shuffle:
            return self.num_scenes // self.world_size
        return len(range(self.rank, self.num_scenes, self.world_size))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.arange(self.num_scenes)
        if self.shuffle:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(order)
        for scene in order[self.rank :: self.world_size][: len(self)]:
            yield self.epoch, int(scene)


class EpochScenes(Dataset[Data]):
    r"""Scenes under a random transform that depends on seed, epoch and scene alone.

    Args:
        scenes: The scenes.
        transform: Applied to each; draws from torch's global generator alone.
        seed: Of the transform.
    """

    def __init__(self, scenes: ScanNet, transform: BaseTransform, seed: int = 0) -> None:
        self.scenes = scenes
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, key: tuple[int, int]) -> Data:
        epoch, scene = key
        seed = np.random.SeedSequence((self.seed, epoch, scene)).generate_state(1)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(seed[0]))
            voxels: Data = self.transform(self.scenes[scene])
        return voxels


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
            block_size=self.block_size,
        )
        return batch


class SceneDataModule(LightningDataModule):
    r"""Prepared scenes for training and for evaluation.

    Args:
        root: Folder of the release, with ``scans/`` in it; prepared by ``latentgraph prepare``.
        out: Folder of the prepared scenes, null for where ``latentgraph prepare ROOT`` puts them.
        split: Split to evaluate on.
        batch_size: Scenes in a step of training.
        num_workers: Processes that load scenes, 0 to load in the training process.
        augment: Whether to turn and mirror the scenes of training at random.
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
        augment: bool = True,
        seed: int = 0,
        scene_list: str | Path | None = None,
        annotated: str | Path | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"data.batch_size must be at least 1, got {batch_size}")
        if num_workers < 0:
            raise ValueError(f"data.num_workers must be at least 0, got {num_workers}")
        self.root = root
        self.out = out
        self.split = split
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.augment = augment
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
        random = [RandomRotateZ(), RandomFlip()] if self.augment else []
        return self._loader(self.scenes("train"), random, self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        r"""Whole scenes, one at a time."""
        return self._loader(self.scenes(self.split), [], 1, shuffle=False)

    @property
    def _segmenter(self) -> Segmenter:
        segmenter = getattr(self.trainer and self.trainer.lightning_module, "segmenter", None)
        if not isinstance(segmenter, Segmenter):
            raise RuntimeError("a SceneDataModule works inside a Trainer with a SegmentationModule")
        return segmenter

    def _loader(
        self, scenes: ScanNet, random: list[BaseTransform], batch_size: int, shuffle: bool
    ) -> DataLoader[Any]:
        assert self.trainer is not None
        transform = Compose([*random, self._segmenter.voxelize])
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        # Asked here, since the processes that load have one thread each.
        block_size = block_size_for(self.trainer.strategy.root_device.type)
        return DataLoader(
            EpochScenes(scenes, transform, self.seed),
            collate_fn=CollateVoxels(self._segmenter.config, block_size),
            batch_size=batch_size,
            sampler=SceneSampler(len(scenes), shuffle, self.seed, rank, world_size),
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )
