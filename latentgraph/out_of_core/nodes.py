r"""All nodes, loaded once for each pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from latentgraph.functional import Chunk, Ragged
from latentgraph.out_of_core.loaded import Loaded, Places, load


class Expected(NamedTuple):
    r"""What chunks have to be.

    Attributes:
        channels: C; None for the same in all chunks.
        affinity_channels: size of the features that only the affinities see.
        dtype: of x; None for the same in all chunks.
        device: where chunks are computed; None for where they are.
    """

    channels: int | None = None
    affinity_channels: int = 0
    dtype: torch.dtype | None = None
    device: torch.device | None = None


class Nodes:
    r"""Called for each pass, it gives the chunks, which have to be the same each time.

    Args:
        chunks: what can be iterated over twice.
        expected: what they have to be.
        batch_size: number of graphs B.
        chunk_size: nodes computed at once.
        progress: whether to show a progress bar, if there is a terminal.

    Attributes:
        where: rows of the chunk that was given last.
    """

    where: slice | Tensor

    def __init__(
        self, chunks: Any, expected: Expected, batch_size: int, chunk_size: int, progress: bool
    ) -> None:
        self.chunks, self.num_nodes = _twice(chunks, chunk_size)
        self.expected, self.batch_size = expected, batch_size
        self.chunk_size, self.progress = chunk_size, progress
        self.first_pass: list[int] | None = None

    def __call__(self) -> Iterator[Chunk]:
        from tqdm import tqdm  # type: ignore[import-untyped]

        checksums: list[int] = []
        places: Places | None = None
        start = 0
        with tqdm(
            desc=f"pass {1 if self.first_pass is None else 2} of 2",
            total=self.num_nodes,
            unit=" nodes",
            unit_scale=True,
            disable=None if self.progress else True,
        ) as bar:
            for item in self.chunks():
                loaded = load(item)
                self._check(loaded)
                checksums.append(loaded.checksum())
                if loaded.n_id is not None:
                    places = places or Places()
                    places.take(loaded.n_id)
                elif self.first_pass is not None:
                    _require_same(self.first_pass[: len(checksums)] == checksums)
                for part in loaded.split(self.chunk_size):
                    size = part.x.size(0)
                    self.where = slice(start, start + size) if part.n_id is None else part.n_id
                    yield self._chunk(part)
                    start += size
                    bar.update(size)

        if places is not None:
            places.check(start)
        if self.first_pass is None:
            self.first_pass, self.num_nodes = checksums, start
        else:
            _require_same(sum(self.first_pass) == sum(checksums) and start == self.num_nodes)

    @property
    def like(self) -> tuple[tuple[int, int], torch.dtype]:
        r"""Shape (N, C) and dtype of all nodes, known after the first pass."""
        channels, _, dtype, _ = self.expected
        assert self.num_nodes is not None
        assert channels is not None
        assert dtype is not None
        return (self.num_nodes, channels), dtype

    def _check(self, loaded: Loaded) -> None:
        x = loaded.x
        if self.expected.channels is None and x.dim() == 2:
            self.expected = self.expected._replace(channels=x.size(1))
        if self.expected.dtype is None:
            self.expected = self.expected._replace(dtype=x.dtype)
        channels, affinity_channels, dtype, _ = self.expected
        if x.dim() != 2 or x.size(1) != channels:
            width = "C" if channels is None else channels
            raise ValueError(f"expected chunks of shape (n, {width}), got {tuple(x.shape)}")
        if x.dtype != dtype:
            raise TypeError(f"expected chunks of {dtype}, got {x.dtype}")
        if loaded.batch is None and self.batch_size != 1:
            raise ValueError(
                f"expected Data with the graph of each node as batch for batch_size="
                f"{self.batch_size}, got chunks without"
            )
        further = 0 if loaded.affinity_x is None else loaded.affinity_x.size(-1)
        if further != affinity_channels:
            raise ValueError(
                f"expected affinity_x with {affinity_channels} channels, got {further}"
            )

    def _chunk(self, part: Loaded) -> Chunk:
        r"""What the engine takes: the graphs of these nodes as a range."""
        inputs = [t.to(self.expected.device) for t in part[:2] if t is not None]
        low, high = 0, 0
        if part.batch is not None:
            low, high = (int(b) for b in part.batch.aminmax())
            if low < 0 or high >= self.batch_size:
                raise ValueError(
                    f"expected batch with entries from 0 to {self.batch_size - 1} for batch_size="
                    f"{self.batch_size}, got {low} to {high}"
                )
        graphs = slice(low, high + 1)
        if part.batch is None or low == high:
            return Chunk(tuple(t.unsqueeze(0) for t in inputs), None, graphs)
        batch = part.batch.to(self.expected.device) - low
        return Chunk(tuple(inputs), Ragged(batch, high - low + 1), graphs)


def _twice(chunks: Any, size: int) -> tuple[Callable[[], Iterator[Any]], int | None]:
    r"""A call that begins a pass, and the number of nodes if it is known."""
    if isinstance(chunks, np.ndarray | Tensor):
        if chunks.ndim != 2:
            raise ValueError(f"expected chunks of shape (N, C), got {tuple(chunks.shape)}")
        starts = range(0, len(chunks), size)
        return lambda: (chunks[start : start + size] for start in starts), len(chunks)
    if not isinstance(chunks, Iterable) or isinstance(chunks, Iterator):
        raise TypeError(
            "expected chunks that can be iterated over twice, such as an array, a list or a "
            f"loader, got {type(chunks).__name__}"
        )
    return lambda: iter(chunks), None


def _require_same(same: bool) -> None:
    if not same:
        raise ValueError(
            "expected the same chunks in both passes, got others in the second; if they come in "
            "another order, Data can say with n_id where each node stands"
        )
