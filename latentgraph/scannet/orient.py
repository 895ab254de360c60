r"""The side of a surface that a scanner can have stood on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

RAYS = 32
STEPS = 40
MAX_CELLS = 1 << 27
MAX_SURFACES = 20_000


def look_inside(
    pos: NDArray[np.float32], normals: NDArray[np.float32], edge: float
) -> NDArray[np.float32]:
    r"""Turn normals to the side from which more of the scene is seen.

    Behind the wall of a room is its other side, or nothing; before it are a floor and other walls
    at some distance. So rays go out from a surface in all directions over a grid of occupied cells,
    and with :math:`t_i` the length of a ray that hits something, 0 of one that does not, the normal
    n is turned so that :math:`\sum_i t_i \, (n \cdot d_i) \ge 0`. Points of one cell whose
    normals lie along the same axis are turned alike.

    Args:
        pos: Positions, (V, 3).
        normals: Of length 1, (V, 3), on either side.
        edge: Edge of a cell, about twice the distance between neighbors, so that surfaces close;
            taken larger where there would be too many.

    Returns:
        (V, 3), :obj:`normals` or their opposites.
    """
    place = pos.astype(np.float64) - pos.min(axis=0)
    axis = np.abs(normals).argmax(axis=1)
    along = np.take_along_axis(normals, axis[:, None], axis=1)
    side = np.where(along < 0, -1, 1).astype(np.float32)
    while True:
        grid = tuple(int(size) for size in place.max(axis=0) // edge + 3)
        if math.prod(grid) <= MAX_CELLS:
            x, y, z = (place / edge).astype(np.int64).T + 1  # an empty cell around the scene
            cell = (x * grid[1] + y) * grid[2] + z
            surfaces, surface = np.unique(3 * cell + axis, return_inverse=True)
            if len(surfaces) <= MAX_SURFACES:
                break
        edge *= 1.25

    count = np.bincount(surface)
    normal = side * normals

    def mean(values: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        sums = [np.bincount(surface, values[:, i]) for i in range(3)]
        return np.stack(sums, axis=1) / count[:, None]

    start, axes = mean(place) / edge + 1, mean(normal)
    occupied = np.zeros(math.prod(grid), dtype=bool)
    occupied[cell] = True
    seen = np.zeros(len(surfaces))
    for ray in _directions(RAYS):
        seen += (axes @ ray) * _free_path(start, ray, occupied, grid)
    return np.where(seen[surface, None] < 0, -normal, normal)


def _free_path(
    start: NDArray[np.float64],
    ray: NDArray[np.float64],
    occupied: NDArray[np.bool_],
    grid: tuple[int, ...],
) -> NDArray[np.float64]:
    r"""Cells up to the first occupied one, (n,), beyond the cell that a ray starts in; else 0."""
    found = np.zeros(len(start))
    flying = np.arange(len(start))
    for step in range(STEPS):
        length = 1.5 + step
        at = np.floor(start[flying] + length * ray).astype(np.int64)
        inside = ((at >= 0) & (at < grid)).all(axis=1)
        flying, at = flying[inside], at[inside]
        hit = occupied[(at[:, 0] * grid[1] + at[:, 1]) * grid[2] + at[:, 2]]
        found[flying[hit]] = length
        flying = flying[~hit]
    return found


def _directions(count: int) -> NDArray[np.float64]:
    r"""Directions spread evenly over the sphere, (count, 3): a spiral from pole to pole."""
    i = np.arange(count) + 0.5
    up = 1 - 2 * i / count
    angle = np.pi * (1 + math.sqrt(5)) * i
    radius = np.sqrt(1 - up * up)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), up], axis=1)
