r"""The batch vector made plain: which graph each node belongs to, and where each graph lies."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from latentgraph.functional.tracing import is_traced

LARGE = 512  # nodes; graphs of fewer share a product with others of their size or of like size
LARGE_ON_CPU = 128  # the latter there, where a call takes less time than to gather more nodes
PIECE = 128  # nodes whose rows are added up in float32, one after another
MOST_GRAPHS = 2**31  # the sizes of so many take 16 GB
BUCKET_RATIO = 1.5  # largest over smallest graph of a bucket, so at most 1.5 N padded slots
LIKENESS = [0, *(int(math.log(size, BUCKET_RATIO)) for size in range(1, LARGE + 1))]


class Ragged:
    r"""Nodes of several graphs of any sizes: PyG's ``batch`` vector, checked once and laid out.

    Wherever this library takes ``batch`` it takes a :class:`Ragged` too. Blocks that are given the
    same one share its checks, its order and its layout, and with them the one read from the device
    that these need.

    Args:
        batch: (N,), int64, the graph of each node, in any order; graphs may be empty.
        batch_size: number of graphs B; by default the largest entry plus one.

    Raises:
        ValueError: ``batch`` has the wrong shape or an entry outside ``[0, batch_size)``. While
            compiling, entries cannot be read, so ranges go unchecked and ``batch_size`` is needed.
        TypeError: ``batch`` is not an int64 tensor, ``batch_size`` is not an integer.
    """

    def __init__(self, batch: Tensor, batch_size: int | None = None) -> None:
        _check_batch(batch, batch_size)
        self.batch = batch
        self._order: Tensor | None = None
        self._ptr: Tensor | None = None
        self._plan: list[Tensor] | None = None
        self._pieces: list[Tensor] | None = None
        if is_traced(batch):
            if batch_size is None:
                raise ValueError(
                    "expected batch_size= beside batch under torch.compile and torch.export, where "
                    "the entries of batch cannot be read; got None"
                )
            self.batch_size = batch_size
            return
        self.batch_size, self.sizes, self.is_sorted = _read(batch, batch_size)

    @classmethod
    def of(
        cls,
        batch: Tensor | Ragged | None,
        batch_size: int | None = None,
        *,
        num_nodes: int | None = None,
        device: torch.device | None = None,
    ) -> Ragged | None:
        r"""What a layer was given as ``batch``, checked against its nodes.

        Args:
            batch: (N,) the graph of each node, a :class:`Ragged`, or None for one graph.
            batch_size: number of graphs, if known.
            num_nodes: number of nodes N that ``batch`` has to describe.
            device: where the nodes lie, and ``batch`` has to.

        Returns:
            A :class:`Ragged`, or None where all nodes are one graph.

        Raises:
            ValueError: the length, the device or ``batch_size`` does not fit.
            TypeError: ``batch`` is neither.
        """
        if batch is None:
            if batch_size not in (None, 1):
                raise ValueError(f"expected batch with batch_size={batch_size}, got batch=None")
            return None
        given = batch.batch if isinstance(batch, Ragged) else batch
        if device is not None and isinstance(given, Tensor) and given.device != device:
            raise ValueError(f"expected batch on {device}, as the nodes are, got {given.device}")
        if isinstance(batch, Ragged):
            if batch_size is not None and batch_size != batch.batch_size:
                raise ValueError(
                    f"expected batch_size={batch.batch_size} as in the Ragged, got {batch_size}"
                )
            ragged = batch
        else:
            ragged = cls(batch, batch_size)
        if num_nodes is not None and ragged.batch.size(0) != num_nodes:
            raise ValueError(
                f"expected batch with one entry for each of the {num_nodes} nodes, "
                f"got {ragged.batch.size(0)}"
            )
        return ragged

    @property
    def order(self) -> Tensor | None:
        r"""(N,) the nodes sorted by graph, stable; None where they are sorted already."""
        if self._order is None and not self.is_sorted:
            self._order = self.batch.argsort(stable=True)
        return self._order

    @property
    def ptr(self) -> Tensor:
        r"""(B + 1,) on the CPU, where graphs begin among the sorted nodes and the last one ends."""
        if self._ptr is None:
            self._ptr = ends(self.sizes)
        return self._ptr

    @property
    def plan(self) -> list[Tensor]:
        r"""What the ragged products need beside ``batch``; empty while compiling."""
        if is_traced(self.batch):
            return []
        if self._plan is None:
            self._plan = layout(self)
        return self._plan

    @property
    def pieces(self) -> list[Tensor]:
        r"""What weighted sums of rows need beside ``batch``; empty while compiling."""
        if is_traced(self.batch):
            return []
        if self._pieces is None:
            self._pieces = cut(self)
        return self._pieces

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(num_nodes={self.batch.size(0)}, batch_size={self.batch_size})"
        )


def sorted_ragged(sizes: Tensor, device: torch.device) -> Ragged:
    r"""The :class:`Ragged` of sorted nodes whose graph sizes (B,) are known on the host."""
    ragged = Ragged.__new__(Ragged)
    batch = torch.repeat_interleave(torch.arange(sizes.numel()), sizes)
    ragged.batch, ragged.batch_size = batch.to(device), sizes.numel()
    ragged.sizes, ragged.is_sorted = sizes, True
    ragged._order = ragged._ptr = ragged._plan = ragged._pieces = None
    return ragged


def layout(ragged: Ragged) -> list[Tensor]:
    r"""Where each graph lies among the sorted nodes, and which graphs are multiplied together.

    Returns:
        ``[ptr, order, runs, (graphs, index) ...]``: offsets (B + 1,) on the CPU; the sorting
        order, empty if sorted; the first and last graph (CPU) of each run, a large graph or small
        ones of one size that follow one another and need no padding; then for each bucket of
        other graphs of like size these graphs (g,) and the sorted :func:`positions` of their nodes.
    """
    sizes, device = ragged.sizes.tolist(), ragged.batch.device
    large = LARGE_ON_CPU if device.type == "cpu" else LARGE
    ptr = ragged.ptr
    order = ragged.batch.new_empty(0) if ragged.order is None else ragged.order
    runs: list[tuple[int, int]] = []
    alike: list[list[int]] = [[] for _ in range(LIKENESS[-1] + 1)]
    first = 0
    for last, (size, following) in enumerate(zip(sizes, [*sizes[1:], -1], strict=False)):
        if size == following and size <= LARGE:
            continue
        if size * (last + 1 - first) > large:
            runs.append((first, last))
        elif size > 0:
            alike[LIKENESS[size]].extend(range(first, last + 1))
        first = last + 1
    buckets = []
    for graphs in filter(None, alike):
        if graphs[-1] - graphs[0] < len(graphs) and len({sizes[graph] for graph in graphs}) == 1:
            runs.append((graphs[0], graphs[-1]))
        else:
            index = torch.tensor(graphs)
            buckets += [index.to(device), positions(ptr, index).to(device)]
    return [ptr, order, torch.tensor(runs, dtype=torch.int64).view(-1, 2), *buckets]


def cut(ragged: Ragged) -> list[Tensor]:
    r"""The sorted nodes in pieces of one graph each, none of which is long.

    Returns:
        ``[order, bounds, ptr]``: the nodes (N,) sorted by graph; the offsets (P + 1,) of the pieces
        among them; those of each graph's pieces among all pieces (B + 1,), empty where each graph
        is one piece.
    """
    device = ragged.batch.device
    order = (
        torch.arange(ragged.batch.numel(), device=device) if ragged.order is None else ragged.order
    )
    ptr = ragged.ptr
    if ragged.batch_size == 0 or int(ragged.sizes.max()) <= PIECE:
        return [order, ptr.to(device), ptr[:0].to(device)]
    bounds = torch.cat([ptr, torch.arange(PIECE, order.numel(), PIECE)]).sort().values
    return [order, bounds.to(device), torch.searchsorted(bounds, ptr).to(device)]


def ends(sizes: Tensor) -> Tensor:
    r"""(B + 1,) where each of B things of these sizes begins, and where the last one ends."""
    return torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])


def positions(ptr: Tensor, graphs: Tensor) -> Tensor:
    r"""(g, L) where the nodes of each graph lie among the sorted ones.

    A shorter graph repeats its last node, so that padding holds no foreign value.

    Args:
        ptr: (B + 1,) offsets, on the CPU.
        graphs: (g,) graphs that have nodes, on the CPU.
    """
    start, last = ptr[graphs].unsqueeze(1), ptr[graphs + 1].unsqueeze(1) - 1
    return torch.minimum(start + torch.arange(int((last - start).max()) + 1), last)


def _check_batch(batch: Tensor, batch_size: int | None) -> None:
    if not isinstance(batch, Tensor) or batch.dtype != torch.int64:
        got = batch.dtype if isinstance(batch, Tensor) else type(batch).__name__
        raise TypeError(f"expected batch as an int64 tensor, got {got}")
    if batch.dim() != 1:
        raise ValueError(f"expected batch of shape (N,), got {tuple(batch.shape)}")
    # A tuple, since the compiler of torch 2.7 stops at a union of types.
    if isinstance(batch_size, bool) or not isinstance(batch_size, (int, torch.SymInt, type(None))):
        raise TypeError(f"expected batch_size as an int or None, got {type(batch_size).__name__}")
    if isinstance(batch_size, int) and batch_size < 0:
        raise ValueError(f"expected batch_size of 0 or more, got {batch_size}")
    if isinstance(batch_size, int):
        _check_count(batch_size)


def _check_count(num_graphs: int) -> None:
    if num_graphs > MOST_GRAPHS:
        raise ValueError(f"expected at most {MOST_GRAPHS} graphs, got {num_graphs}")


def _read(batch: Tensor, batch_size: int | None) -> tuple[int, Tensor, bool]:
    r"""Number of graphs, their sizes on the CPU, and whether the nodes are sorted."""
    if batch.numel() == 0:
        return batch_size or 0, torch.zeros(batch_size or 0, dtype=torch.int64), True
    ascending = (batch[1:] >= batch[:-1]).all()
    facts = torch.stack([*batch.aminmax(), ascending])
    if batch_size is None:
        low, high, is_sorted = facts.tolist()
        batch_size = max(high, 0) + 1
        _check_count(batch_size)
        sizes = None if low < 0 else torch.bincount(batch).cpu()
    else:
        counts = batch.new_zeros(max(batch_size, 1))
        counts.scatter_add_(0, batch.clamp(0, max(batch_size - 1, 0)), torch.ones_like(batch))
        host = torch.cat([facts, counts[:batch_size]]).cpu()
        (low, high, is_sorted), sizes = host[:3].tolist(), host[3:]
    if low < 0 or high >= batch_size:
        raise ValueError(
            f"expected batch with entries from 0 to {batch_size - 1}, got {low} to {high}"
        )
    assert sizes is not None
    return batch_size, sizes, bool(is_sorted)
