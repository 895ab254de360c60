r"""Sums over the nodes of each graph, and one row for each graph handed to all of its nodes.

For ragged batches they are operators of :mod:`torch.library`, each the gradient of the other.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from latentgraph.functional.checks import check_no_tangents, check_rows, check_tensors
from latentgraph.functional.precision import full_precision, wide
from latentgraph.functional.ragged import Ragged

__all__ = ["sum_nodes", "to_nodes"]


def sum_nodes(x: Tensor, batch: Tensor | Ragged | None = None) -> Tensor:
    r"""The sum over the nodes of each graph.

    Args:
        x: (N, c) values of the nodes, or (B, n, c) for graphs of one size.
        batch: (N,) the graph of each node, or None.

    Returns:
        (B, c), with B = 1 for (N, c) without a ``batch``.

    Raises:
        TypeError: ``x`` is no tensor.
        ValueError: ``x`` has another shape, or ``batch`` does not fit the nodes.
    """
    check_rows("x", x, batch)
    if not x.is_floating_point() and not x.is_complex():
        x = x.long()
    batch = Ragged.of(batch, num_nodes=x.size(0), device=x.device)
    if batch is None:
        return (x if x.dim() == 3 else x.unsqueeze(0)).sum(1)
    check_no_tangents(x)
    with full_precision(x):
        total: Tensor = _sum_nodes(x, batch.batch, batch.batch_size, batch.pieces)
        return total


def to_nodes(z: Tensor, batch: Tensor | Ragged | None = None) -> Tensor:
    r"""One row for each graph, handed to all of its nodes.

    Args:
        z: (B, c), a row for each graph.
        batch: (N,) the graph of each node, or None.

    Returns:
        (N, c) with a ``batch``; without one (B, 1, c), which broadcasts against (B, n, c).

    Raises:
        TypeError: ``z`` is no tensor.
        ValueError: ``z`` has no row for each graph.
    """
    check_tensors(z=z)
    if z.dim() != 2:
        raise ValueError(f"expected z of shape (B, c), got {tuple(z.shape)}")
    if batch is None:
        return z.unsqueeze(1)
    batch_size = None if isinstance(batch, Ragged) else z.size(0)
    batch = Ragged.of(batch, batch_size, device=z.device)
    assert batch is not None
    if z.size(0) != batch.batch_size:
        raise ValueError(f"expected z with {batch.batch_size} rows, got {tuple(z.shape)}")
    check_no_tangents(z)
    rows: Tensor = _to_nodes(z, batch.batch, batch.batch_size, batch.pieces)
    return rows


def weighted_sums(
    x: Tensor, weight: Tensor | None, batch: Tensor, batch_size: int, pieces: list[Tensor]
) -> Tensor:
    r"""The rows of each graph, each times a number of its own, summed piece by piece.

    Args:
        x: (N, c) rows.
        weight: (N,) their numbers, or None for ones.
        batch: (N,) the graph of each.
        batch_size: number of graphs B.
        pieces: of the :class:`Ragged`; may be empty.

    Returns:
        (B, c).
    """
    if not x.is_floating_point() or x.size(1) == 0:  # which `embedding_bag` refuses
        rows = x if weight is None else x * weight.unsqueeze(1)
        return x.new_zeros(batch_size, x.size(1)).index_add_(0, batch, rows)
    order, bounds, ptr = pieces or Ragged(batch, batch_size).pieces
    sums = partial(F.embedding_bag, mode="sum", include_last_offset=True)
    if weight is not None:
        weight = wide(weight).index_select(0, order)
    z = sums(order, wide(x), bounds, per_sample_weights=weight)
    if ptr.numel():
        z = sums(torch.arange(z.size(0), device=z.device), z.double(), ptr)
    return z.to(x.dtype)


@torch.library.custom_op("latentgraph::sum_nodes", mutates_args=())
def _sum_nodes(x: Tensor, batch: Tensor, batch_size: int, pieces: list[Tensor]) -> Tensor:
    if x.size(1) == 1 and x.is_floating_point():  # what a softmax divides by
        sums = torch.zeros(batch_size, 1, dtype=torch.float64, device=x.device)
        return sums.index_add_(0, batch, x.double()).to(x.dtype)
    return weighted_sums(x, None, batch, batch_size, pieces)


@torch.library.custom_op("latentgraph::to_nodes", mutates_args=())
def _to_nodes(z: Tensor, batch: Tensor, batch_size: int, pieces: list[Tensor]) -> Tensor:
    return z.index_select(0, batch)


@_sum_nodes.register_fake
def _(x: Tensor, batch: Tensor, batch_size: int, pieces: list[Tensor]) -> Tensor:
    return x.new_empty(batch_size, x.size(1))


@_to_nodes.register_fake
def _(z: Tensor, batch: Tensor, batch_size: int, pieces: list[Tensor]) -> Tensor:
    return z.new_empty(batch.size(0), z.size(1))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.membership = inputs[1:]


Gradients = tuple[Tensor, None, None, list[None]]


def _sum_nodes_backward(ctx: Any, grad: Tensor) -> Gradients:
    return _to_nodes(grad, *ctx.membership), None, None, [None for _ in ctx.membership[2]]


def _to_nodes_backward(ctx: Any, grad: Tensor) -> Gradients:
    return _sum_nodes(grad, *ctx.membership), None, None, [None for _ in ctx.membership[2]]


_sum_nodes.register_autograd(_sum_nodes_backward, setup_context=_keep)
_to_nodes.register_autograd(_to_nodes_backward, setup_context=_keep)
