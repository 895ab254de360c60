r"""The two passes over the visible nodes that every block is made of.

.. math::
    \text{state} = \sum_{\text{chunks}} \text{encode}(\text{chunk}) \qquad
    \text{message} = \text{update}(\text{state}) \qquad
    \text{out}_{\text{chunk}} = \text{decode}(\text{chunk}, \text{message})

Only the latent state lives between the passes, so memory does not grow with the number of nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from latentgraph.functional.ragged import Ragged

__all__ = ["Chunk", "Message", "Passes", "State", "two_passes"]

Message = tuple[Tensor, ...]


class Chunk(NamedTuple):
    r"""Some nodes of one or several graphs.

    Attributes:
        inputs: node features, each (n, c) with a ``batch`` and (b, n, c) without.
        batch: the graph of each node among ``graphs``; None where each graph has n nodes here.
        graphs: the graphs that these nodes belong to, as rows of the state.
    """

    inputs: tuple[Tensor, ...]
    batch: Ragged | None
    graphs: slice

    @property
    def x(self) -> Tensor:
        r"""The features that the block was called on."""
        return self.inputs[0]


class State(NamedTuple):
    r"""What pass 1 leaves: sums over the nodes of each graph.

    Attributes:
        sums: tensors (B, ...), added up over chunks.
        shift: (B, 1) or None. The sums are scaled by :math:`e^{-\text{shift}}`: a softmax keeps its
            running maximum here. No gradient goes through it, since no result depends on it.
    """

    sums: tuple[Tensor, ...]
    shift: Tensor | None = None


class Passes(NamedTuple):
    r"""A block as functions of chunks.

    Attributes:
        encode: chunk to :class:`State`, sums over the nodes of the chunk.
        update: merged :class:`State` to message, a tuple of tensors (B, ...).
        decode: chunk and message to the output of the chunk, row by row, of a shape that
            broadcasts to that of its ``x``.
        weights: every tensor used by the functions that may need a gradient.
        residual: whether ``decode`` gives what is added to ``x``, not the output itself.
    """

    encode: Callable[[Chunk], State]
    update: Callable[[State], Message]
    decode: Callable[[Chunk, Message], Tensor]
    weights: tuple[Tensor, ...] = ()
    residual: bool = False


def two_passes(
    passes: Passes, chunks: Callable[[], Iterable[Chunk]], batch_size: int
) -> tuple[State, Iterator[Tensor]]:
    r"""The merged state after pass 1, and the outputs of pass 2, chunk by chunk.

    Args:
        passes: the block.
        chunks: called once for each pass; gives the same chunks in the same order.
        batch_size: number of graphs B.

    Returns:
        The state, and an iterator that computes the output of each chunk, in its shape, when asked.

    Raises:
        ValueError: there is no chunk.
        TypeError: a chunk is no :class:`Chunk`.
    """
    state, message = first_pass(passes, map(_checked, chunks()), batch_size)
    return state, (output_of(passes, chunk, message) for chunk in map(_checked, chunks()))


def first_pass(passes: Passes, chunks: Iterable[Chunk], batch_size: int) -> tuple[State, Message]:
    r"""The merged state of all chunks, and the message made of it."""
    state = merge(((chunk.graphs, passes.encode(chunk)) for chunk in chunks), batch_size)
    return state, passes.update(state)


def output_of(passes: Passes, chunk: Chunk, message: Message, out: Tensor | None = None) -> Tensor:
    r"""Pass 2 on one chunk, written to ``out`` where that is given."""
    y = passes.decode(chunk, rows_of(message, chunk.graphs))
    if out is not None:
        return torch.add(chunk.x, y, out=out) if passes.residual else out.copy_(y)
    return (chunk.x + y if passes.residual else y).to(chunk.x.dtype)


def merge(parts: Iterable[tuple[slice, State]], batch_size: int) -> State:
    r"""One state from those of the chunks, each of which covers some of the graphs."""
    remaining = iter(parts)
    graphs, first = next(remaining, (slice(0), None))
    if first is None:
        raise ValueError("expected at least one chunk of nodes, got none")
    following = next(remaining, None)
    if following is None and graphs == slice(0, batch_size):
        return first
    total = _empty_like(first, batch_size)
    _add(total, graphs, first)
    while following is not None:
        _add(total, *following)
        following = next(remaining, None)
    return total


def rows_of(message: Message, graphs: slice) -> Message:
    r"""The part of a message that goes to some of the graphs."""
    return tuple(m[graphs] for m in message)


def scaled(x: Tensor, factor: Tensor) -> Tensor:
    r"""``x``, (B, ...), times a factor (B, 1) for each graph."""
    return x * factor.view(-1, *[1] * (x.dim() - 1))


def _checked(chunk: Chunk) -> Chunk:
    if not isinstance(chunk, Chunk):
        raise TypeError(f"expected every chunk as a Chunk, got {type(chunk).__name__}")
    return chunk


def _empty_like(part: State, batch_size: int) -> State:
    sums = tuple(s.new_zeros(batch_size, *s.shape[1:]) for s in part.sums)
    if part.shift is None:
        return State(sums)
    lowest = torch.finfo(part.shift.dtype).min
    return State(sums, part.shift.new_full((batch_size, *part.shift.shape[1:]), lowest))


def _add(total: State, graphs: slice, part: State) -> None:
    r"""Add ``part`` to the rows ``graphs`` of ``total``, both brought to the higher shift."""
    if total.shift is None or part.shift is None:
        for whole, new in zip(total.sums, part.sums, strict=True):
            whole[graphs] += new
        return
    before = total.shift[graphs]
    higher = torch.maximum(before, part.shift)
    old_factor, new_factor = (before - higher).exp(), (part.shift - higher).exp()
    for whole, new in zip(total.sums, part.sums, strict=True):
        whole[graphs] = scaled(whole[graphs], old_factor) + scaled(new, new_factor)
    total.shift[graphs] = higher
