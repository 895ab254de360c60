r"""A block on nodes that are in memory, in one chunk or in many."""

from __future__ import annotations

import torch
from torch import Tensor

from latentgraph.functional.checks import check_chunk_size
from latentgraph.functional.freed_memory import keep_freed_memory
from latentgraph.functional.passes import Passes
from latentgraph.functional.precision import autocast_of
from latentgraph.functional.ragged import Ragged
from latentgraph.functional.recompute import Recomputed, in_chunks, in_one_chunk
from latentgraph.functional.shards import is_sharded, over_shards
from latentgraph.functional.spans import even_spans
from latentgraph.functional.tracing import is_traced

__all__ = ["stream"]


def stream(
    passes: Passes,
    inputs: tuple[Tensor, ...],
    batch: Tensor | Ragged | None = None,
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
        ValueError: ``chunk_size`` is below 1, or ``batch`` is of other nodes.
        RuntimeError: in the backward pass, if the functions use a tensor that needs a gradient and
            is not listed in ``weights``: its gradient would be lost.
    """
    check_chunk_size(chunk_size)
    batch = Ragged.of(batch, num_nodes=inputs[0].size(0), device=inputs[0].device)
    flat = batch is None and inputs[0].dim() == 2
    if flat:
        inputs = tuple(t.unsqueeze(0) for t in inputs)
    passes = over_shards(passes)
    if is_traced(inputs[0]):
        spans = even_spans(inputs[0], batch, None)
    else:
        spans = even_spans(inputs[0], batch, chunk_size)
        keep_freed_memory(inputs[0].device)
    # Ranks that differ in their chunks must not differ in what their autograd graphs exchange.
    if len(spans) == 1 and (chunk_size is None or not is_sharded()):
        out = in_one_chunk(passes, inputs, batch)
    elif torch.is_grad_enabled() and any(t.requires_grad for t in (*inputs, *passes.weights)):
        out = Recomputed.apply(  # type: ignore[no-untyped-call]
            passes, batch, spans, len(inputs), *inputs, *passes.weights
        )
    else:
        with torch.no_grad(), torch.autocast(**autocast_of(inputs[0])):
            _, out = in_chunks(passes, inputs, batch, spans)
    return out.squeeze(0) if flat else out
