r"""The two passes over the visible nodes that every block is made of, in one chunk or in many.

.. math::
    \text{state} = \sum_{\text{chunks}} \text{encode}(\text{chunk}) \qquad
    \text{message} = \text{update}(\text{state}) \qquad
    \text{out}_{\text{chunk}} = \text{decode}(\text{chunk}, \text{message})

Only the latent state lives between the passes, so memory does not grow with the number of nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.compiler import is_compiling

from latentgraph.functional.precision import full_precision
from latentgraph.functional.ragged import Ragged
from latentgraph.functional.spans import Span, even_spans

__all__ = ["Chunk", "Message", "Passes", "State", "stream", "two_passes"]

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
    """
    state, message = _first_pass(passes, chunks(), batch_size)
    return state, (_output(passes, chunk, message) for chunk in chunks())


def _first_pass(passes: Passes, chunks: Iterable[Chunk], batch_size: int) -> tuple[State, Message]:
    state = merge(((chunk.graphs, passes.encode(chunk)) for chunk in chunks), batch_size)
    return state, passes.update(state)


def _output(passes: Passes, chunk: Chunk, message: Message, out: Tensor | None = None) -> Tensor:
    y = passes.decode(chunk, _of_graphs(message, chunk.graphs))
    if out is not None:
        return torch.add(chunk.x, y, out=out) if passes.residual else out.copy_(y)
    return (chunk.x + y).to(chunk.x.dtype) if passes.residual else y


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


def stream(
    passes: Passes,
    inputs: tuple[Tensor, ...],
    batch: Ragged | None = None,
    chunk_size: int | None = None,
) -> Tensor:
    r"""A block on nodes that are in memory.

    With several chunks, what lies between input and output of a chunk is computed again in the
    backward pass, so nothing of N rows is kept but inputs, output and their gradients. The
    functions must give the same result each time. Gradients of gradients, ``torch.compile`` and
    ``torch.export`` take one chunk.

    Args:
        passes: the block.
        inputs: node features, each (N, c), or (B, n, c) for graphs of one size, in any strides.
        batch: the graph of each node; None for one graph or for (B, n, c).
        chunk_size: nodes of a chunk; None for all nodes in one.

    Returns:
        The output of the block, in the shape, dtype and memory format of the first input.

    Raises:
        RuntimeError: in the backward pass, if the functions use a tensor that needs a gradient and
            is not listed in ``weights``: its gradient would be lost.
    """
    flat = batch is None and inputs[0].dim() == 2
    if flat:
        inputs = tuple(t.unsqueeze(0) for t in inputs)
    spans = even_spans(inputs[0], batch, None if is_compiling() else chunk_size)
    if len(spans) == 1:
        out = _in_one_chunk(passes, inputs, batch)
    elif torch.is_grad_enabled() and any(t.requires_grad for t in (*inputs, *passes.weights)):
        out = _Recomputed.apply(  # type: ignore[no-untyped-call]
            passes, batch, spans, len(inputs), *inputs, *passes.weights
        )
    else:
        with torch.no_grad(), torch.autocast(**_autocast_of(inputs[0])):
            _, out = _in_chunks(passes, inputs, batch, spans)
    return out.squeeze(0) if flat else out


def _in_one_chunk(passes: Passes, inputs: tuple[Tensor, ...], batch: Ragged | None) -> Tensor:
    num_graphs = inputs[0].size(0) if batch is None else batch.batch_size
    chunk = Chunk(inputs, batch, slice(0, num_graphs))
    _, outputs = two_passes(passes, lambda: (chunk,), num_graphs)
    return next(outputs)


def _in_chunks(
    passes: Passes, inputs: tuple[Tensor, ...], batch: Ragged | None, spans: list[Span]
) -> tuple[State, Tensor]:
    num_graphs = inputs[0].size(0) if batch is None else batch.batch_size
    state, message = _first_pass(passes, (_take(s, inputs) for s in spans), num_graphs)
    out = torch.empty_like(inputs[0])
    for span in spans:
        chunk = _take(span, inputs)
        if span.is_view:
            _output(passes, chunk, message, out=span.take(out))
        else:
            span.put(out, _output(passes, chunk, message))
    return state, out


class _Recomputed(torch.autograd.Function):
    r"""Many chunks; the backward pass computes each chunk once more and keeps nothing of it."""

    @staticmethod
    def forward(
        ctx: Any,
        passes: Passes,
        batch: Ragged | None,
        spans: list[Span],
        num_inputs: int,
        *tensors: Tensor,
    ) -> Tensor:
        ctx.autocast = _autocast_of(tensors[0])
        with torch.autocast(**ctx.autocast):
            state, out = _in_chunks(passes, tensors[:num_inputs], batch, spans)
        ctx.passes, ctx.batch, ctx.spans, ctx.shift = passes, batch, spans, state.shift
        ctx.num_inputs, ctx.num_sums = num_inputs, len(state.sums)
        ctx.save_for_backward(*tensors, *state.sums)
        return out

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Any, ...]:
        tensors = ctx.saved_tensors[: -ctx.num_sums]
        state = State(ctx.saved_tensors[-ctx.num_sums :], ctx.shift)
        inputs, weights = tensors[: ctx.num_inputs], tensors[ctx.num_inputs :]
        differentiable_again = torch.is_grad_enabled()
        with torch.enable_grad(), torch.autocast(**ctx.autocast):
            if differentiable_again:
                out = _in_one_chunk(ctx.passes, inputs, ctx.batch)
                gradients = _grad((out,), tensors, (grad_out,), create_graph=True)
            else:
                gradients = _Gradients(ctx.passes, inputs, weights).of(ctx.spans, state, grad_out)
        return None, None, None, None, *gradients


class _Gradients:
    r"""The two passes in reverse, decode, update, encode; each chunk adds its share."""

    def __init__(
        self, passes: Passes, inputs: tuple[Tensor, ...], weights: tuple[Tensor, ...]
    ) -> None:
        self.passes, self.inputs, self.weights = passes, inputs, weights
        self.of_inputs = [torch.empty_like(t) if t.requires_grad else None for t in inputs]
        self.of_weights: list[Tensor | None] = [None for _ in weights]

    def of(self, spans: list[Span], state: State, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        sums = _leaves(state.sums)
        message = self.passes.update(State(sums, state.shift))
        grad_message = tuple(torch.zeros_like(m) for m in message)

        for span in spans:
            chunk = self._leaf_chunk(span)
            rows = _leaves(_of_graphs(message, span.graphs))
            out = self.passes.decode(chunk, rows).expand_as(chunk.x)
            grad = span.take(grad_out)
            grads = self._pull((out,), (grad,), (*rows, *chunk.inputs), check=span is spans[0])
            for total, row_grad in zip(grad_message, grads[: len(rows)], strict=True):
                if row_grad is not None:
                    total[span.graphs] += row_grad
            self._start_inputs(span, grads[len(rows) :], grad if self.passes.residual else None)

        grad_sums = self._pull(message, grad_message, sums, check=True)

        for span in spans:
            chunk = self._leaf_chunk(span)
            part = self.passes.encode(chunk)
            wanted = [None if g is None else g[span.graphs] for g in grad_sums]
            if part.shift is not None and state.shift is not None:
                factor = (part.shift - state.shift[span.graphs]).exp()
                wanted = [None if g is None else _scaled(g, factor) for g in wanted]
            grads = self._pull(part.sums, wanted, chunk.inputs, check=span is spans[0])
            self._add_to_inputs(span, grads)

        of_weights = (
            None if total is None else total.to(weight.dtype)
            for total, weight in zip(self.of_weights, self.weights, strict=True)
        )
        return *self.of_inputs, *of_weights

    def _leaf_chunk(self, span: Span) -> Chunk:
        chunk = _take(span, tuple(t.detach() for t in self.inputs))
        for leaf, whole in zip(chunk.inputs, self.inputs, strict=True):
            leaf.requires_grad_(whole.requires_grad)
        return chunk

    def _pull(
        self,
        outputs: Sequence[Tensor],
        gradients: Sequence[Tensor | None],
        leaves: Sequence[Tensor],
        check: bool,
    ) -> tuple[Tensor | None, ...]:
        if check:
            _require_listed(outputs, (*leaves, *self.weights))
        grads = _grad(outputs, (*leaves, *self.weights), gradients)
        for i, grad in enumerate(grads[len(leaves) :]):
            if grad is not None:
                total = self.of_weights[i]
                if total is None:
                    wide = torch.promote_types(grad.dtype, torch.float32)
                    self.of_weights[i] = grad.to(wide, copy=True)
                else:
                    total += grad
        return grads[: len(leaves)]

    def _start_inputs(
        self, span: Span, grads: Sequence[Tensor | None], past_the_block: Tensor | None
    ) -> None:
        r"""Write what comes through ``decode``, and what reaches x as the other summand."""
        for i, (total, grad) in enumerate(zip(self.of_inputs, grads, strict=True)):
            if total is None:
                continue
            parts = [g for g in (grad, past_the_block if i == 0 else None) if g is not None]
            if len(parts) == 2 and span.is_view:
                torch.add(*parts, out=span.take(total))
            else:
                zero = torch.zeros_like(span.take(total))
                span.put(total, sum(parts, zero))

    def _add_to_inputs(self, span: Span, grads: Sequence[Tensor | None]) -> None:
        for total, grad in zip(self.of_inputs, grads, strict=True):
            if total is not None and grad is not None:
                span.add(total, grad)


def _take(span: Span, inputs: tuple[Tensor, ...]) -> Chunk:
    return Chunk(tuple(span.take(t) for t in inputs), span.batch, span.graphs)


def _of_graphs(message: Message, graphs: slice) -> Message:
    return tuple(m[graphs] for m in message)


def _leaves(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(t.detach().requires_grad_() for t in tensors)


def _scaled(x: Tensor, factor: Tensor) -> Tensor:
    return x * factor.view(-1, *[1] * (x.dim() - 1))


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
        whole[graphs] = _scaled(whole[graphs], old_factor) + _scaled(new, new_factor)
    total.shift[graphs] = higher


def _grad(
    outputs: Sequence[Tensor],
    leaves: Sequence[Tensor],
    gradients: Sequence[Tensor | None],
    create_graph: bool = False,
) -> tuple[Tensor | None, ...]:
    r""":func:`torch.autograd.grad` where outputs and leaves may need no gradient."""
    pairs = [
        (y, g) for y, g in zip(outputs, gradients, strict=True) if y.requires_grad and g is not None
    ]
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    if not pairs or not wanted:
        return (None,) * len(leaves)
    ys, gs = zip(*pairs, strict=True)
    with full_precision(ys[0]):  # the forward pass chose the dtypes of the backward pass
        found = iter(
            torch.autograd.grad(ys, wanted, gs, create_graph=create_graph, allow_unused=True)
        )
    return tuple(next(found) if leaf.requires_grad else None for leaf in leaves)


def _require_listed(outputs: Sequence[Tensor], listed: Sequence[Tensor]) -> None:
    edge = torch.autograd.graph.get_gradient_edge
    known = {edge(t).node for t in listed if t.requires_grad}
    todo = [edge(y).node for y in outputs if y.requires_grad]
    while todo:
        node = todo.pop()
        if node in known:
            continue
        known.add(node)
        if hasattr(node, "variable"):
            raise RuntimeError(
                "expected every tensor that needs a gradient among the weights of the Passes, got "
                f"one of shape {tuple(node.variable.shape)} that is not; its gradient would be lost"
            )
        todo += [following for following, _ in node.next_functions if following is not None]


def _autocast_of(x: Tensor) -> dict[str, Any]:
    r"""The autocast that is on; without its cache, which forgets that a weight needs a gradient."""
    device_type = x.device.type
    return {
        "device_type": device_type,
        "dtype": torch.get_autocast_dtype(device_type),
        "enabled": torch.is_autocast_enabled(device_type),
        "cache_enabled": False,
    }
