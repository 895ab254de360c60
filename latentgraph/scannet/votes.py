r"""How a network looks at a scene: turned, mirrored, scaled, in fragments that overlap."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Data

from latentgraph.scannet.network_config import NetworkConfig
from latentgraph.scannet.transforms.motions import mirrored, turned
from latentgraph.scannet.transforms.subsets import subset
from latentgraph.scannet.transforms.voxelize import Voxelize, members


class Look(NamedTuple):
    r"""One thing that the network is shown.

    Attributes:
        vertices: (v,) int64, the vertices of the scene that it is about.
        voxels: their voxels, as :class:`~latentgraph.scannet.Voxelize` has them.
    """

    vertices: Tensor
    voxels: Data


@dataclass(frozen=True)
class Votes:
    r"""The looks at a scene whose class probabilities add up at each vertex.

    Each rotation is combined with each scale and each mirror image, and the scene in each of these
    poses is shown in every fragment. The defaults are one look at the whole scene.

    Args:
        rotations: Angles about the vertical axis, degrees.
        scales: Factors.
        flip: Whether to look at the mirror image along x as well.
        fragment: Edge of square columns to show one after the other, meters, each overlapping the
            next by half; null for the whole scene. It bounds memory.
        max_voxels: Fragments are shown together up to this number of voxels.
    """

    rotations: tuple[float, ...] = (0.0,)
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    fragment: float | None = None
    max_voxels: int = 400_000

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
            for column in self._columns(scene.pos):
                draws = [column]
                if config.single:
                    voxels = voxelize(subset(pose, column))
                    draws = [column[draw] for draw in _turns(voxels.voxel_index)]
                for vertices in draws:
                    yield Look(vertices, voxelize(subset(pose, vertices)))

    def _poses(self, scene: Data) -> Iterator[Data]:
        for flipped in (False, True) if self.flip else (False,):
            for scale in self.scales:
                for angle in self.rotations:
                    pose = scene.clone()
                    pose = mirrored(pose, x=True) if flipped else pose
                    pose = turned(pose, angle, axis=2) if angle else pose
                    pose.pos = pose.pos * scale
                    yield pose

    def _columns(self, pos: Tensor) -> Iterator[Tensor]:
        r"""The vertices of each fragment; every vertex is in one at least."""
        everything = torch.arange(pos.size(0), device=pos.device)
        if self.fragment is None or not pos.size(0):
            yield everything
            return
        # Cells of half the edge: a fragment is two by two of them.
        cell = (2 * (pos[:, :2] - pos[:, :2].amin(dim=0)) / self.fragment).floor()
        last = cell.amax(dim=0)
        for x, y in product(*(range(max(1, int(n))) for n in last.tolist())):
            first = cell.new_tensor([x, y])
            inside = ((cell >= first) & (cell <= first + 1)).all(dim=1)
            if bool(inside.any()):
                yield everything[inside]


ONE_VOTE = Votes()


def batched(looks: Iterable[Look], max_voxels: int) -> Iterator[list[Look]]:
    r"""Looks in groups of at most ``max_voxels`` voxels, but for one that has more alone."""
    group: list[Look] = []
    size = 0
    for look in looks:
        voxels = int(look.voxels.coord.size(0))
        if group and size + voxels > max_voxels:
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
    for turn in range(int(count.max())):
        yield order[start + turn % count]
