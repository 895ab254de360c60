r"""What a chunk is made of when it is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Loaded(NamedTuple):
    r"""Some nodes.

    Attributes:
        x: (n, C) features.
        affinity_x: (n, ...) features that only the affinities see, or None.
        batch: (n,) the graph of each node, or None for one graph.
        n_id: (n,) the place of each node among all, or None where they come in their order.
    """

    x: Tensor
    affinity_x: Tensor | None = None
    batch: Tensor | None = None
    n_id: Tensor | None = None

    def rows(self, rows: slice) -> Loaded:
        r"""Some of them."""
        return Loaded(self.x[rows], *(None if t is None else t[rows] for t in self[1:]))

    def split(self, size: int) -> Iterator[Loaded]:
        r"""All of them, in parts of at most ``size``."""
        return (self.rows(slice(i, i + size)) for i in range(0, self.x.size(0), size))

    def checksum(self) -> int:
        r"""Of all their bits; the same for the same nodes in any order."""
        present = [t for t in self if t is not None]
        return sum(int(t.view(BITS[t.element_size()]).sum()) for t in present)


def load(chunk: Any) -> Loaded:
    r"""The nodes of an array, a tensor or a :class:`~torch_geometric.data.Data`.

    Of what PyG's node loaders sample, the seed nodes are taken.

    Raises:
        TypeError: it is none of these, or what it holds is not a tensor of the right dtype.
        ValueError: it is a batch of several graphs, or its tensors differ in length.
    """
    if isinstance(chunk, np.ndarray):
        return Loaded(torch.from_numpy(np.array(chunk)))
    if isinstance(chunk, Tensor):
        return Loaded(chunk)
    if not isinstance(chunk, Data):
        raise TypeError(
            f"expected chunks as arrays, tensors or PyG's Data, got {type(chunk).__name__}"
        )
    collated = isinstance(chunk, Batch)
    if collated and chunk.num_graphs > 1:
        raise ValueError(
            f"expected chunks of one graph, got a Batch of {chunk.num_graphs} whole graphs: call "
            "the block on each Batch, or give Data whose batch names graphs the same in all chunks"
        )
    keys = ("x", "affinity_x", "n_id") if collated else Loaded._fields
    loaded = Loaded(**{"x": None, **{key: chunk[key] for key in keys if key in chunk}})
    _check(loaded)
    return loaded.rows(slice(chunk.batch_size)) if "input_id" in chunk else loaded


def _check(loaded: Loaded) -> None:
    if not isinstance(loaded.x, Tensor):
        raise TypeError(f"expected chunks with features x, got {type(loaded.x).__name__}")
    for name, tensor in loaded._asdict().items():
        if tensor is None:
            continue
        if tensor.size(0) != loaded.x.size(0):
            raise ValueError(
                f"expected {name} with one row for each of the {loaded.x.size(0)} nodes of a chunk,"
                f" got {tuple(tensor.shape)}"
            )
        if name in ("batch", "n_id") and tensor.dtype != torch.int64:
            raise TypeError(f"expected {name} of torch.int64, got {tensor.dtype}")


class Places:
    r"""Makes sure that every node comes once."""

    def __init__(self) -> None:
        self.taken = torch.zeros(0, dtype=torch.bool)

    def take(self, n_id: Tensor) -> None:
        r"""Mark the places of a chunk.

        Raises:
            ValueError: one was taken before, or is negative.
        """
        if n_id.numel() == 0:
            return
        low, high = (int(p) for p in n_id.aminmax())
        if low < 0:
            raise ValueError(f"expected n_id of 0 or more, got {low}")
        if high >= self.taken.numel():
            grown = torch.zeros(2 * high + 1, dtype=torch.bool)
            grown[: self.taken.numel()] = self.taken
            self.taken = grown
        if self.taken[n_id].any() or n_id.unique().numel() < n_id.numel():
            raise ValueError("expected every node once in a pass, got an entry of n_id twice")
        self.taken[n_id] = True

    def check(self, num_nodes: int) -> None:
        r"""Raise a :class:`ValueError` unless these were all below ``num_nodes``."""
        free = self.taken[:num_nodes].logical_not().nonzero()
        if free.numel():
            raise ValueError(f"expected n_id of every node from 0 on, got none for {int(free[0])}")
