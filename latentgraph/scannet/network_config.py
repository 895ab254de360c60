r"""What a network for scenes is built from, as recipes and checkpoints hold it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from functools import partial
from inspect import signature
from typing import Any

from torch import nn

import latentgraph.nn
from latentgraph.models import VoxelUNet
from latentgraph.scannet.labels import label_set


@dataclass(frozen=True)
class Context:
    r"""A block of :mod:`latentgraph.nn` by name, so that a recipe or a checkpoint can hold it.

    Called with a number of channels, it builds the block.

    Args:
        block: Name of the block, for example ``"LatentGNN"`` or ``"GlobalContext"``.
        options: Its arguments besides the channels, for example ``{"latent_dims": [32]}``.
    """

    block: str
    options: dict[str, Any] = field(default_factory=dict)

    def __call__(self, channels: int) -> nn.Module:
        if not _is_block(self.block):
            raise ValueError(
                f"expected a block of latentgraph.nn such as LatentGNN, got {self.block!r}"
            )
        try:
            block: nn.Module = getattr(latentgraph.nn, self.block)(channels, **self.options)
        except TypeError as error:
            raise ValueError(f"{self.block} with {self.options}: {error}") from error
        return block


def _is_block(name: str) -> bool:
    r"""Whether a class of :mod:`latentgraph.nn` is called as ``block(x, batch)``."""
    named = getattr(latentgraph.nn, name) if name in latentgraph.nn.__all__ else None
    if not (isinstance(named, type) and issubclass(named, nn.Module)):
        return False
    return [*signature(named.forward).parameters][1:3] == ["x", "batch"]


@dataclass(frozen=True)
class NetworkConfig:
    r"""Everything that a :class:`Segmenter` is built from, plain enough for YAML.

    Args:
        labels: Label set whose classes are predicted.
        voxel_size: Edge of a voxel in meters.
        inputs: What the network sees of a voxel, ``"color"``, ``"normal"`` or both.
        color_range: What black and white are for the network.
        single: Whether a voxel shows one of its vertices, drawn at random, and not their mean.
            Predictions are then votes over as many draws as give every vertex its turn.
        channels: Widths of the levels of the :class:`~latentgraph.models.VoxelUNet`.
        kernel_size: Edge of the convolution kernels in voxels, odd.
        stem_kernel_size: That of the first convolution, or null for the same.
        blocks: Blocks of the encoder at each level, the same number or one for each.
        decoder_channels: Widths of the decoder, or null for those of the encoder.
        decoder_blocks: Blocks of the decoder at each level.
        residual: Whether blocks are residual, of two convolutions.
        norm_eps: The eps of all batch norms.
        norm_momentum: Their momentum.
        context: Block for long-range context, or null for none.
        context_levels: Levels that get a block; -1 is the bottleneck.
    """

    labels: str = "scannet20"
    voxel_size: float = 0.05
    inputs: tuple[str, ...] = ("color", "normal")
    color_range: tuple[float, float] = (-1.0, 1.0)
    single: bool = False
    channels: tuple[int, ...] = (32, 64, 128, 256)
    kernel_size: int = 3
    stem_kernel_size: int | None = None
    blocks: int | tuple[int, ...] = 1
    decoder_channels: tuple[int, ...] | None = None
    decoder_blocks: int | tuple[int, ...] = 1
    residual: bool = False
    norm_eps: float = 1e-5
    norm_momentum: float = 0.1
    context: Context | None = None
    context_levels: tuple[int, ...] = (-1,)

    def build(self) -> VoxelUNet:
        r"""The network, its parameters drawn at random."""
        return VoxelUNet(
            in_channels=3 * len(self.inputs),
            out_channels=label_set(self.labels).num_classes,
            channels=self.channels,
            kernel_size=self.kernel_size,
            context=self.context,
            context_levels=self.context_levels,
            blocks=self.blocks,
            decoder_channels=self.decoder_channels,
            decoder_blocks=self.decoder_blocks,
            stem_kernel_size=self.stem_kernel_size,
            residual=self.residual,
            norm=partial(nn.BatchNorm1d, eps=self.norm_eps, momentum=self.norm_momentum),
        )

    def as_dict(self) -> dict[str, Any]:
        r"""Plain numbers, strings, tuples and dictionaries, read by :meth:`from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> NetworkConfig:
        r"""The configuration that :meth:`as_dict` wrote.

        Args:
            values: What it wrote.

        Returns:
            An equal configuration.

        Raises:
            TypeError: For a field that this version does not know, or one that is missing.
        """
        config = cls(**values)
        if config.context is None:
            return config
        return replace(config, context=Context(**values["context"]))


@dataclass(frozen=True)
class TrainedOn:
    r"""The scenes that a network has learned from.

    Args:
        source: ``"rooms"`` and ``"apartments"`` for generated scenes, ``"scans"`` for real ones.
        scenes: Their number.
    """

    source: str
    scenes: int

    @property
    def generated(self) -> bool:
        r"""Whether real scans look like nothing the network has seen."""
        return self.source != "scans"
