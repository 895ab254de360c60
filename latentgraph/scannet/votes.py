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
NARROW = 3.0  # meters; fragments below it lower scores, as `make votes` measures
OWN_PART = 0.75  # of the edge of a fragment, at most


class Look(NamedTuple):
    r"""One thing that the network is shown.

    Attributes:
        vertices: (v,) int64, the vertices of the scene that it shows.
        voxels: their voxels, as :class:`~latentgraph.scannet.Voxelize` has them.
        is_own: (v,) bool, the vertices that it votes on; the others are their surroundings.
        context: number of the cut that it is of, in its pose. What is own to the looks of one cut
            makes up the scene, and shares the context of blocks where they are shown together.
    """

    vertices: Tensor
    voxels: Data
    is_own: Tensor
    context: int

    @property
    def surroundings(self) -> Tensor:
        r"""(n,) bool, the voxels without a vertex that it votes on."""
        index = self.voxels.voxel_index
        alone = torch.ones(self.voxels.coord.size(0), dtype=torch.bool, device=index.device)
        alone[index[self.is_own]] = False
        return alone


@dataclass(frozen=True)
class Votes:
    r"""The looks at a scene whose class probabilities add up at each vertex.

    Each rotation is combined with each scale and each mirror image, and the scene in each of these
    poses is shown in every fragment. The defaults are one look at the whole scene.

    Args:
        rotations: Angles about the vertical axis, degrees.
        scales: Factors.
        flip: Whether to look at the mirror image along x as well.
        fragment: Edge of the columns to show, meters; null for the whole scene. The scene is cut
            into equal parts of at most three quarters of that, and once more half a part aside. A
            column has its part in the middle, and votes on that alone.
        max_voxels: Fragments are shown together up to this number of voxels, which bounds memory.
            Those of one cut share the context of blocks, which their parts make up: that of the
            whole scene where all of them fit.
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
            for column, own, cut in self._columns(scene.pos):
                draws = [torch.arange(len(column), device=column.device)]
                if config.single:
                    draws = list(_turns(voxelize(subset(pose, column)).voxel_index, own))
                for draw in draws:
                    voxels = voxelize(subset(pose, column[draw]))
                    yield Look(column[draw], voxels, own[draw], 2 * number + cut)

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
        r"""The vertices of each fragment, which of them are its own, and which cut it is of."""
        if self.fragment is None or not pos.size(0):
            everything = torch.arange(pos.size(0), device=pos.device)
            yield everything, everything >= 0, 0
            return
        place = (pos[:, :2] - pos[:, :2].amin(dim=0)).double()
        size = place.amax(dim=0)
        if not size.isfinite().all():
            raise ValueError(f"expected finite positions, got a scene of {size.tolist()} meters")
        count = torch.where(size > self.fragment, (size / (OWN_PART * self.fragment)).ceil(), 1)
        part = (size / count).clamp(min=1e-9)
        aside = torch.where(count > 1, 0.5, 0.0).double()
        for cut, shift in enumerate([0 * aside, aside] if aside.any() else [aside]):
            where = (place / part + shift).floor().minimum(count - 1 + shift.ceil())
            number = where @ torch.stack([count[1] + 1, torch.ones_like(count[1])])
            for n in number.unique():
                own = number == n
                middle = (where[own][0] - shift + 0.5) * part
                near = ((place - middle).abs() <= self.fragment / 2).all(dim=1)
                column = (near | own).nonzero().squeeze(1)
                yield column, own[column], cut


ONE_VOTE = Votes()


def batched(looks: Iterable[Look], max_voxels: int) -> Iterator[list[Look]]:
    r"""Looks in groups of at most ``max_voxels`` voxels, but for one that has more alone.

    Those that share their context are in one group where they fit into one. No group has more looks
    than a voxel grid holds scenes.
    """
    group: list[Look] = []
    size = 0

    def is_full() -> bool:
        return bool(group) and (size + voxels > max_voxels or len(group) == MAX_LOOKS)

    for look in looks:
        voxels = _size(look)
        if is_full():
            begun = [other for other in group if other.context == look.context]
            if len(begun) < len(group):
                yield group[: len(group) - len(begun)]
                group, size = begun, sum(map(_size, begun))
        if is_full():
            yield group
            group, size = [], 0
        group.append(look)
        size += voxels
    if group:
        yield group


def _size(look: Look) -> int:
    return int(look.voxels.coord.size(0))


def _turns(voxel_index: Tensor, is_own: Tensor) -> Iterator[Tensor]:
    r"""One vertex of each voxel, again and again, until each of its own was in one."""
    if not len(voxel_index):
        yield voxel_index
        return
    order, count, start = members(voxel_index, int(voxel_index.max()) + 1)
    turns = int(count[voxel_index[is_own]].max())
    if turns > MANY_TURNS:
        warnings.warn(
            f"a voxel with {turns:,} vertices, {float(count.float().mean()):.1f} on average, takes "
            "as many looks; points in one place are better merged",
            stacklevel=2,
        )
    for turn in range(turns):
        yield order[start + turn % count]
