r"""Messages between visible and latent nodes: the two products, dense, by graph.

.. math:: Z_b = P_b^\top X_b \qquad Y_b = S_b Z_b

With one graph, or with graphs of one size as a (B, n, c) tensor, both are plain matrix products.
With a ragged batch they are two operators of :mod:`torch.library`, each the gradient of the other;
whatever depends on the data (order, sizes, which products are taken together) stays inside them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from latentgraph.functional.checks import check_no_tangents, check_rows, check_tensors
from latentgraph.functional.linear import linear, over_rows, over_rows_of_one
from latentgraph.functional.precision import full_precision, wide
from latentgraph.functional.ragged import Ragged
from latentgraph.functional.sums import weighted_sums

__all__ = ["latent_to_visible", "visible_to_latent"]


def visible_to_latent(x: Tensor, weight: Tensor, batch: Tensor | Ragged | None = None) -> Tensor:
    r"""Sum over the nodes of each graph: :math:`Z_b = P_b^\top X_b`.

    Args:
        x: (N, c) node features, or (B, n, c) for graphs of one size.
        weight: (N, d) or (B, n, d), edge weights :math:`P`, same dtype.
        batch: the graph of each node; None for one graph or for (B, n, c).

    Returns:
        (B, d, c). A graph without nodes has zeros.

    Raises:
        TypeError: an input is no tensor.
        ValueError: shapes or dtypes do not fit.
    """
    check_tensors(weight=weight)
    check_rows("x", x, batch)
    if x.shape[:-1] != weight.shape[:-1] or x.dtype != weight.dtype:
        raise ValueError(
            f"expected weight of shape {(*x.shape[:-1], 'd')} and {x.dtype}, "
            f"got {tuple(weight.shape)} of {weight.dtype}"
        )
    batch = Ragged.of(batch, num_nodes=x.size(0), device=x.device)
    if batch is None:
        with full_precision(x):
            sent, rows = (t if t.dim() == 3 else t.unsqueeze(0) for t in (weight, x))
            return over_rows(sent, rows)
    check_no_tangents(x, weight)
    sums: Tensor = _visible_to_latent(weight, x, *_known(batch, weight.size(1), x.size(1)))
    return sums


def latent_to_visible(z: Tensor, weight: Tensor, batch: Tensor | Ragged | None = None) -> Tensor:
    r"""Sum over the latent nodes of a node's graph: :math:`Y_b = S_b Z_b`.

    Args:
        z: (B, d, c) latent features.
        weight: (N, d), or (B, n, d) for graphs of one size: edge weights :math:`S`, same dtype.
        batch: the graph of each node; None for one graph or for (B, n, d).

    Returns:
        (N, c), or (B, n, c).

    Raises:
        TypeError: an input is no tensor.
        ValueError: shapes or dtypes do not fit.
    """
    check_tensors(z=z)
    check_rows("weight", weight, batch)
    batch_size = z.size(0) if isinstance(batch, Tensor) else None
    batch = Ragged.of(batch, batch_size, num_nodes=weight.size(0), device=weight.device)
    stacked = weight.size(0) if weight.dim() == 3 else 1
    num_graphs = stacked if batch is None else batch.batch_size
    if z.dim() != 3 or z.shape[:2] != (num_graphs, weight.size(-1)) or z.dtype != weight.dtype:
        raise ValueError(
            f"expected z of shape {(num_graphs, weight.size(-1), 'c')} and {weight.dtype}, "
            f"got {tuple(z.shape)} of {z.dtype}"
        )
    if batch is None:
        with full_precision(z):
            return linear(weight, z.squeeze(0).mT) if num_graphs == 1 else weight @ z
    check_no_tangents(z, weight)
    sums: Tensor = _latent_to_visible(weight, z, *_known(batch, weight.size(1), z.size(2)))
    return sums


def sum_squares(weight: Tensor, batch: Ragged) -> Tensor:
    r"""(B, d), the squares of edge weights (N, d) summed over the nodes of each graph."""
    check_no_tangents(weight)
    sums: Tensor = _sum_squares(weight, batch.batch, batch.batch_size, batch.plan)
    return sums


def _known(batch: Ragged, *widths: int) -> tuple[Tensor, int, list[Tensor]]:
    r"""What the operators are told of the graphs; sums weighted by one number need no buckets."""
    return batch.batch, batch.batch_size, batch.pieces if 1 in widths else batch.plan


Groups = Iterator[tuple["int | slice | Tensor", "slice | Tensor"]]


def _groups(batch: Tensor, batch_size: int, plan: list[Tensor]) -> tuple[Tensor, Groups]:
    r"""The sorting order, and what is multiplied together: pairs of graphs and node positions.

    These are the number of a single graph and a slice of nodes, slices of graphs of one size and of
    their nodes, or graphs (g,) of like size and their nodes (g, L), of which some are repeated.
    """
    offsets, order, runs, *buckets = plan or Ragged(batch, batch_size).plan

    def groups() -> Groups:
        ptr = offsets.tolist()
        for first, last in runs.tolist():
            graphs = first if first == last else slice(first, last + 1)
            yield graphs, slice(ptr[first], ptr[last + 1])
        yield from zip(buckets[::2], buckets[1::2], strict=True)

    return order, groups()


def _by_graph(x: Tensor, num_graphs: int) -> Tensor:
    r"""The nodes of graphs of one size as (g, n, c)."""
    rows: Tensor = x.unflatten(0, (num_graphs, -1))
    return rows


@torch.library.custom_op("latentgraph::visible_to_latent", mutates_args=())
def _visible_to_latent(
    weight: Tensor, x: Tensor, batch: Tensor, batch_size: int, plan: list[Tensor]
) -> Tensor:
    if weight.size(1) == 1:
        return weighted_sums(x, weight.squeeze(1), batch, batch_size, plan).unsqueeze(1)
    if x.size(1) == 1:
        return weighted_sums(weight, x.squeeze(1), batch, batch_size, plan).unsqueeze(2)
    order, groups = _groups(batch, batch_size, plan)
    if order.numel():
        weight, x = weight.index_select(0, order), x.index_select(0, order)
    with full_precision(x):  # here, since backward() may be called inside autocast
        z = x.new_zeros(batch_size, weight.size(1), x.size(1))
        for graphs, nodes in groups:
            if isinstance(graphs, int):
                over_rows_of_one(weight[nodes], x[nodes], out=z[graphs])
            elif isinstance(nodes, slice):
                sent, rows = (_by_graph(t[nodes], len(z[graphs])) for t in (weight, x))
                torch.bmm(sent.mT, rows, out=z[graphs])
            else:
                z[graphs] = _padded(weight, nodes).mT @ x[nodes]
        return z


def _padded(weight: Tensor, nodes: Tensor) -> Tensor:
    r"""(g, L, d), the weights of the nodes of graphs, zero where these are repeated."""
    repeated = nodes[:, 1:] == nodes[:, :-1]
    sent = weight[nodes]
    sent[:, 1:].masked_fill_(repeated.unsqueeze(2), 0)
    return sent


@torch.library.custom_op("latentgraph::sum_squares", mutates_args=())
def _sum_squares(weight: Tensor, batch: Tensor, batch_size: int, plan: list[Tensor]) -> Tensor:
    order, groups = _groups(batch, batch_size, plan)
    if order.numel():
        weight = weight.index_select(0, order)
    sums = weight.new_zeros(batch_size, weight.size(1))
    for graphs, nodes in groups:
        if isinstance(graphs, int):
            torch.sum(weight[nodes].square(), 0, out=sums[graphs])
        elif isinstance(nodes, slice):
            sums[graphs] = _by_graph(weight[nodes], len(sums[graphs])).square().sum(1)
        else:
            sums[graphs] = _padded(weight, nodes).square_().sum(1)
    return sums


@torch.library.custom_op("latentgraph::latent_to_visible", mutates_args=())
def _latent_to_visible(
    weight: Tensor, z: Tensor, batch: Tensor, batch_size: int, plan: list[Tensor]
) -> Tensor:
    if weight.size(1) == 1:  # one latent node: its row, handed to every node
        return z.squeeze(1).index_select(0, batch).mul_(weight)
    if z.size(2) == 1:
        rows = wide(z.squeeze(2)).index_select(0, batch).mul_(weight)
        return rows.sum(1, keepdim=True).to(z.dtype)
    order, groups = _groups(batch, batch_size, plan)
    if order.numel():
        weight = weight.index_select(0, order)
    with full_precision(z):
        y = z.new_empty(weight.size(0), z.size(2))
        for graphs, nodes in groups:
            if isinstance(graphs, int):
                torch.mm(weight[nodes], z[graphs], out=y[nodes])
            elif isinstance(nodes, slice):
                sent = z[graphs]
                edges, rows = (_by_graph(t[nodes], sent.size(0)) for t in (weight, y))
                torch.bmm(edges, sent, out=rows)
            else:
                y[nodes] = weight[nodes] @ z[graphs]
    if order.numel():
        y = torch.empty_like(y).index_copy_(0, order, y)
    return y


@_visible_to_latent.register_fake
def _(weight: Tensor, x: Tensor, batch: Tensor, batch_size: int, plan: list[Tensor]) -> Tensor:
    return x.new_empty(batch_size, weight.size(1), x.size(1))


@_latent_to_visible.register_fake
def _(weight: Tensor, z: Tensor, batch: Tensor, batch_size: int, plan: list[Tensor]) -> Tensor:
    return z.new_empty(weight.size(0), z.size(2))


@_sum_squares.register_fake
def _(weight: Tensor, batch: Tensor, batch_size: int, plan: list[Tensor]) -> Tensor:
    return weight.new_empty(batch_size, weight.size(1))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    weight, features, batch, batch_size, plan = inputs
    ctx.save_for_backward(weight, features)
    ctx.membership = (batch, batch_size, plan)


Gradients = tuple["Tensor | None", "Tensor | None", None, None, list[None]]


def _visible_to_latent_backward(ctx: Any, grad: Tensor) -> Gradients:
    weight, x = ctx.saved_tensors
    grad_weight = grad_x = None
    if ctx.needs_input_grad[0]:
        grad_weight = _latent_to_visible(x, grad.mT, *ctx.membership)
    if ctx.needs_input_grad[1]:
        grad_x = _latent_to_visible(weight, grad, *ctx.membership)
    return grad_weight, grad_x, None, None, [None for _ in ctx.membership[2]]


def _latent_to_visible_backward(ctx: Any, grad: Tensor) -> Gradients:
    weight, z = ctx.saved_tensors
    grad_weight = grad_z = None
    if ctx.needs_input_grad[0]:
        grad_weight = _latent_to_visible(grad, z.mT, *ctx.membership)
    if ctx.needs_input_grad[1]:
        grad_z = _visible_to_latent(weight, grad, *ctx.membership)
    return grad_weight, grad_z, None, None, [None for _ in ctx.membership[2]]


def _keep_weight(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    weight, *membership = inputs
    ctx.save_for_backward(weight)
    ctx.membership = membership


def _sum_squares_backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, list[None]]:
    (weight,) = ctx.saved_tensors
    batch, _, plan = ctx.membership
    return weight * (2 * grad).index_select(0, batch), None, None, [None for _ in plan]


_sum_squares.register_autograd(_sum_squares_backward, setup_context=_keep_weight)
_visible_to_latent.register_autograd(_visible_to_latent_backward, setup_context=_keep)
_latent_to_visible.register_autograd(_latent_to_visible_backward, setup_context=_keep)


@register_flop_formula(torch.ops.latentgraph.visible_to_latent)
def _(weight: torch.Size, x: torch.Size, *_: Any, **__: Any) -> int:
    return 2 * weight.numel() * x[1]


@register_flop_formula(torch.ops.latentgraph.latent_to_visible)
def _(weight: torch.Size, z: torch.Size, *_: Any, **__: Any) -> int:
    return 2 * weight.numel() * z[2]
