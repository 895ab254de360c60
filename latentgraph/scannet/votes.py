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

LEAST_WEIGHT = 1e-3  # at the edge of a fragment, which may be all there is


class Look(NamedTuple):
    r"""One thing that the network is shown.

    Attributes:
        vertices: (v,) int64, the vertices of the scene that it is about.
        voxels: their voxels, as :class:`~latentgraph.scannet.Voxelize` has them.
        weight: (v,) float32, what the vote on each vertex counts.
        context: looks of the same number share the context of blocks where they are shown together:
            fragments beside each other, in one pose.
    """

    vertices: Tensor
    voxels: Data
    weight: Tensor
    context: int


@dataclass(frozen=True)
class Votes:
    r"""The looks at a scene whose class probabilities add up at each vertex.

    Each rotation is combined with each scale and each mirror image, and the scene in each of these
    poses is shown in every fragment. The defaults are one look at the whole scene.

    Args:
        rotations: Angles about the vertical axis, degrees.
        scales: Factors.
        flip: Whether to look at the mirror image along x as well.
        fragment: Edge of square columns to show, meters, each overlapping the next by half; null
            for the whole scene. It bounds memory. Votes weigh less towards its edge, linearly along
            each axis, since there the network sees half of what is around.
        max_voxels: Fragments are shown together up to this number of voxels. Those beside each
            other then share the context of blocks, which see as much of the scene as that.
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
        for number, pose in enumerate(self._poses(scene)):
            for column, weight, tiling in self._columns(scene.pos):
                draws = [torch.arange(len(column), device=column.device)]
                if config.single:
                    draws = list(_turns(voxelize(subset(pose, column)).voxel_index))
                for draw in draws:
                    voxels = voxelize(subset(pose, column[draw]))
                    yield Look(column[draw], voxels, weight[draw], 4 * number + tiling)

    def _poses(self, scene: Data) -> Iterator[Data]:
        for flipped in (False, True) if self.flip else (False,):
            for scale in self.scales:
                for angle in self.rotations:
                    pose = scene.clone()
                    pose = mirrored(pose, x=True) if flipped else pose
                    pose = turned(pose, angle, axis=2) if angle else pose
                    pose.pos = pose.pos * scale
                    yield pose

    def _columns(self, pos: Tensor) -> Iterator[tuple[Tensor, Tensor, int]]:
        r"""The vertices of each fragment, their weights, and which of four tilings it is of.

        A vertex is in one fragment of a tiling, beside its rim, and in one at least of all.
        """
        everything = torch.arange(pos.size(0), device=pos.device)
        if self.fragment is None or not pos.size(0):
            yield everything, torch.ones(pos.size(0), device=pos.device), 0
            return
        # In halves of the edge: a fragment is two by two of them.
        place = 2 * (pos[:, :2] - pos[:, :2].amin(dim=0)) / self.fragment
        ends = [max(1, int(n)) for n in place.amax(dim=0).tolist()]
        for tiling, starts in enumerate(product((0, 1), repeat=2)):
            for x, y in product(*(range(*span, 2) for span in zip(starts, ends, strict=True))):
                from_middle = (place - place.new_tensor([x + 1, y + 1])).abs()
                inside = (from_middle <= 1).all(dim=1)
                if bool(inside.any()):
                    weight = (1 - from_middle[inside]).clamp(min=LEAST_WEIGHT).prod(dim=1)
                    yield everything[inside], weight.float(), tiling


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
