r"""Nodes that lie on several processes: sums over them are sums over the nodes of all.

What a block needs of all nodes is a small :class:`~latentgraph.functional.passes.State`. With its
nodes spread over ranks r, each rank sums over its own, and the sums are brought together,

.. math:: Z = \sum_r Z_r \qquad \frac{\partial L}{\partial Z_r} =
    \sum_s \frac{\partial L_s}{\partial Z} \quad\text{for}\quad L = \sum_s L_s,

by one collective in each direction. How numbers reach other ranks is not known here:
:mod:`latentgraph.distributed` says it with :func:`using`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from latentgraph.functional.passes import Message, Passes, State, scaled
from latentgraph.functional.tracing import is_traced

__all__ = ["over_shards", "sum_over_shards"]


class Ranks(Protocol):
    r"""How numbers reach all ranks; each rank has to make the same calls in the same order."""

    def agree(self, sums: Tensor) -> None:
        r"""Raise unless ``sums``, (B, ...), are of as many graphs on every rank."""

    def sum(self, message: Tensor) -> Tensor:
        r"""(n,) summed over the ranks."""

    def gather(self, message: Tensor) -> Tensor:
        r"""(ranks, n), the (n,) of every rank."""


# Not a context variable: autograd runs backward passes, and with them what
# torch.utils.checkpoint computes again, in threads of its own.
_ranks: Ranks | None = None


@contextmanager
def using(ranks: Ranks) -> Iterator[None]:
    r"""Nodes are taken to be spread over these ranks."""
    global _ranks
    before, _ranks = _ranks, ranks
    try:
        yield
    finally:
        _ranks = before


def is_sharded() -> bool:
    r"""Whether the nodes at hand are those of one of several ranks."""
    return _ranks is not None


def over_shards(passes: Passes) -> Passes:
    r"""The block on the nodes of all ranks: ``update`` gets the state of all.

    The state is exchanged at the first call only, so that a backward pass that makes the message
    once more exchanges nothing but gradients.

    Args:
        passes: the block, for one call of it.
    """
    if _ranks is None:
        return passes
    return passes._replace(update=_OnAllNodes(passes.update, _ranks))


def sum_over_shards(*sums: Tensor) -> tuple[Tensor, ...]:
    r"""Sums over this rank's nodes, summed over all ranks in one message, gradients too.

    Outside ``sharded_nodes`` they are returned as they are.

    Args:
        sums: tensors (B, ...) of one dtype.

    Returns:
        As many tensors, of the same shapes.
    """
    if _ranks is None:
        return sums
    _ranks.agree(sums[0])
    return _sum(_ranks, None, sums)


def max_over_shards(x: Tensor) -> Tensor:
    r"""The largest of all ranks, of each number in ``x``, (B, ...), without a gradient."""
    if _ranks is None:
        return x
    _ranks.agree(x)
    return _ranks.gather(x.detach().flatten()).amax(0).view_as(x)


def sum_of_all(
    sums: tuple[Tensor, ...], known: tuple[Tensor, ...] | None = None
) -> tuple[Tensor, ...]:
    r"""As :func:`sum_over_shards`, of tensors that are not of graphs.

    Args:
        sums: tensors of one dtype.
        known: their sums over all ranks, if known: then only gradients are exchanged.
    """
    return sums if _ranks is None else _sum(_ranks, known, sums)


class _OnAllNodes:
    r"""``update`` on the state of all ranks."""

    def __init__(self, update: Callable[[State], Message], ranks: Ranks) -> None:
        self.update, self.ranks = update, ranks
        self.merged: State | None = None

    def __call__(self, state: State) -> Message:
        if is_traced(state.sums[0]):
            raise RuntimeError(
                "expected blocks on sharded nodes without torch.compile, got them in it"
            )
        if self.merged is None:
            with torch.no_grad():
                self.merged = _merged(self.ranks, state)
        sums, shift = state.sums, self.merged.shift
        if state.shift is not None and shift is not None:
            factor = (state.shift - shift).exp()
            sums = tuple(scaled(s, factor) for s in sums)
        return self.update(State(_sum(self.ranks, self.merged.sums, sums), shift))


def _merged(ranks: Ranks, state: State) -> State:
    r"""The state of all ranks: one sum, or where it has a shift, all of them side by side."""
    ranks.agree(state.sums[0])
    if state.shift is None:
        return State(_exchanged(ranks, state.sums))
    shapes = [t.shape for t in (state.shift, *state.sums)]
    parts = ranks.gather(_flat((state.shift, *state.sums)))
    shifts, *sums = _split(parts, shapes)
    highest = shifts.amax(0)
    factors = (shifts - highest).exp().flatten(0, 1)
    totals = (scaled(s.flatten(0, 1), factors).view_as(s).sum(0) for s in sums)
    return State(tuple(totals), highest)


class _Sum(torch.autograd.Function):
    r"""Sums over the ranks, each the gradient of the other; no message if values are known."""

    @staticmethod
    def forward(
        ctx: Any, ranks: Ranks, known: tuple[Tensor, ...] | None, *sums: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.ranks = ranks
        return _exchanged(ranks, sums) if known is None else tuple(t.detach() for t in known)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        return None, None, *_sum(ctx.ranks, None, grads)


def _sum(
    ranks: Ranks, known: tuple[Tensor, ...] | None, sums: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    result: tuple[Tensor, ...] = _Sum.apply(ranks, known, *sums)  # type: ignore[no-untyped-call]
    return result


def _exchanged(ranks: Ranks, sums: Sequence[Tensor]) -> tuple[Tensor, ...]:
    total = ranks.sum(_flat(sums))
    return tuple(t.squeeze(0) for t in _split(total.unsqueeze(0), [s.shape for s in sums]))


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([t.reshape(-1) for t in tensors])


def _split(rows: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    r"""(ranks, n) to one (ranks, ...) for each shape."""
    parts = rows.split([shape.numel() for shape in shapes], dim=1)
    return [p.reshape(len(rows), *shape) for p, shape in zip(parts, shapes, strict=True)]
