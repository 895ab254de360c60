r"""A network together with what its predictions mean: classes, voxel size, inputs, training set."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

import latentgraph.nn
from latentgraph.models import VoxelUNet
from latentgraph.scannet.labels import LabelSet, label_set
from latentgraph.scannet.transforms import Voxelize


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
        if self.block not in latentgraph.nn.__all__:
            raise ValueError(
                f"expected a block of latentgraph.nn such as LatentGNN, got {self.block!r}"
            )
        try:
            block: nn.Module = getattr(latentgraph.nn, self.block)(channels, **self.options)
        except TypeError as error:
            raise ValueError(f"{self.block} with {self.options}: {error}") from error
        return block


@dataclass(frozen=True)
class NetworkConfig:
    r"""Everything that a :class:`Segmenter` is built from, plain enough for YAML.

    Args:
        labels: Label set whose classes are predicted.
        voxel_size: Edge of a voxel in meters.
        inputs: What the network sees of a voxel, ``"color"``, ``"normal"`` or both.
        channels: Widths of the levels of the :class:`~latentgraph.models.VoxelUNet`.
        kernel_size: Edge of the convolution kernels in voxels, odd.
        context: Block for long-range context, or null for none.
        context_levels: Levels that get a block; -1 is the bottleneck.
    """

    labels: str = "scannet20"
    voxel_size: float = 0.05
    inputs: tuple[str, ...] = ("color", "normal")
    channels: tuple[int, ...] = (32, 64, 128, 256)
    kernel_size: int = 3
    context: Context | None = None
    context_levels: tuple[int, ...] = (-1,)

    def as_dict(self) -> dict[str, Any]:
        r"""Plain numbers, strings, tuples and dictionaries, read by :meth:`from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> NetworkConfig:
        r"""The configuration that :meth:`as_dict` wrote.

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


class Segmenter(nn.Module):
    r"""Semantic segmentation of scenes: a voxel U-Net that answers for each original vertex.

    Args:
        config: What to build.
        trained_on: The scenes it has learned from, None before training.
    """

    def __init__(self, config: NetworkConfig, trained_on: TrainedOn | None = None) -> None:
        super().__init__()
        self.config = config
        self.trained_on = trained_on
        self.labels: LabelSet = label_set(config.labels)
        self.voxelize = Voxelize(config.voxel_size, config.inputs)
        self.network = VoxelUNet(
            in_channels=self.voxelize.num_features,
            out_channels=self.labels.num_classes,
            channels=config.channels,
            kernel_size=config.kernel_size,
            context=config.context,
            context_levels=config.context_levels,
        )

    def forward(self, data: Data, context_batch: Tensor | None = None) -> Tensor:
        r"""Class scores of voxels.

        Args:
            data: One voxelized scene, or a batch of them. With ``data.levels``, the
                :class:`~latentgraph.voxel.VoxelLevels`, nothing has to be searched for.
            context_batch: (n,), which nodes share their context, in place of ``data.batch``.

        Returns:
            (n, number of classes), one row for each voxel.
        """
        grids = (data.coord, data.get("batch"), data.num_graphs if "batch" in data else None)
        scores: Tensor = self.network(
            data.x,
            *((data.levels,) if "levels" in data else grids),
            pos=data.pos,
            context_batch=context_batch,
        )
        return scores

    @torch.no_grad()
    def predict(self, scene: Data) -> Tensor:
        r"""The class of every vertex of a scene.

        Args:
            scene: A scene as :class:`~latentgraph.scannet.ScanNet` holds it; labels are not needed.

        Returns:
            (V,) int64, class indices of ``labels``.
        """
        device = next(self.parameters()).device
        was_training = self.training
        self.eval()
        try:
            voxels = self.voxelize(scene.clone()).to(device)
            scores: Tensor = self(voxels)
            return scores.argmax(dim=1)[voxels.voxel_index].cpu()
        finally:
            self.train(was_training)
