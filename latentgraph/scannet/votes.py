r"""How a network looks at a scene: turned, mirrored, scaled, in fragments that overlap."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Data

from latentgraph.scannet.network_config import NetworkConfig
from latentgraph.scannet.transforms.motions import mirrored, turned
from latentgraph.scannet.transforms.subsets import subset
from latentgraph.scannet.transforms.voxelize import Voxelize, members
from latentgraph.voxel.grid import BATCH_BITS

MAX_LOOKS = 1 << BATCH_BITS
MANY_TURNS = 256
NARROW = 4.0  # meters; fragments below it may lower scores, as `make votes` measures


class Look(NamedTuple):
    r"""One thing that the network is shown: a scene in some pose.

    Attributes:
        vertices: (v,) int64, the vertices that it is about.
        voxels: their voxels, as :class:`~latentgraph.scannet.Voxelize` has them.
    """

    vertices: Tensor
    voxels: Data


@dataclass(frozen=True)
class Votes:
    r"""The looks at a scene whose class probabilities add up at each vertex.

    Each rotation is combined with each scale and each mirror image. The defaults are one look at
    the whole scene.

    Args:
        rotations: Angles about the vertical axis, degrees.
        scales: Factors.
        flip: Whether to look at the mirror image along x as well.
        fragment: Edge of the columns that convolutions see at a time, meters; null for the whole
            scene. It is cut into parts of at most three quarters of that, and once more half a
            part aside; a column reaches beyond the part that it votes on. Blocks see the whole
            scene all the same: see :func:`~latentgraph.models.in_columns`.
        max_voxels: Looks, or fragments, are shown together up to this number of voxels, which
            bounds memory, but for one that has more alone.
    """

    rotations: tuple[float, ...] = (0.0,)
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    fragment: float | None = None
    max_voxels: int = 100_000

    def __post_init__(self) -> None:
        if not self.rotations or not self.scales:
            raise ValueError("expected at least one rotation and one scale")
        if not all(math.isfinite(angle) for angle in self.rotations):
            raise ValueError(f"expected rotations in degrees, got {self.rotations}")
        if not all(0.0 < scale < math.inf for scale in self.scales):
            raise ValueError(f"expected scales above 0, got {self.scales}")
        if self.fragment is not None and not 0.0 < self.fragment < math.inf:
            raise ValueError(f"expected a fragment of some meters, got {self.fragment}")
        if self.max_voxels < 1:
            raise ValueError(f"max_voxels must be at least 1, got {self.max_voxels}")

    def looks(self, scene: Data, config: NetworkConfig) -> Iterator[Look]:
        r"""Everything that the network is shown, one after the other.

        Args:
            scene: Positions, colors and normals of the vertices.
            config: Of the network.

        Returns:
            An iterator, which makes each when it is asked for.
        """
        voxelize = Voxelize(config.voxel_size, config.inputs, config.color_range)
        for pose in self._poses(scene):
            whole = voxelize(pose)
            if config.single:
                for draw in _turns(whole.voxel_index):
                    yield Look(draw, voxelize(subset(pose, draw)))
            else:
                yield Look(torch.arange(scene.pos.size(0), device=scene.pos.device), whole)

    def _poses(self, scene: Data) -> Iterator[Data]:
        for flipped in (False, True) if self.flip else (False,):
            for scale in self.scales:
                for angle in self.rotations:
                    pose = scene.clone()
                    pose = mirrored(pose, x=True) if flipped else pose
                    pose = turned(pose, angle, axis=2) if angle else pose
                    pose.pos = pose.pos * scale
                    yield pose


ONE_VOTE = Votes()


def batched(looks: Iterable[Look], max_voxels: int) -> Iterator[list[Look]]:
    r"""Looks in groups of at most ``max_voxels`` voxels, but for one that has more alone.

    No group has more looks than a voxel grid holds scenes.
    """
    group: list[Look] = []
    size = 0
    for look in looks:
        voxels = look.voxels.coord.size(0)
        if group and (size + voxels > max_voxels or len(group) == MAX_LOOKS):
            yield group
            group, size = [], 0
        group.append(look)
        size += voxels
    if group:
        yield group


def _turns(voxel_index: Tensor) -> Iterator[Tensor]:
    r"""One vertex of each voxel, again and again, until each vertex was in one."""
    if not len(voxel_index):
        yield voxel_index
        return
    order, count, start = members(voxel_index, int(voxel_index.max()) + 1)
    if count.max() > MANY_TURNS:
        warnings.warn(
            f"a voxel with {int(count.max()):,} vertices, {float(count.float().mean()):.1f} on "
            "average, takes as many looks; points in one place are better merged",
            stacklevel=2,
        )
    for turn in range(int(count.max())):
        yield order[start + turn % count]
