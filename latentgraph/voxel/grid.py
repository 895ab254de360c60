r"""Voxel grids: a sortable key for every voxel, its neighbors, and the next coarser grid."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from latentgraph.functional.checks import check_given, check_odd, check_tensors
from latentgraph.voxel.graph import Edges, VoxelGraph
from latentgraph.voxel.search import first_at_least, in_order, where_true

COORDINATE_BITS = 16
# One bit more than a coordinate has: what lies beside the grid has a key that no voxel has.
FIELD = COORDINATE_BITS + 1
BATCH_BITS = 63 - 3 * FIELD


def voxel_keys(coord: Tensor, batch: Tensor | None = None) -> Tensor:
    r"""One int64 number for each voxel, ordered as (batch, x, y, z).

    Args:
        coord: (n, 3) integer grid coordinates, from 0 to 65,535.
        batch: (n,) int64, the grid of each voxel, from 0 to 4,095; None for one grid.

    Returns:
        (n,) int64, the same only for voxels at the same place of the same grid.

    Raises:
        TypeError: ``coord`` does not hold integers, or ``batch`` is not int64.
        ValueError: a shape does not fit, or a number is out of range.
    """
    check_tensors(coord=coord)
    check_given(batch=batch)
    if coord.is_floating_point() or coord.is_complex() or coord.dtype == torch.bool:
        raise TypeError(f"expected coord of integers, got {coord.dtype}")
    if coord.dim() != 2 or coord.size(1) != 3:
        raise ValueError(f"expected coord of shape (n, 3), got {tuple(coord.shape)}")
    if batch is not None and batch.dtype != torch.int64:
        raise TypeError(f"expected batch of torch.int64, got {batch.dtype}")
    if batch is not None and batch.shape != coord.shape[:1]:
        raise ValueError(
            f"expected batch of shape ({coord.size(0)},), as coord has, got {tuple(batch.shape)}"
        )
    for name, bits, values in (("coord", COORDINATE_BITS, coord), ("batch", BATCH_BITS, batch)):
        if values is not None and values.numel():
            low, high = torch.stack(values.aminmax()).tolist()
            if low < 0 or high >= 1 << bits:
                raise ValueError(
                    f"expected {name} from 0 to {(1 << bits) - 1}, got {low} to {high}"
                )
    return _pack(coord, batch)


def neighbor_graph(
    coord: Tensor,
    batch: Tensor | None = None,
    kernel_size: int = 3,
    block_size: int | None = None,
) -> VoxelGraph:
    r"""The graph of a submanifold convolution: each voxel receives from those inside its kernel.

    With offsets :math:`o_k \in \{-r, \dots, r\}^3` in lexicographic order, relation k leads from
    the voxel at :math:`p + o_k`, if there is one, to the voxel at p.

    Sorted keys are searched once for each row of the kernel along z, since the voxels of a row
    follow each other. Opposite offsets are mirror images; the middle one joins a voxel to itself.

    Args:
        coord: (n, 3) integer grid coordinates from 0 to 65,535, in any order, none twice.
        batch: (n,) int64, the grid of each voxel; voxels of different grids are no neighbors.
        kernel_size: edge of the kernel, odd.
        block_size: see :class:`~latentgraph.voxel.graph.Edges`.

    Returns:
        The graph, which is its own reverse.

    Raises:
        TypeError: ``coord`` does not hold integers, or ``batch`` is not int64.
        ValueError: a voxel occurs twice, a number is out of range, or a shape or the kernel size
            does not fit.
    """
    return neighbor_graphs(coord, batch, (kernel_size,), block_size)[0]


def neighbor_graphs(
    coord: Tensor,
    batch: Tensor | None,
    kernel_sizes: Sequence[int],
    block_size: int | None = None,
) -> list[VoxelGraph]:
    r"""A :func:`neighbor_graph` for each kernel, found by one search for the largest of them."""
    for kernel_size in kernel_sizes:
        check_odd(kernel_size=kernel_size)
    keys, order = _sorted_keys(coord, batch)
    found = _before_the_middle(keys, max(kernel_sizes) // 2)
    every = torch.arange(keys.size(0), device=keys.device)
    graphs = []
    for kernel_size in kernel_sizes:
        offsets = product(_reach(kernel_size // 2), repeat=3)
        lower = [found[offset] for offset in offsets if offset < (0, 0, 0)]
        relations = [*lower, (every, every), *((b, a) for a, b in reversed(lower))]
        if order is not None:
            relations = [_by_target(order[a], order[b], len(keys)) for a, b in relations]
        edges = Edges.build(relations, len(keys), len(keys), block_size)
        graphs.append(VoxelGraph(edges, None, kernel_size**3))
    return graphs


def _before_the_middle(keys: Tensor, radius: int) -> dict[tuple[int, ...], tuple[Tensor, Tensor]]:
    r"""Source and target of the edges of each offset before (0, 0, 0)."""
    ended = torch.cat([keys, keys.new_full((1,), torch.iinfo(torch.int64).max)])
    found: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}
    for x, y in product(_reach(radius), repeat=2):
        if (x, y) > (0, 0):
            break
        wanted = keys + ((x << 2 * FIELD) + (y << FIELD) - radius)
        place = first_at_least(keys, wanted)
        for z in _reach(radius) if (x, y) < (0, 0) else range(-radius, 0):
            is_there = ended.index_select(0, place) == wanted
            target = where_true(is_there)
            found[x, y, z] = place.index_select(0, target), target
            place, wanted = place + is_there, wanted + 1
    return found


def _reach(radius: int) -> range:
    return range(-radius, radius + 1)


class Coarse(NamedTuple):
    r"""A grid of half the resolution.

    Attributes:
        coord: (m, 3) int64 coordinates of its voxels, ordered as (batch, x, y, z).
        batch: (m,) int64, the grid of each, or None.
        parent: (n,) int64, the coarse voxel that each fine one lies in.
        down: graph from the fine voxels to the coarse ones.
        up: graph from the coarse voxels to the fine ones.
    """

    coord: Tensor
    batch: Tensor | None
    parent: Tensor
    down: VoxelGraph
    up: VoxelGraph


def coarsen(coord: Tensor, batch: Tensor | None = None, block_size: int | None = None) -> Coarse:
    r"""Halve the coordinates, for convolutions of 2 x 2 x 2 voxels with stride 2.

    Relation :math:`4 x + 2 y + z`, with x, y and z modulo 2, joins a voxel and its parent.

    Args:
        coord: (n, 3) integer grid coordinates from 0 to 65,535, in any order, none twice.
        batch: (n,) int64, the grid of each voxel.
        block_size: see :class:`~latentgraph.voxel.graph.Edges`.

    Returns:
        The coarse voxels, the parent of each fine one, and the graphs there and back.

    Raises:
        TypeError: ``coord`` does not hold integers, or ``batch`` is not int64.
        ValueError: a voxel occurs twice, a number is out of range, or a shape does not fit.
    """
    _, order = _sorted_keys(coord, batch)
    keys, parent = _distinct(_pack(coord.to(torch.int64) >> 1, batch))
    x, y, z = (coord.to(torch.int64) & 1).unbind(1)
    octant = x << 2 | y << 1 | z
    n, m = coord.size(0), keys.size(0)
    children = [where_true(octant == relation) for relation in range(8)]
    up = [(parent.index_select(0, child), child) for child in children]
    down = [(child, above) for above, child in up]
    if order is not None:
        down = [_by_target(child, above, m) for child, above in down]
    to_parents = Edges.build(down, n, m, block_size)
    to_children = Edges.build(up, m, n, block_size)
    mask = (1 << FIELD) - 1
    return Coarse(
        torch.stack([keys >> 2 * FIELD & mask, keys >> FIELD & mask, keys & mask], dim=1),
        None if batch is None else keys >> 3 * FIELD,
        parent,
        VoxelGraph(to_parents, to_children, 8),
        VoxelGraph(to_children, to_parents, 8),
    )


def _pack(coord: Tensor, batch: Tensor | None) -> Tensor:
    x, y, z = coord.to(torch.int64).unbind(1)
    key = x << 2 * FIELD | y << FIELD | z
    return key if batch is None else key | batch << 3 * FIELD


def _sorted_keys(coord: Tensor, batch: Tensor | None) -> tuple[Tensor, Tensor | None]:
    r"""Keys in order and the voxel that each belongs to, None where they are in order already.

    Raises:
        ValueError: a voxel occurs twice.
    """
    keys = voxel_keys(coord, batch)
    if bool((keys[1:] > keys[:-1]).all()):
        return keys, None
    order = in_order(keys)
    keys = keys.index_select(0, order)
    twice = (keys[1:] == keys[:-1]).nonzero().squeeze(1)
    if twice.numel():
        first = int(order[twice[0]])
        raise ValueError(
            f"expected every voxel once, got {twice.numel()} again; the first of them is at "
            f"{coord[first].tolist()}" + ("" if batch is None else f" of grid {int(batch[first])}")
        )
    return keys, order


def _by_target(source: Tensor, target: Tensor, num_targets: int) -> tuple[Tensor, Tensor]:
    r"""The edges of a relation in the order of their targets, which hear from one source each."""
    heard = source.new_full((num_targets,), -1).scatter_(0, target, source)
    target = where_true(heard >= 0)
    return heard.index_select(0, target), target


def _distinct(keys: Tensor) -> tuple[Tensor, Tensor]:
    r"""What ``torch.unique`` returns with the inverse, sooner."""
    order = in_order(keys)
    ascending = keys.index_select(0, order)
    first = torch.ones_like(ascending, dtype=torch.bool)
    first[1:] = ascending[1:] != ascending[:-1]
    inverse = torch.empty_like(order).scatter_(0, order, first.cumsum(0) - 1)
    return ascending.index_select(0, where_true(first)), inverse
