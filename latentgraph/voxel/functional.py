r"""The sparse convolution as a function: messages along voxel graphs and their gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from latentgraph.functional.checks import check_tensors
from latentgraph.functional.precision import full_precision
from latentgraph.voxel.graph import Block, Edges, VoxelGraph


def voxel_conv(x: Tensor, weight: Tensor, graph: VoxelGraph) -> Tensor:
    r"""Convolution of voxel features along the edges of a graph.

    .. math:: y_i = \sum_k \sum_{j \in \mathcal{N}_k(i)} x_j W_k

    Messages are made and summed block by block (:class:`~latentgraph.voxel.graph.Edges`), and what
    was gathered for them is gathered again in the backward pass: kept are x and W alone.

    Args:
        x: (num_sources, in_channels) features of the voxels that send.
        weight: (num_relations, in_channels, out_channels).
        graph: from :func:`~latentgraph.voxel.neighbor_graph` or
            :func:`~latentgraph.voxel.coarsen`.

    Returns:
        (num_targets, out_channels). Sums are in float32 or wider.

    Raises:
        TypeError: ``x`` or ``graph`` is none, or ``x`` and ``weight`` differ in dtype and autocast
            is off.
        ValueError: shapes do not fit the graph or each other.
    """
    check_tensors(x=x, weight=weight)
    if not isinstance(graph, VoxelGraph):
        raise TypeError(f"expected graph as a VoxelGraph, got {type(graph).__name__}")
    if weight.dim() != 3 or weight.size(0) != graph.num_relations:
        raise ValueError(
            f"expected weight of shape ({graph.num_relations}, in_channels, out_channels) for this "
            f"graph, got {tuple(weight.shape)}"
        )
    if x.dim() != 2 or x.shape != (graph.num_sources, weight.size(1)):
        raise ValueError(
            f"expected x of shape ({graph.num_sources}, {weight.size(1)}), got {tuple(x.shape)}"
        )
    if torch.is_autocast_enabled(x.device.type) and x.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight = x.to(dtype), weight.to(dtype)
    if x.dtype != weight.dtype:
        raise TypeError(f"expected x of {weight.dtype}, like the weight, got {x.dtype}")
    out: Tensor = _Convolution.apply(x, weight, graph)  # type: ignore[no-untyped-call]
    return out


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, graph: VoxelGraph) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.graph = graph
        return _convolve(x, weight, graph)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, _ = ctx.needs_input_grad
        return *_Gradients.apply(x, weight, grad, ctx.graph, needs_x, needs_weight), None  # type: ignore[no-untyped-call]


class _Gradients(torch.autograd.Function):
    r"""Both gradients of the convolution, from one pass; they are differentiable themselves.

    All of them are derivatives of one form, linear in each of three arguments,
    :math:`T(x, W, g) = \sum_k \sum_{j \to i} (x_j W_k) \cdot g_i`.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        grad: Tensor,
        graph: VoxelGraph,
        needs_x: bool,
        needs_weight: bool,
    ) -> tuple[Tensor | None, Tensor | None]:
        ctx.save_for_backward(x, weight, grad)
        ctx.set_materialize_grads(False)
        ctx.graph = graph
        return _gradients(x, weight, grad, graph, needs_x, needs_weight)

    @staticmethod
    def backward(
        ctx: Any, x_dual: Tensor | None, weight_dual: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        x, weight, grad = ctx.saved_tensors
        graph = ctx.graph
        grad_x = grad_weight = grad_grad = None
        if weight_dual is not None:  # T(x, weight_dual, grad)
            grad_x, _ = _Gradients.apply(x, weight_dual, grad, graph, True, False)  # type: ignore[no-untyped-call]
            grad_grad = voxel_conv(x, weight_dual, graph)
        if x_dual is not None:  # T(x_dual, weight, grad)
            _, grad_weight = _Gradients.apply(x_dual, weight, grad, graph, False, True)  # type: ignore[no-untyped-call]
            other = voxel_conv(x_dual, weight, graph)
            grad_grad = other if grad_grad is None else grad_grad + other
        return grad_x, grad_weight, grad_grad, None, None, None


def _convolve(x: Tensor, weight: Tensor, graph: VoxelGraph) -> Tensor:
    out = x.new_empty(graph.num_targets, weight.size(2))
    senders = _room(x, x.size(1), graph.edges)
    messages = _room(x, weight.size(2), graph.edges)
    for block in graph.edges.blocks():
        sent = _gather(x, block.source, senders)
        out[block.targets] = _sum_of_messages(sent, weight, block, messages)
    return out


def _gradients(
    x: Tensor,
    weight: Tensor,
    grad: Tensor,
    graph: VoxelGraph,
    needs_x: bool,
    needs_weight: bool,
) -> tuple[Tensor | None, Tensor | None]:
    edges = graph.edges if graph.reverse is None else graph.reverse
    weight = weight.flip(0) if graph.reverse is None else weight
    grad_x = torch.empty_like(x)
    grad_weight = torch.zeros_like(weight, dtype=torch.promote_types(x.dtype, torch.float32))
    products = torch.empty_like(weight)
    senders = _room(x, grad.size(1), edges)
    messages = receivers = _room(x, x.size(1), edges)  # one after the other
    with full_precision(x):
        for block in edges.blocks():
            sent = _gather(grad, block.source, senders)
            if needs_x:
                back = weight.transpose(1, 2)
                grad_x[block.targets] = _sum_of_messages(sent, back, block, messages)
            if needs_weight:
                received = _gather(x, block.target, receivers)
                for a, b, out in zip(
                    received.split(block.sizes), sent.split(block.sizes), products, strict=True
                ):
                    torch.mm(a.T, b, out=out)
                grad_weight += products
    if graph.reverse is None:
        grad_weight = grad_weight.flip(0)
    return grad_x if needs_x else None, grad_weight.to(weight.dtype) if needs_weight else None


def _room(like: Tensor, channels: int, edges: Edges) -> Tensor:
    r"""Memory for what the edges of a block carry, whichever block.

    It is taken once for all of them: getting new memory from the system, page by page, takes as
    long as the products that fill it.
    """
    return like.new_empty(max(map(sum, edges.sizes), default=0), channels)


def _gather(x: Tensor, index: Tensor, room: Tensor) -> Tensor:
    return torch.index_select(x, 0, index, out=room[: index.size(0)])


def _sum_of_messages(sent: Tensor, weight: Tensor, block: Block, room: Tensor) -> Tensor:
    r"""One product for each relation, and their sum at each target of the block."""
    messages = room[: sent.size(0)]
    for a, w, out in zip(sent.split(block.sizes), weight, messages.split(block.sizes), strict=True):
        torch.mm(a, w, out=out)
    return F.embedding_bag(block.slot, messages, block.offset, mode="sum")
