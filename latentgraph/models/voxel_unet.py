r"""A sparse-voxel U-Net as message passing, with context at any of its levels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from latentgraph import functional as LF
from latentgraph.functional import Ragged
from latentgraph.nn import position_features
from latentgraph.voxel import VoxelConv, VoxelGraph, coarsen, neighbor_graph


class ConvNorm(nn.Module):
    r"""A voxel convolution without bias, then batch norm.

    Args:
        in_channels: size of a voxel's input features.
        out_channels: size of its output features.
        kernel_size: edge of the kernel.
        eps: of the batch norm.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, eps: float) -> None:
        super().__init__()
        self.conv = VoxelConv(in_channels, out_channels, kernel_size, bias=False)
        self.norm = nn.BatchNorm1d(out_channels, eps)

    def forward(self, x: Tensor, graph: VoxelGraph) -> Tensor:
        r"""(num_sources, in_channels) to (num_targets, out_channels)."""
        out: Tensor = self.norm(self.conv(x, graph))
        return out


class ResidualBlock(nn.Module):
    r"""Two convolutions and a shortcut, which is a linear map where the width changes.

    Args:
        in_channels: size of a voxel's input features.
        out_channels: size of its output features.
        kernel_size: edge of the kernels, odd.
        eps: of the batch norms.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, eps: float) -> None:
        super().__init__()
        self.first = ConvNorm(in_channels, out_channels, kernel_size, eps)
        self.second = ConvNorm(out_channels, out_channels, kernel_size, eps)
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Linear(in_channels, out_channels, bias=False), nn.BatchNorm1d(out_channels, eps)
            )

    def forward(self, x: Tensor, graph: VoxelGraph) -> Tensor:
        r"""(n, in_channels) to (n, out_channels)."""
        y = self.second(self.first(x, graph).relu(), graph)
        out: Tensor = (y + self.shortcut(x)).relu()
        return out


class VoxelUNet(nn.Module):
    r"""A U-Net on voxels, whose convolutions pass messages between neighboring voxels.

    `3D Semantic Segmentation with Submanifold Sparse Convolutional Networks
    <https://arxiv.org/abs/1711.10275>`_ (CVPR 2018) and `4D Spatio-Temporal ConvNets: Minkowski
    Convolutional Neural Networks <https://arxiv.org/abs/1904.08755>`_ (CVPR 2019), with
    residual blocks. Each level halves the coordinates of the one above; a level of the decoder sees
    the encoder's features of the same level beside those that come up.

    The network known as SpUNet-v1m1 or sparse U-Net 34C has ``channels=(32, 32, 64, 128, 256)``,
    ``layers=(0, 2, 3, 4, 6)``, ``decoder_channels=(96, 96, 128, 256)``,
    ``decoder_layers=(2, 2, 2, 2)``, ``stem_kernel_size=5`` and ``eps=1e-3``.

    Args:
        in_channels: size of a voxel's input features.
        out_channels: number of classes.
        channels: width of each level of the encoder, finest first.
        layers: residual blocks of each level of the encoder; by default one.
        decoder_channels: width of each level of the decoder, finest first, one level fewer; by
            default the encoder's.
        decoder_layers: residual blocks of each level of the decoder, at least one; by default one.
        kernel_size: edge of the convolutions inside a level, odd.
        stem_kernel_size: edge of the first convolution, odd; by default ``kernel_size``.
        context: makes a block of :mod:`latentgraph.nn` from a number of channels; None for none.
        context_levels: levels that get a block, 0 the finest, -1 the bottleneck. It follows the
            last residual block of its level.
        eps: of the batch norms.

    Raises:
        ValueError: the numbers of levels do not fit, or there is no such level.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int] = (16, 32, 64),
        layers: Sequence[int] | None = None,
        decoder_channels: Sequence[int] | None = None,
        decoder_layers: Sequence[int] | None = None,
        kernel_size: int = 3,
        stem_kernel_size: int | None = None,
        context: Callable[[int], nn.Module] | None = None,
        context_levels: Sequence[int] = (-1,),
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        num_levels = len(channels)
        layers = (1,) * num_levels if layers is None else layers
        decoder_channels = channels[:-1] if decoder_channels is None else decoder_channels
        decoder_layers = (1,) * (num_levels - 1) if decoder_layers is None else decoder_layers
        if num_levels < 1 or len(layers) != num_levels:
            raise ValueError(
                f"expected channels and layers of as many levels, got {channels} and {layers}"
            )
        if not len(decoder_channels) == len(decoder_layers) == num_levels - 1:
            raise ValueError(
                f"expected decoder_channels and decoder_layers of {num_levels - 1} levels, "
                f"got {decoder_channels} and {decoder_layers}"
            )
        if any(not -num_levels <= level < num_levels for level in context_levels):
            raise ValueError(
                f"expected context_levels of {num_levels} levels, got {tuple(context_levels)}"
            )
        if min(decoder_layers, default=1) < 1:
            raise ValueError(f"expected decoder_layers of 1 or more, got {decoder_layers}")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.channels, self.kernel_size = tuple(channels), kernel_size
        self.stem_kernel_size = stem_kernel_size or kernel_size
        self.stem = ConvNorm(in_channels, channels[0], self.stem_kernel_size, eps)
        self.down, self.encoder = nn.ModuleList(), nn.ModuleList()
        for level, width in enumerate(channels):
            if level > 0:
                self.down.append(ConvNorm(channels[level - 1], width, 2, eps))
            self.encoder.append(
                nn.ModuleList(
                    ResidualBlock(width, width, kernel_size, eps) for _ in range(layers[level])
                )
            )
        self.up, self.decoder = nn.ModuleList(), nn.ModuleList()
        below = (*decoder_channels[1:], channels[-1])
        for level, width in enumerate(decoder_channels):
            self.up.append(ConvNorm(below[level], width, 2, eps))
            joined = (width + channels[level], *(width,) * (decoder_layers[level] - 1))
            self.decoder.append(
                nn.ModuleList(ResidualBlock(w, width, kernel_size, eps) for w in joined)
            )
        widths = (*decoder_channels, channels[-1])
        levels = sorted({level % num_levels for level in context_levels}) if context else []
        self.context = nn.ModuleDict(
            {str(level): context(widths[level]) for level in levels if context is not None}
        )
        self.head = nn.Linear(widths[0], out_channels)

    def forward(
        self,
        x: Tensor,
        coord: Tensor,
        batch: Tensor | None = None,
        batch_size: int | None = None,
        pos: Tensor | None = None,
        context_batch: Tensor | None = None,
    ) -> Tensor:
        r"""Scores of the classes for every voxel.

        Args:
            x: (n, in_channels) features of the voxels.
            coord: (n, 3) integer grid coordinates, from 0, none twice in a scene.
            batch: (n,) int64, the scene of each voxel; None for one scene.
            batch_size: number of scenes; by default the largest entry of ``batch`` plus one.
            pos: (n, 3) positions that the affinities of the blocks see, in any unit; by default the
                grid's.
            context_batch: (n,) int64, takes the place of ``batch`` for the blocks alone: with the
                true room of each voxel, every room is a graph.

        Returns:
            (n, out_channels).

        Raises:
            ValueError: a shape does not fit, a voxel occurs twice, or a number is out of range.
            TypeError: a dtype does not fit.
        """
        if x.dim() != 2 or x.size(1) != self.in_channels or x.size(0) != coord.size(0):
            raise ValueError(
                f"expected x of shape ({coord.size(0)}, {self.in_channels}), got {tuple(x.shape)}"
            )
        levels = self._levels(coord, batch, batch_size, pos, context_batch)
        stem_graph = levels[0].graph
        if self.stem_kernel_size != self.kernel_size:
            stem_graph = neighbor_graph(coord, batch, self.stem_kernel_size)

        x = self.stem(x, stem_graph).relu()
        skipped = []
        for i, level in enumerate(levels):
            if i > 0:
                x = self.down[i - 1](x, level.down).relu()
            for block in self.encoder[i]:  # type: ignore[attr-defined]
                x = block(x, level.graph)
            skipped.append(x)
        x = self._with_context(x, levels, len(levels) - 1)
        for i in reversed(range(len(levels) - 1)):
            x = torch.cat([self.up[i](x, levels[i + 1].up).relu(), skipped[i]], 1)
            for block in self.decoder[i]:  # type: ignore[attr-defined]
                x = block(x, levels[i].graph)
            x = self._with_context(x, levels, i)
        out: Tensor = self.head(x)
        return out

    def _with_context(self, x: Tensor, levels: list[_Level], i: int) -> Tensor:
        if str(i) not in self.context:
            return x
        block, level = self.context[str(i)], levels[i]
        options: dict[str, Any] = {}
        if getattr(block, "affinity_channels", 0):
            options["affinity_x"] = position_features(level.pos, level.graphs)
        out: Tensor = block(x, level.graphs, **options)
        return out

    def _levels(
        self,
        coord: Tensor,
        batch: Tensor | None,
        batch_size: int | None,
        pos: Tensor | None,
        context_batch: Tensor | None,
    ) -> list[_Level]:
        pos = coord.to(torch.get_default_dtype()) if pos is None else pos
        graphs = Ragged.of(
            batch if context_batch is None else context_batch,
            batch_size if context_batch is None else None,
            num_nodes=coord.size(0),
        )
        levels = [_Level(neighbor_graph(coord, batch, self.kernel_size), pos, graphs, None, None)]
        for _ in self.down:
            coarse = coarsen(coord, batch)
            children = Ragged(coarse.parent, coarse.coord.size(0))
            count = LF.sum_nodes(pos.new_ones(pos.size(0), 1), children)
            pos = LF.sum_nodes(pos, children) / count
            if graphs is not None:
                member = graphs.batch.new_empty(coarse.coord.size(0))
                member.scatter_reduce_(0, coarse.parent, graphs.batch, "amax", include_self=False)
                graphs = Ragged(member, graphs.batch_size)
            coord, batch = coarse.coord, coarse.batch
            graph = neighbor_graph(coord, batch, self.kernel_size)
            levels.append(_Level(graph, pos, graphs, coarse.down, coarse.up))
        return levels

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.in_channels}, {self.out_channels}, "
            f"channels={self.channels}, context={dict(self.context) or None})"
        )


class _Level:
    r"""The voxels of one level, and the graphs inside it and to the finer one."""

    def __init__(
        self,
        graph: VoxelGraph,
        pos: Tensor,
        graphs: Ragged | None,
        down: VoxelGraph | None,
        up: VoxelGraph | None,
    ) -> None:
        self.graph, self.pos, self.graphs, self.down, self.up = graph, pos, graphs, down, up
