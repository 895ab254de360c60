r"""The scene: a generated scan with all that is known about it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Scene:
    r"""A generated scan: V vertices, F triangles, O objects, R rooms.

    Args:
        pos: (V, 3) float32, metres, z up, turned by a random angle about z.
        color: (V, 3) uint8, red, green, blue.
        faces: (F, 3) int32, vertex indices, counterclockwise seen from the visible side.
        nyu40: (V,) int64, NYU40 id, 0 where unannotated.
        instance: (V,) int64, object of a vertex from 0 to O - 1, -1 where unannotated.
        segment: (V,) int64, over-segmentation id; a segment lies within one object.
        room: (V,) int64, room of a vertex from 0 to R - 1.
        categories: Raw category of each object.
        types: Type of each room.
        alignment: (4, 4) float64, takes `pos` to walls along the axes and a floor at z = 0.
    """

    pos: NDArray[np.float32]
    color: NDArray[np.uint8]
    faces: NDArray[np.int32]
    nyu40: NDArray[np.int64]
    instance: NDArray[np.int64]
    segment: NDArray[np.int64]
    room: NDArray[np.int64]
    categories: tuple[str, ...]
    types: tuple[str, ...]
    alignment: NDArray[np.float64]
