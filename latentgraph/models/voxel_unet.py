r"""A U-Net on sparse voxels, with blocks for global context between its layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch_geometric.nn.inits import reset

from latentgraph.functional import Ragged
from latentgraph.functional.checks import check_count, check_odd, check_tensors
from latentgraph.models.voxel_blocks import ConvNormReLU, Norm, ResidualBlock, Stage
from latentgraph.nn import position_features
from latentgraph.voxel import VoxelLevels


class VoxelUNet(nn.Module):
    r"""A U-Net of sparse convolutions, which are messages between neighboring voxels.

    `3D Semantic Segmentation with Submanifold Sparse Convolutional Networks
    <https://arxiv.org/abs/1711.10275>`_ (CVPR 2018) and `4D Spatio-Temporal ConvNets: Minkowski
    Convolutional Neural Networks <https://arxiv.org/abs/1904.08755>`_ (CVPR 2019)

    All convolutions are sums over the voxels j of a kernel around i, one matrix for each offset:

    .. math:: y_i = \sum_{j \in kernel(i)} x_j W_{p_j - p_i}

    A stem, then level by level a 2 x 2 x 2 convolution of stride 2 and ``blocks``; back up an
    inverse convolution, the encoder's features of that level beside it, and ``decoder_blocks``; at
    last a linear map. All graphs are found once per input and shared by the layers of a level.

    Context reaches further than any kernel: ``context`` makes a block for each of
    ``context_levels``. The block of the coarsest level, the bottleneck, follows the encoder; that
    of another level follows its part of the decoder.

    Args:
        in_channels: Size of a voxel's input features.
        out_channels: Size of its output features, classes for example.
        channels: Widths of the levels, finest first; there are as many levels as widths.
        kernel_size: Edge of the kernels within a level, odd.
        context: Makes a block of :mod:`latentgraph.nn`, or one that is called alike, for a number
            of channels; None for no context.
        context_levels: Levels that get a block; 0 is the finest, -1 the bottleneck.
        blocks: Blocks of the encoder at each level, the same number or one for each.
        decoder_channels: Widths of the decoder, finest first, one less than levels; by default
            those of the encoder.
        decoder_blocks: Blocks of the decoder at each level but the coarsest, at least one.
        stem_kernel_size: Edge of the first kernel, odd; by default ``kernel_size``.
        residual: Whether blocks are residual, of two convolutions, or a convolution, norm and ReLU.
        norm: Makes a norm for a number of channels.

    Raises:
        TypeError: A size of features is no int.
        ValueError: Numbers of levels differ, or a size, a kernel or a context level cannot be.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int] = (16, 32, 64),
        kernel_size: int = 3,
        context: Callable[[int], nn.Module] | None = None,
        context_levels: Sequence[int] = (-1,),
        blocks: int | Sequence[int] = 1,
        decoder_channels: Sequence[int] | None = None,
        decoder_blocks: int | Sequence[int] = 1,
        stem_kernel_size: int | None = None,
        residual: bool = False,
        norm: Norm = nn.BatchNorm1d,
    ) -> None:
        super().__init__()
        check_count(in_channels=in_channels, out_channels=out_channels)
        self.channels = tuple(channels)
        num_levels = len(self.channels)
        up_channels = self.channels[:-1] if decoder_channels is None else tuple(decoder_channels)
        if num_levels < 1 or len(up_channels) != num_levels - 1:
            raise ValueError(
                "expected channels for at least one level and decoder_channels for one level less, "
                f"got {self.channels} and {up_channels}"
            )
        down_blocks = _for_each("blocks", blocks, num_levels, at_least=0)
        up_blocks = _for_each("decoder_blocks", decoder_blocks, num_levels - 1, at_least=1)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.blocks, self.decoder_blocks = tuple(down_blocks), tuple(up_blocks)
        self.decoder_channels, self.residual = up_channels, residual
        self.kernel_size = kernel_size
        self.stem_kernel_size = kernel_size if stem_kernel_size is None else stem_kernel_size
        check_odd(kernel_size=kernel_size, stem_kernel_size=self.stem_kernel_size)

        block = partial(
            ResidualBlock if residual else ConvNormReLU, kernel_size=kernel_size, norm=norm
        )
        widths = (*up_channels, self.channels[-1])
        self.stem = ConvNormReLU(in_channels, self.channels[0], self.stem_kernel_size, norm)
        self.down, self.encoder = nn.ModuleList(), nn.ModuleList()
        self.up, self.decoder = nn.ModuleList(), nn.ModuleList()
        for level, (width, depth) in enumerate(zip(self.channels, down_blocks, strict=True)):
            if level:
                self.down.append(ConvNormReLU(self.channels[level - 1], width, 2, norm))
            self.encoder.append(Stage(block(width, width) for _ in range(depth)))
        for level, (width, depth) in enumerate(zip(up_channels, up_blocks, strict=True)):
            self.up.append(ConvNormReLU(widths[level + 1], width, 2, norm))
            first = block(width + self.channels[level], width)
            others = (block(width, width) for _ in range(depth - 1))
            self.decoder.append(Stage([first, *others]))
        self.context = nn.ModuleDict()
        if context is not None:
            for level in _levels(context_levels, num_levels):
                self.context[str(level)] = context(widths[level])
        self.head = nn.Linear(widths[0], out_channels)

    @classmethod
    def spunet34c(
        cls,
        in_channels: int,
        out_channels: int,
        context: Callable[[int], nn.Module] | None = None,
        context_levels: Sequence[int] = (-1,),
    ) -> VoxelUNet:
        r"""The sparse U-Net 34C, as Pointcept's SpUNet-v1m1 has it.

        39,157,844 parameters for 6 inputs and 20 classes.

        Args:
            in_channels: Size of a voxel's input features.
            out_channels: Number of classes.
            context: As above.
            context_levels: As above.

        Returns:
            The network, with random weights.
        """
        return cls(
            in_channels,
            out_channels,
            channels=(32, 32, 64, 128, 256),
            context=context,
            context_levels=context_levels,
            blocks=(0, 2, 3, 4, 6),
            decoder_channels=(96, 96, 128, 256),
            decoder_blocks=2,
            stem_kernel_size=5,
            residual=True,
            norm=partial(nn.BatchNorm1d, eps=1e-3, momentum=0.01),
        )

    def reset_parameters(self) -> None:
        r"""Draw all parameters anew."""
        for child in self.children():
            reset(child)

    def levels(
        self,
        coord: Tensor,
        batch: Tensor | Ragged | None = None,
        batch_size: int | None = None,
        block_size: int | None = None,
    ) -> VoxelLevels:
        r"""The graphs that :meth:`forward` finds for itself, to be found ahead of it.

        Args:
            coord: (n, 3) integer grid coordinates.
            batch: (n,) the grid of each voxel, or None.
            batch_size: Number of grids.
            block_size: As in :meth:`VoxelLevels.build <latentgraph.voxel.VoxelLevels.build>`.

        Returns:
            The levels, with the kernels of this network.
        """
        return VoxelLevels.build(
            coord,
            batch,
            batch_size,
            len(self.channels),
            self.kernel_size,
            self.stem_kernel_size,
            block_size,
        )

    def forward(
        self,
        x: Tensor,
        coord: Tensor | VoxelLevels,
        batch: Tensor | Ragged | None = None,
        batch_size: int | None = None,
        pos: Tensor | None = None,
        context_batch: Tensor | None = None,
        context_at: Callable[[int, Tensor], Tensor] | None = None,
    ) -> Tensor:
        r"""Features of every voxel from those of all.

        Args:
            x: (n, in_channels) features.
            coord: (n, 3) integer grid coordinates from 0 to 65,535, in any order, none twice; or
                the graphs that :meth:`levels` finds for them, which hold ``batch`` already.
            batch: (n,) int64, the grid of each voxel, or None for one grid.
            batch_size: Number of grids, if known.
            pos: (n, D) positions for context blocks that see them (``affinity_channels``); by
                default the grid coordinates.
            context_batch: (n,) int64, which voxels share their context, in place of ``batch``. A
                coarse voxel takes the smallest of its children's.
            context_at: Called in place of the block of a level, with the level and the features
                there; returns those with context. :func:`~latentgraph.models.in_columns` uses it.

        Returns:
            (n, out_channels).

        Raises:
            TypeError: A dtype does not fit, or ``x`` or ``coord`` is no tensor.
            ValueError: A shape does not fit, or coordinates are out of range or occur twice.
        """
        check_tensors(x=x)
        if x.dim() != 2 or x.size(1) != self.in_channels:
            raise ValueError(f"expected x of shape (n, {self.in_channels}), got {tuple(x.shape)}")
        if isinstance(coord, VoxelLevels):
            if batch is not None or batch_size is not None:
                raise ValueError("expected no batch beside VoxelLevels, which hold their own")
            levels = coord
        else:
            levels = self.levels(coord, batch, batch_size)
        if len(levels.levels) != len(self.channels):
            raise ValueError(f"expected {len(self.channels)} levels, got {len(levels.levels)}")
        for name, values in (("x", x), ("pos", pos), ("context_batch", context_batch)):
            if values is not None and values.size(0) != levels.levels[0].num_voxels:
                raise ValueError(
                    f"expected {name} of {levels.levels[0].num_voxels} voxels, as coord has, got "
                    f"{values.size(0)}"
                )

        at = context_at or partial(self._context_at, levels, pos, context_batch)

        def add_context(x: Tensor, level: int) -> Tensor:
            return at(level, x) if str(level) in self.context else x

        x = self.stem(x, levels.stem)
        skips = []
        for i, level in enumerate(levels.levels):
            if i > 0:
                x = self.down[i - 1](x, levels.levels[i - 1].down)
            x = self.encoder[i](x, level.neighbors)
            skips.append(x)
        x = add_context(x, len(skips) - 1)
        for i in reversed(range(len(self.decoder))):
            level = levels.levels[i]
            x = torch.cat([self.up[i](x, level.up), skips[i]], dim=1)
            x = add_context(self.decoder[i](x, level.neighbors), i)
        return cast(Tensor, self.head(x))

    def _context_at(
        self,
        levels: VoxelLevels,
        pos: Tensor | None,
        context_batch: Tensor | None,
        level: int,
        x: Tensor,
    ) -> Tensor:
        batch, batch_size = levels.levels[level].batch, levels.batch_size
        if context_batch is not None:
            batch, batch_size = levels.pool(context_batch, level, "min"), None
        if self._sees_positions(level):
            pos = levels.levels[level].coord if pos is None else levels.pool(pos, level)
        return self.context_of(level, x, pos, Ragged.of(batch, batch_size))

    def _sees_positions(self, level: int) -> bool:
        r"""Whether the block of a level wants positions beside the features."""
        return bool(getattr(self.context[str(level)], "affinity_channels", 0))

    def context_of(
        self, level: int, x: Tensor, pos: Tensor | None, batch: Ragged | None = None
    ) -> Tensor:
        r"""The block of a level on its voxels.

        Args:
            level: One of those that have a block.
            x: (m, channels of the level) features.
            pos: (m, D) positions, for a block that sees them (``affinity_channels``).
            batch: (m,) which voxels share their context; None for all of them.

        Returns:
            The shape of ``x``.
        """
        block = self.context[str(level)]
        if pos is None or not self._sees_positions(level):
            return cast(Tensor, block(x, batch))
        return cast(Tensor, block(x, batch, affinity_x=position_features(pos, batch)))

    def __repr__(self) -> str:
        context = {int(level): block for level, block in self.context.items()}
        return (
            f"{type(self).__name__}({self.in_channels}, {self.out_channels}, "
            f"channels={self.channels}, kernel_size={self.kernel_size}, context={context})"
        )


def _for_each(name: str, number: int | Sequence[int], length: int, at_least: int) -> list[int]:
    numbers = [number] * length if isinstance(number, int) else list(number)
    if len(numbers) != length or min(numbers, default=at_least) < at_least:
        raise ValueError(
            f"expected {name} as a number or {length} of them, {at_least} or more, got {number}"
        )
    return numbers


def _levels(levels: Sequence[int], num_levels: int) -> list[int]:
    found = [level % num_levels for level in levels if -num_levels <= level < num_levels]
    if not found or len(found) < len(levels) or len(set(found)) < len(found):
        raise ValueError(
            f"expected different context_levels from {-num_levels} to {num_levels - 1}, got "
            f"{tuple(levels)}"
        )
    return found
