r"""A voxel U-Net on a grid that is too large for one call: in columns, with the context of all.

Convolutions need their surroundings alone, so that a column gives its part of the grid as the whole
grid would, but for what is beyond its reach. Blocks need all voxels of a level, once each: what the
parts send is gathered, the block runs on it, and every column goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor

from latentgraph.functional.checks import check_count
from latentgraph.models.voxel_unet import VoxelUNet
from latentgraph.voxel import VoxelLevels
from latentgraph.voxel.grid import BATCH_BITS, COORDINATE_BITS

OWN_PART = 0.75  # of the edge of a column, at most
MOST_COLUMNS = 1 << BATCH_BITS  # that run together


class Cut(NamedTuple):
    r"""A grid in parts that are of one size, seen from above.

    Attributes:
        start: (g, 2) int64, the first place of each part that has voxels.
        size: (2,) int64, places along the edges of a part.
        reach: (2,) int64, how far a column goes beyond its part.
    """

    start: Tensor
    size: Tensor
    reach: Tensor


def cuts(coord: Tensor, width: float, num_levels: int) -> list[Cut]:
    r"""The grid in parts for columns of some width, and once more about half a part aside.

    No voxel of the coarsest level is in two parts. Where parts are a single one wide, there is one
    cut alone.

    Args:
        coord: (n, 3) integer grid coordinates from 0, at least one.
        width: Edge of the columns to show, in voxels. Parts are of at most three quarters of it,
            and leave a voxel of the coarsest level for the reach, but are not below one themselves.
        num_levels: Levels of the network.

    Returns:
        One or two, for :func:`in_columns`.

    Raises:
        ValueError: There is no voxel, or ``width`` is no number of 0 or more.
    """
    if not len(coord) or not width >= 0:
        raise ValueError(f"expected voxels and a width of 0 or more, got {len(coord)} and {width}")
    coord = coord.long()
    width = min(width, 2 << COORDINATE_BITS)
    across = coord[:, :2].amax(dim=0) + 1
    coarsest = 1 << (num_levels - 1)
    most = max(1, int(min(OWN_PART * width, width - 2 * coarsest) / coarsest)) * coarsest
    count = torch.where(across > width, -(-across // most), 1)
    size = -(-across // (count * coarsest)) * coarsest
    reach = ((width - size) / 2).floor().long().clamp(min=0)
    aside = torch.where(count > 1, size // 2 // coarsest * coarsest, 0)
    found = []
    for shift in [0 * aside, aside] if aside.any() else [aside]:
        number = ((coord[:, :2] + shift) // size).unique(dim=0)
        found.append(Cut(number * size - shift, size, reach))
    return found


@torch.no_grad()
def in_columns(
    network: VoxelUNet,
    x: Tensor,
    coord: Tensor,
    pos: Tensor,
    cut: Cut,
    max_voxels: int = 100_000,
) -> Tensor:
    r"""What the network gives for one grid, computed column by column.

    The network runs over all columns once for each level that has a block, up to there, and once
    more to the end. Memory is that of ``max_voxels``, or of one column, and of what blocks are
    given. There are no gradients.

    Args:
        network: In evaluation mode.
        x: (n, in_channels) features.
        coord: (n, 3) integer grid coordinates from 0, none twice.
        pos: (n, D) positions, for blocks that see them.
        cut: Of :func:`cuts`.
        max_voxels: Columns run together up to this number of voxels.

    Returns:
        (n, out_channels).

    Raises:
        ValueError: The network is in training mode, ``max_voxels`` is below 1, ``x`` or ``pos`` is
            of other voxels, or ``cut`` of another grid.
    """
    check_count(max_voxels=max_voxels)
    if network.training:
        raise ValueError("expected a network in evaluation mode, got one in training mode")
    if not len(x) == len(coord) == len(pos):
        raise ValueError(
            f"expected x, coord and pos of as many voxels, got {len(x)}, {len(coord)}, {len(pos)}"
        )
    coord = coord.long()
    packs = list(_packs(coord, cut, max_voxels))
    if len(cut.start) == 1:
        return cast(Tensor, network(x, coord, pos=pos))
    out: Tensor | None = None
    known: dict[int, _Known] = {}
    for level in (*sorted(map(int, network.context), reverse=True), None):
        sent: list[_Sent] = []
        for index, batch, start in packs:
            pack = _Pack(network.levels(coord[index], batch, len(start)), start, cut.size)
            try:
                scores = network(x[index], pack.levels, context_at=partial(pack.pass_on, known))
            except _Reached as reached:
                sent.append(pack.sent(reached.level, reached.x, pos[index]))
            else:
                own = pack.is_own(0)
                out = scores.new_empty(len(x), scores.size(1)) if out is None else out
                out[index[own]] = scores[own]
        if level is not None:
            known[level] = _together(network, level, sent)
    assert out is not None
    return out


class _Sent(NamedTuple):
    r"""What a part sends to a block: keys of its voxels, their features and positions."""

    key: Tensor
    x: Tensor
    pos: Tensor


class _Known(NamedTuple):
    r"""What a block gave: sorted keys of all voxels of a level, and their features."""

    key: Tensor
    x: Tensor


class _Reached(Exception):  # noqa: N818
    r"""A column has come to a block that has not run yet."""

    def __init__(self, level: int, x: Tensor) -> None:
        super().__init__(level)
        self.level, self.x = level, x


class _Pack:
    r"""Some columns that the network runs on together, each a grid of its own."""

    def __init__(self, levels: VoxelLevels, start: Tensor, size: Tensor) -> None:
        self.levels, self.start, self.size = levels, start, size

    def is_own(self, level: int) -> Tensor:
        r"""(m,) bool, the voxels of a level that lie in the parts of their columns."""
        found = self.levels.levels[level]
        place, start = found.coord[:, :2] << level, self.start[found.batch]
        return ((place >= start) & (place < start + self.size)).all(dim=1)

    def pass_on(self, known: dict[int, _Known], level: int, x: Tensor) -> Tensor:
        r"""What the block of a level gave these voxels, once it has run on those of all columns."""
        if level not in known:
            raise _Reached(level, x)
        key = _key(self.levels.levels[level].coord)
        return known[level].x[torch.searchsorted(known[level].key, key)]

    def sent(self, level: int, x: Tensor, pos: Tensor) -> _Sent:
        own = self.is_own(level)
        key = _key(self.levels.levels[level].coord)
        return _Sent(key[own], x[own], self.levels.pool(pos, level)[own])


def _together(network: VoxelUNet, level: int, sent: list[_Sent]) -> _Known:
    key, x, pos = (torch.cat(parts) for parts in zip(*sent, strict=True))
    order = key.argsort()
    return _Known(key[order], network.context_of(level, x[order], pos[order]))


def _packs(coord: Tensor, cut: Cut, max_voxels: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    r"""The voxels of some columns, the column of each, and where their parts start."""
    shown: list[Tensor] = []
    first = size = own = 0
    for number, start in enumerate(cut.start):
        low, high = start - cut.reach, start + cut.size + cut.reach
        inside = ((coord[:, :2] >= low) & (coord[:, :2] < high)).all(dim=1).nonzero().squeeze(1)
        place = coord[inside, :2] - start
        own += int(((place >= 0) & (place < cut.size)).all(dim=1).sum())
        if shown and (size + len(inside) > max_voxels or len(shown) == MOST_COLUMNS):
            yield *_joined(shown), cut.start[first:number]
            shown, first, size = [], number, 0
        shown.append(inside)
        size += len(inside)
    if own != len(coord):
        raise ValueError(f"expected a cut of these {len(coord)} voxels, got one of {own} of them")
    yield *_joined(shown), cut.start[first:]


def _joined(shown: list[Tensor]) -> tuple[Tensor, Tensor]:
    index = torch.cat(shown)
    sizes = torch.tensor([len(column) for column in shown], device=index.device)
    return index, torch.arange(len(shown), device=index.device).repeat_interleave(sizes)


def _key(coord: Tensor) -> Tensor:
    x, y, z = coord.unbind(dim=1)
    return x << 2 * COORDINATE_BITS | y << COORDINATE_BITS | z
