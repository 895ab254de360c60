r"""The sparse convolution: messages between voxels, with a weight matrix for each offset."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentgraph.functional.precision import full_precision
from latentgraph.voxel.graph import Block, VoxelGraph


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
        TypeError: ``x`` and ``weight`` differ in dtype and autocast is off.
        ValueError: shapes do not fit the graph or each other.
    """
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


class VoxelConv(nn.Module):
    r"""Convolution on voxels that leaves empty ones empty.

    `3D Semantic Segmentation with Submanifold Sparse Convolutional Networks
    <https://arxiv.org/abs/1711.10275>`_ (CVPR 2018) and `4D Spatio-Temporal ConvNets: Minkowski
    Convolutional Neural Networks <https://arxiv.org/abs/1904.08755>`_ (CVPR 2019)

    .. math:: y_i = b + \sum_k \sum_{j \in \mathcal{N}_k(i)} x_j W_k

    with the edges :math:`\mathcal{N}_k` of relation k of a graph. The graph says what kind of
    convolution this is: submanifold with :func:`~latentgraph.voxel.neighbor_graph`, strided or
    inverse with the two graphs of :func:`~latentgraph.voxel.coarsen` and ``kernel_size=2``. On a
    grid without empty voxels it is :class:`torch.nn.Conv3d` with zero padding.

    Args:
        in_channels: Size of a voxel's input features.
        out_channels: Size of its output features.
        kernel_size: Edge of the kernel; there are ``kernel_size ** 3`` relations.
        bias: Whether b is added.
        device: Where the parameters live.
        dtype: dtype of the parameters.

    Raises:
        ValueError: A size is below 1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if min(in_channels, out_channels, kernel_size) < 1:
            raise ValueError(
                "expected in_channels, out_channels and kernel_size of 1 or more, got "
                f"{in_channels}, {out_channels} and {kernel_size}"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        shape = (kernel_size**3, in_channels, out_channels)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        empty = torch.empty(out_channels, device=device, dtype=dtype)
        self.bias = nn.Parameter(empty) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Draw all parameters anew, uniformly as :class:`torch.nn.Conv3d` does."""
        bound = 1 / math.sqrt(self.weight.size(0) * self.in_channels)
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor, graph: VoxelGraph) -> Tensor:
        r"""Features (num_targets, out_channels) from x (num_sources, in_channels)."""
        out = voxel_conv(x, self.weight, graph)
        return out if self.bias is None else out + self.bias.to(out.dtype)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.in_channels}, {self.out_channels}, "
            f"kernel_size={self.kernel_size}, bias={self.bias is not None})"
        )


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
    for block in graph.edges.blocks():
        senders = x.index_select(0, block.source)
        out[block.targets] = _messages(senders, weight, block)
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
    for block in edges.blocks():
        senders = grad.index_select(0, block.source)
        if needs_x:
            grad_x[block.targets] = _messages(senders, weight.transpose(1, 2), block)
        if needs_weight:
            receivers = x.index_select(0, block.target)
            for total, a, b in zip(
                grad_weight, receivers.split(block.sizes), senders.split(block.sizes), strict=True
            ):
                total += a.T @ b
    if graph.reverse is None:
        grad_weight = grad_weight.flip(0)
    return grad_x if needs_x else None, grad_weight.to(weight.dtype) if needs_weight else None


def _messages(senders: Tensor, weight: Tensor, block: Block) -> Tensor:
    r"""One product for each relation, and their sum at each target of the block."""
    messages = senders.new_empty(senders.size(0), weight.size(2))
    for a, w, out in zip(
        senders.split(block.sizes), weight, messages.split(block.sizes), strict=True
    ):
        torch.mm(a, w, out=out)
    return F.embedding_bag(block.slot, messages, block.offset, mode="sum")
