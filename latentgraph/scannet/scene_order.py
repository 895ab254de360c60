r"""Which scenes make a batch, epoch after epoch."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
from torch.utils.data import Sampler


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
        return ((self.epoch, scene) for scene in self.scenes_of(self.epoch))

    def scenes_of(self, epoch: int) -> list[int]:
        r"""The scenes of an epoch in their order."""
        order = np.arange(self.num_scenes)
        if self.shuffle:
            order = np.random.default_rng((self.seed, epoch)).permutation(order)
        mine: list[int] = order[self.rank :: self.world_size][: len(self)].tolist()
        return mine


class SceneBatches(Sampler[list[tuple[int, tuple[int, ...]]]]):
    r"""Batches of pairs (epoch, scenes), where several scenes are to be mixed into one.

    Args:
        sampler: The scenes in their order.
        batch_size: Scenes in a batch.
        mix: Probability that the scenes of a batch are mixed two by two.
        endless: Go on with the next epoch after one, and so on; the length stays that of one.
    """

    def __init__(
        self, sampler: SceneSampler, batch_size: int, mix: float = 0.0, endless: bool = False
    ) -> None:
        self.sampler = sampler  # Lightning tells it the epoch
        self.batch_size = batch_size
        self.mix = mix
        self.endless = endless

    def __len__(self) -> int:
        return -(-len(self.sampler) // self.batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, tuple[int, ...]]]]:
        first = self.sampler.epoch
        epochs: Iterable[int] = itertools.count(first) if self.endless else [first]
        return (batch for epoch in epochs for batch in self._batches_of(epoch))

    def _batches_of(self, epoch: int) -> Iterator[list[tuple[int, tuple[int, ...]]]]:
        order = self.sampler.scenes_of(epoch)
        for start in range(0, len(order), self.batch_size):
            scenes = order[start : start + self.batch_size]
            drawn = np.random.default_rng((self.sampler.seed, epoch, scenes[0], 2)).random()
            size = 2 if drawn < self.mix else 1
            yield [(epoch, tuple(scenes[i : i + size])) for i in range(0, len(scenes), size)]
