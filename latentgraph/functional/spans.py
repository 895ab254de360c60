r"""Where the chunks of a set of nodes lie, and how a chunk is taken out and put back."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from latentgraph.functional.ragged import Ragged, sorted_ragged
from latentgraph.functional.shards import is_sharded
from latentgraph.functional.tracing import is_traced

CHUNK_NUMBERS = 2**20  # features of a chunk, for each thread
MOST_THREADS = 64  # whose share a chunk has


class Span(NamedTuple):
    r"""Where one chunk lies.

    Attributes:
        graphs: the graphs that its nodes belong to.
        where: takes its nodes out of a tensor of all nodes.
        batch: the graph of each node among ``graphs``; None where each has the same number.
        stacked: whether the nodes of one graph of a ragged batch become (1, n, c).
    """

    graphs: slice
    where: tuple[slice | Tensor, ...]
    batch: Ragged | None
    stacked: bool = False

    def take(self, x: Tensor) -> Tensor:
        r"""The rows of the chunk; a view wherever the index is made of slices."""
        x = x[self.where]
        return x.unsqueeze(0) if self.stacked else x

    @property
    def is_view(self) -> bool:
        r"""Whether :meth:`take` gives a view, that can be written to."""
        return all(isinstance(index, slice) for index in self.where)

    def put(self, into: Tensor, y: Tensor) -> None:
        r"""Write the rows of the chunk."""
        into[self.where] = y.squeeze(0) if self.stacked else y

    def add(self, into: Tensor, y: Tensor) -> None:
        r"""Add to the rows of the chunk, each of which occurs once."""
        into[self.where] += y.squeeze(0) if self.stacked else y


def even_spans(x: Tensor, batch: Ragged | None, chunk_size: int | None) -> list[Span]:
    r"""Chunks of nearly one size, at most ``chunk_size`` nodes each.

    Args:
        x: (N, c) with a ``batch``, (B, n, c) without.
        batch: the graph of each node.
        chunk_size: nodes of a chunk; None for one chunk.
    """
    num_graphs = x.size(0) if batch is None else batch.batch_size
    if chunk_size is None or x.shape[:-1].numel() <= chunk_size:
        return [Span(slice(0, num_graphs), (slice(None),), batch)]
    if batch is not None:
        return _ragged_spans(x, batch, chunk_size)
    graphs = _even_slices(num_graphs, max(1, chunk_size // max(x.size(1), 1)))
    nodes = _even_slices(x.size(1), chunk_size)
    return [Span(g, (g, n), None) for g in graphs for n in nodes]


def _ragged_spans(x: Tensor, batch: Ragged, chunk_size: int) -> list[Span]:
    ptr = batch.ptr
    spans = []
    for nodes in _even_slices(x.size(0), chunk_size):
        ends = torch.tensor([nodes.start, nodes.stop - 1])
        first, last = torch.searchsorted(ptr[1:], ends, right=True).tolist()
        index = (nodes if batch.order is None else batch.order[nodes],)
        graphs = slice(first, last + 1)
        if first == last:
            spans.append(Span(graphs, index, None, stacked=True))
        else:
            sizes = ptr[first : last + 2].clamp(nodes.start, nodes.stop).diff()
            spans.append(Span(graphs, index, sorted_ragged(sizes, x.device)))
    return spans


def _even_slices(total: int, size: int) -> list[slice]:
    count = max(1, -(-total // size))
    edges = [total * i // count for i in range(count + 1)]
    return [slice(a, b) for a, b in pairwise(edges)]


def auto_chunk_size(x: Tensor, needs_grad: bool) -> int | None:
    r"""Nodes of a chunk, by size; None, for all nodes at once, where chunks do not pay.

    A chunk of features takes 4 MB of float32 for each of torch's threads, up to 64, so that what is
    made of it stays in the caches of a processor; an accelerator counts as 64 threads. With a
    backward pass, which computes each chunk once more, chunks pay from two of them on. Sharded
    nodes always come in chunks, be it one, as their number differs from rank to rank.

    Args:
        x: (N, C) or (B, n, C).
        needs_grad: whether a backward pass follows.
    """
    if is_traced(x):
        return None
    threads = min(torch.get_num_threads(), MOST_THREADS) if x.is_cpu else MOST_THREADS
    rows = max(1_024, threads * CHUNK_NUMBERS // max(x.size(-1), 1))
    few = x.shape[:-1].numel() <= rows * (2 if needs_grad else 1)
    return None if few and not is_sharded() else rows
