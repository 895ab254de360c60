r"""Meshes: the sheets of a furnished floor plan sampled into vertices and triangles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from latentgraph.scannet.rooms.floor_plan import Pose, Room
from latentgraph.scannet.rooms.furnishing import Placed, place
from latentgraph.scannet.rooms.furniture import Item
from latentgraph.scannet.rooms.sheets import Floats, Sheet, rectangle

Ints = NDArray[np.int64]

WALL_HEIGHT = 2.4
PATCH = 0.4
"""Side of an over-segmentation patch, in metres."""


@dataclass(frozen=True)
class Mesh:
    r"""V vertices, F triangles.

    Args:
        pos, color: (V, 3), metres and 0 to 255.
        faces: (F, 3), counterclockwise seen from the visible side.
        seen: (V,) bool, whether a scanner sees the vertex.
        instance, segment, room: (V,), object, over-segmentation patch and room of each vertex.
        categories: Raw category of each object.
    """

    pos: Floats
    color: Floats
    faces: Ints
    seen: NDArray[np.bool_]
    instance: Ints
    segment: Ints
    room: Ints
    categories: tuple[str, ...]


def build_mesh(
    rooms: Sequence[Room],
    furniture: Sequence[Sequence[Placed]],
    paint: Floats,
    ground: Floats,
    edge: float,
) -> Mesh:
    r"""Samples walls, floors and furniture at a distance of `edge` metres."""
    pos, color, faces, seen, segment = [], [], [], [], []
    objects, homes = [], []
    categories: list[str] = []
    vertices = segments = 0
    for home, (room, placed) in enumerate(zip(rooms, furniture, strict=True)):
        hiding = [one for one in placed if one.item.solid]
        everything = [(one, hiding) for one in _shell(room, paint, ground)]
        everything += [(one, []) for one in placed]
        for one, before in everything:
            for sheet in one.item.sheets:
                grid, (a, b) = _sample(sheet, edge)
                grid = one.pose.apply(grid)
                patches = _patches(a, b, edge)
                pos.append(room.pose.apply(grid))
                color.append(np.broadcast_to(sheet.color, grid.shape))
                faces.append(_triangles(a, b) + vertices)
                seen.append(~_inside(grid, before))
                segment.append(patches + segments)
                objects.append(np.full(a * b, len(categories)))
                homes.append(np.full(a * b, home))
                vertices, segments = vertices + a * b, segments + int(patches[-1]) + 1
            categories.append(one.item.category)
    return Mesh(
        pos=np.concatenate(pos),
        color=np.concatenate(color),
        faces=np.concatenate(faces),
        seen=np.concatenate(seen),
        instance=np.concatenate(objects),
        segment=np.concatenate(segment),
        room=np.concatenate(homes),
        categories=tuple(categories),
    )


def _shell(room: Room, paint: Floats, ground: Floats) -> list[Placed]:
    r"""The floor and the four walls, seen from inside."""
    w, d = room.width, room.length
    floor = rectangle((0, 0, 0), (w, 0, 0), (0, d, 0), ground)
    shell = [place(Item("floor", [floor], (0, 0, 0), (w, d, 0)), Pose(0, 0.0, 0.0))]
    for number in range(4):
        length = room.wall_length(number)
        wall = rectangle((length, 0, 0), (-length, 0, 0), (0, 0, WALL_HEIGHT), paint)
        item = Item("wall", [wall], (0, 0, 0), (length, 0, WALL_HEIGHT))
        shell.append(place(item, room.on_wall(number, 0.0)))
    return shell


def _sample(sheet: Sheet, edge: float) -> tuple[Floats, tuple[int, int]]:
    r"""A grid of vertices, (a * b, 3), `b` of them in a row."""
    a, b = (max(2, round(length / edge) + 1) for length in (sheet.width, sheet.height))
    s, t = np.linspace(0.0, sheet.width, a), np.linspace(0.0, sheet.height, b)
    return sheet.at(np.repeat(s, b), np.tile(t, a)), (a, b)


@lru_cache(maxsize=1024)
def _triangles(a: int, b: int) -> Ints:
    index = np.arange(a * b).reshape(a, b)
    here, right, above, across = index[:-1, :-1], index[1:, :-1], index[:-1, 1:], index[1:, 1:]
    both = np.stack([here, right, across, here, across, above], axis=-1)
    return both.reshape(-1, 3)


@lru_cache(maxsize=1024)
def _patches(a: int, b: int, edge: float) -> Ints:
    r"""Number of the over-segmentation patch of each vertex of a grid; the last has the highest."""
    side = max(1, round(PATCH / edge))
    rows, columns = np.arange(a) // side, np.arange(b) // side
    patches: Ints = rows[:, None] * (columns[-1] + 1) + columns
    return patches.ravel()


def _inside(pos: Floats, blocks: Sequence[Placed], margin: float = 0.03) -> NDArray[np.bool_]:
    r"""Whether points lie in one of the blocks, or very close to it."""
    inside = np.zeros(len(pos), bool)
    for block in blocks:
        inside |= ((block.low - margin < pos) & (pos < block.high + margin)).all(axis=1)
    return inside
