r"""What a voxel U-Net is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from torch import Tensor, nn

from latentgraph.voxel import VoxelConv, VoxelGraph

Norm = Callable[[int], nn.Module]


class ConvNormReLU(nn.Module):
    r"""Convolution, norm, ReLU.

    Args:
        in_channels: Size of a voxel's input features.
        out_channels: Size of its output features.
        kernel_size: Edge of the kernel.
        norm: Makes a norm for a number of channels.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, norm: Norm) -> None:
        super().__init__()
        self.conv = VoxelConv(in_channels, out_channels, kernel_size, bias=False)
        self.norm = norm(out_channels)

    def forward(self, x: Tensor, graph: VoxelGraph) -> Tensor:
        r"""Features (num_targets, out_channels) from x (num_sources, in_channels)."""
        return cast(Tensor, self.norm(self.conv(x, graph))).relu()


class ResidualBlock(nn.Module):
    r"""Two convolutions beside a shortcut, which is a linear map where the width changes.

    Args:
        in_channels: Size of a voxel's input features.
        out_channels: Size of its output features.
        kernel_size: Edge of the kernels.
        norm: Makes a norm for a number of channels.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = VoxelConv(in_channels, out_channels, kernel_size, bias=False)
        self.norm1 = norm(out_channels)
        self.conv2 = VoxelConv(out_channels, out_channels, kernel_size, bias=False)
        self.norm2 = norm(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            linear = nn.Linear(in_channels, out_channels, bias=False)
            self.shortcut = nn.Sequential(linear, norm(out_channels))

    def forward(self, x: Tensor, graph: VoxelGraph) -> Tensor:
        r"""Features (n, out_channels) from x (n, in_channels)."""
        out = cast(Tensor, self.norm1(self.conv1(x, graph))).relu()
        out = self.norm2(self.conv2(out, graph))
        return cast(Tensor, out + self.shortcut(x)).relu()


class Stage(nn.ModuleList):
    r"""Blocks one after the other, on the same graph."""

    def forward(self, x: Tensor, graph: VoxelGraph) -> Tensor:
        r"""Features of as many voxels."""
        for block in self:
            x = block(x, graph)
        return x
