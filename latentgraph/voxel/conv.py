r"""The sparse convolution as a layer: a weight matrix for each offset of a kernel."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from latentgraph.functional.checks import check_count
from latentgraph.voxel.functional import voxel_conv
from latentgraph.voxel.graph import VoxelGraph


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
        TypeError: A size is no int.
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
        check_count(in_channels=in_channels, out_channels=out_channels, kernel_size=kernel_size)
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
        r"""Convolve.

        Args:
            x: (num_sources, ``in_channels``) features of the voxels that send.
            graph: Who sends to whom, with ``kernel_size ** 3`` relations.

        Returns:
            (num_targets, ``out_channels``).

        Raises:
            ValueError: Shapes do not fit the graph and the weights.
            TypeError: ``x`` is no tensor or has not the dtype of the weights, or ``graph`` is none.
        """
        out = voxel_conv(x, self.weight, graph)
        return out if self.bias is None else out + self.bias.to(out.dtype)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.in_channels}, {self.out_channels}, "
            f"kernel_size={self.kernel_size}, bias={self.bias is not None})"
        )
