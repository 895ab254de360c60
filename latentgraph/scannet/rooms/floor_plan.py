r"""Floor plans: one room, or rooms beside each other with doorways between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from latentgraph.scannet.rooms.sheets import Floats

THICKNESS = 0.2
"""Thickness of a wall between two rooms, in metres."""
DOOR_WIDTH = 0.9

Cell = tuple[int, int]

LAYOUTS: dict[int, list[tuple[Cell, ...]]] = {
    1: [((0, 0),)],
    2: [((0, 0), (1, 0)), ((0, 0), (0, 1))],
    3: [((0, 0), (1, 0), (2, 0)), ((0, 0), (0, 1), (1, 0)), ((0, 1), (1, 0), (1, 1))],
    4: [((0, 0), (0, 1), (1, 0), (1, 1))],
}
"""By number of rooms: the (column, row) places that they may take."""


@dataclass(frozen=True)
class Pose:
    r"""Quarter turns about the z axis, then a shift: from an item to its room to the scene."""

    quarters: int
    x: float
    y: float
    z: float = 0.0

    def apply(self, pos: Floats) -> Floats:
        r"""Moves points (n, 3)."""
        cos, sin = ((1, 0), (0, 1), (-1, 0), (0, -1))[self.quarters % 4]
        x, y, z = pos.T
        moved = (cos * x - sin * y + self.x, sin * x + cos * y + self.y, z + self.z)
        return np.stack(moved, axis=-1)

    def after(self, inner: Pose) -> Pose:
        r"""`inner` first, then this one."""
        x, y, z = self.apply(np.array([[inner.x, inner.y, inner.z]]))[0].tolist()
        return Pose(self.quarters + inner.quarters, x, y, z)


@dataclass(frozen=True)
class Door:
    r"""A door in wall number `wall` of a room, its middle `at` metres from the wall's start."""

    wall: int
    at: float
    passage: bool
    leaf: bool = False


@dataclass
class Room:
    r"""A room in a frame of its own: x from 0 to `width`, y from 0 to `length`.

    Wall 0 lies at y = 0, the others follow counterclockwise; positions on a wall count
    counterclockwise too.
    """

    type: str
    width: float
    length: float
    pose: Pose
    doors: list[Door] = field(default_factory=list)

    def wall_length(self, wall: int) -> float:
        return self.length if wall % 2 else self.width

    def on_wall(self, wall: int, at: float) -> Pose:
        r"""Pose of an item that stands at the wall with its back, starting at `at`."""
        w, d = self.width, self.length
        x, y = ((at, 0.0), (w, at), (w - at, d), (0.0, d - at))[wall]
        return Pose(wall, x, y)


def floor_plan(types: Sequence[str], roomy: bool, rng: np.random.Generator) -> list[Room]:
    r"""Lays out rooms of the given types; `roomy` rooms are larger than those of an apartment."""
    layouts = LAYOUTS[len(types)]
    cells = layouts[rng.integers(len(layouts))]
    widths = rng.uniform(4.0, 4.8, 3) if roomy else rng.uniform(3.5, 4.0, 3)
    lengths = rng.uniform(5.0, 5.8, 2) if roomy else rng.uniform(4.6, 5.0, 2)
    left, below = np.cumsum([0.0, *(widths + THICKNESS)]), np.cumsum([0.0, *(lengths + THICKNESS)])

    rooms = {}
    for cell, type_ in zip(cells, types, strict=True):
        (column, row), turned = cell, bool(rng.integers(2))
        w, d = float(widths[column]), float(lengths[row])
        x, y = float(left[column]), float(below[row])
        rooms[cell] = Room(type_, w, d, Pose(2, x + w, y + d) if turned else Pose(0, x, y))

    _add_entrance(rooms, rng)
    _add_passages(rooms, rng)
    return list(rooms.values())


def _add_entrance(rooms: dict[Cell, Room], rng: np.random.Generator) -> None:
    r"""A closed door in the middle of an outer side wall."""
    sides = [
        (room, wall)
        for (column, row), room in rooms.items()
        for wall, neighbor in ((1, (column + 1, row)), (3, (column - 1, row)))
        if neighbor not in rooms
    ]
    room, wall = sides[rng.integers(len(sides))]
    _add_door(room, wall, room.length / 2 + rng.uniform(-0.1, 0.1), passage=False)


def _add_passages(rooms: dict[Cell, Room], rng: np.random.Generator) -> None:
    r"""Doorways that lead to every room, and now and then one more."""
    walls = [
        (cell, wall, neighbor)
        for cell in rooms
        for wall, neighbor in ((1, (cell[0] + 1, cell[1])), (2, (cell[0], cell[1] + 1)))
        if neighbor in rooms
    ]
    group = {cell: index for index, cell in enumerate(rooms)}
    for choice in rng.permutation(len(walls)):
        cell, wall, neighbor = walls[choice]
        more = rng.random() < 0.3
        if group[cell] == group[neighbor] and not more:
            continue
        group = {c: group[cell] if g == group[neighbor] else g for c, g in group.items()}
        length = rooms[cell].wall_length(wall)
        # Side walls are free in their middle, the others near their ends.
        at = length / 2 if wall == 1 else 0.65 if rng.random() < 0.5 else length - 0.65
        leaf_here = bool(rng.integers(2))
        _add_door(rooms[cell], wall, at, passage=True, leaf=leaf_here)
        _add_door(rooms[neighbor], wall + 2, length - at, passage=True, leaf=not leaf_here)


def _add_door(room: Room, wall: int, at: float, passage: bool, leaf: bool = False) -> None:
    r"""`wall` as the plan counts it: a room turned by half starts counting at its other end."""
    room.doors.append(Door((wall + room.pose.quarters) % 4, at, passage, leaf))
