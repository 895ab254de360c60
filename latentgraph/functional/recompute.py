r"""The two passes in many chunks, with a backward pass that keeps nothing of a chunk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from latentgraph.functional.passes import (
    Chunk,
    Message,
    Passes,
    State,
    first_pass,
    output_of,
    rows_of,
    scaled,
)
from latentgraph.functional.precision import autocast_of, full_precision
from latentgraph.functional.ragged import Ragged
from latentgraph.functional.spans import Span


def in_one_chunk(passes: Passes, inputs: tuple[Tensor, ...], batch: Ragged | None) -> Tensor:
    num_graphs = inputs[0].size(0) if batch is None else batch.batch_size
    chunk = Chunk(inputs, batch, slice(0, num_graphs))
    return output_of(passes, chunk, passes.update(passes.encode(chunk)))


def in_chunks(
    passes: Passes, inputs: tuple[Tensor, ...], batch: Ragged | None, spans: list[Span]
) -> tuple[State, Tensor]:
    num_graphs = inputs[0].size(0) if batch is None else batch.batch_size
    state, message = first_pass(passes, (take(s, inputs) for s in spans), num_graphs)
    out = torch.empty_like(inputs[0])
    for span in spans:
        chunk = take(span, inputs)
        if span.is_view:
            output_of(passes, chunk, message, out=span.take(out))
        else:
            span.put(out, output_of(passes, chunk, message))
    return state, out


class Recomputed(torch.autograd.Function):
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
        ctx.autocast = autocast_of(tensors[0])
        with torch.autocast(**ctx.autocast):
            state, out = in_chunks(passes, tensors[:num_inputs], batch, spans)
        ctx.passes, ctx.batch, ctx.spans, ctx.shift = passes, batch, spans, state.shift
        ctx.num_inputs, ctx.num_sums = num_inputs, len(state.sums)
        ctx.save_for_backward(*tensors, *state.sums)
        return out

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Any, ...]:
        saved = ctx.saved_tensors  # once: torch.utils.checkpoint gives each of them once
        tensors, state = saved[: -ctx.num_sums], State(saved[-ctx.num_sums :], ctx.shift)
        inputs, weights = tensors[: ctx.num_inputs], tensors[ctx.num_inputs :]
        differentiable_again = torch.is_grad_enabled()
        with torch.enable_grad(), torch.autocast(**ctx.autocast):
            if differentiable_again:
                inputs = tuple(t.view_as(t) for t in inputs)  # one may be made from another
                out = in_one_chunk(ctx.passes, inputs, ctx.batch)
                gradients = _grad((out,), (*inputs, *weights), (grad_out,), create_graph=True)
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
            self._pull_decode(span, message, grad_message, grad_out, check=span is spans[0])

        grad_sums = self._pull(message, grad_message, sums, check=True)

        for span in spans:
            self._pull_encode(span, state, grad_sums, check=span is spans[0])

        of_weights = (
            None if total is None else total.to(weight.dtype)
            for total, weight in zip(self.of_weights, self.weights, strict=True)
        )
        return *self.of_inputs, *of_weights

    # What a chunk needs is freed when one of these two returns, before the next one needs as much.

    def _pull_decode(
        self, span: Span, message: Message, grad_message: Message, grad_out: Tensor, check: bool
    ) -> None:
        chunk = self._leaf_chunk(span)
        rows = _leaves(rows_of(message, span.graphs))
        out = self.passes.decode(chunk, rows).expand_as(chunk.x)
        grad = span.take(grad_out)
        grads = self._pull((out,), (grad,), (*rows, *chunk.inputs), check)
        for total, row_grad in zip(grad_message, grads[: len(rows)], strict=True):
            if row_grad is not None:
                total[span.graphs] += row_grad
        self._start_inputs(span, grads[len(rows) :], grad if self.passes.residual else None)

    def _pull_encode(
        self, span: Span, state: State, grad_sums: Sequence[Tensor | None], check: bool
    ) -> None:
        chunk = self._leaf_chunk(span)
        part = self.passes.encode(chunk)
        wanted = [None if g is None else g[span.graphs] for g in grad_sums]
        if part.shift is not None and state.shift is not None:
            factor = (part.shift - state.shift[span.graphs]).exp()
            wanted = [None if g is None else scaled(g, factor) for g in wanted]
        self._add_to_inputs(span, self._pull(part.sums, wanted, chunk.inputs, check))

    def _leaf_chunk(self, span: Span) -> Chunk:
        chunk = take(span, tuple(t.detach() for t in self.inputs))
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
                first, *second = parts or [torch.zeros_like(span.take(total))]
                span.put(total, sum(second, first))

    def _add_to_inputs(self, span: Span, grads: Sequence[Tensor | None]) -> None:
        for total, grad in zip(self.of_inputs, grads, strict=True):
            if total is not None and grad is not None:
                span.add(total, grad)


def take(span: Span, inputs: tuple[Tensor, ...]) -> Chunk:
    return Chunk(tuple(span.take(t) for t in inputs), span.batch, span.graphs)


def _leaves(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(t.detach().requires_grad_() for t in tensors)


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
