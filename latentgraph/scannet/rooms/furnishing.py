r"""Furnishing: items set into a room so that nothing stands in anything else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from latentgraph.scannet.rooms.floor_plan import DOOR_WIDTH, THICKNESS, Pose, Room
from latentgraph.scannet.rooms.furniture import (
    Item,
    closed_door,
    clutter,
    doorway,
    hanging,
    panel,
    slab,
    tall_box,
)
from latentgraph.scannet.rooms.room_types import ROOM_TYPES, Maker
from latentgraph.scannet.rooms.sheets import Floats

ANCHOR_DEPTH = 1.5
"""Furniture that gives the type of a room away stands within this distance of wall 0."""
SHARED_FROM = 0.6
"""Shapes that several types share stand beyond this part of the length: a network that looks
little more than a metre around a point sees one or the other."""
ANCHOR_WALLS = (0, 1, 3)
SHARED_WALLS = (1, 2, 3)
TRIES = 40
CLEARANCE = 0.06
GAP = np.array([CLEARANCE, CLEARANCE, 0.0])
"""Kept between items that stand beside each other; one may stand right above another."""
ALONG = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""Direction in which positions on each wall count."""
DOOR_CLEARANCE = 0.85


@dataclass(frozen=True)
class Placed:
    r"""An item, where it stands in its room, and the corners of what it fills there."""

    item: Item
    pose: Pose
    low: Floats
    high: Floats


def place(item: Item, pose: Pose) -> Placed:
    corners = pose.apply(np.array([item.low, item.high]))
    return Placed(item, pose, corners.min(axis=0), corners.max(axis=0))


def furnish(room: Room, rng: np.random.Generator) -> list[Placed]:
    r"""Everything in a room but its walls and its floor.

    Raises:
        RuntimeError: If the furniture does not fit, which the sizes of a floor plan rule out.
    """
    kind = ROOM_TYPES[room.type]
    placed, taken = _doors(room, rng)
    anchors = _place_all(
        kind.anchors, kind.more, room, ANCHOR_WALLS, (0.0, ANCHOR_DEPTH), taken, rng
    )
    shared: list[Maker] = [
        partial(slab, kind.slab),
        partial(tall_box, kind.tall_box),
        partial(hanging, kind.hanging),
        partial(panel, kind.panel),
    ]
    zone = (SHARED_FROM * room.length, room.length)
    shapes = _place_all(shared, shared, room, SHARED_WALLS, zone, [*taken, *anchors], rng)
    slabs = [one for one in shapes if one.item.category == kind.slab]
    return [*placed, *anchors, *shapes, *_clutter(slabs, rng)]


def _place_all(
    makers: Sequence[Maker],
    more: Sequence[Maker],
    room: Room,
    walls: Sequence[int],
    zone: tuple[float, float],
    taken: Sequence[Placed],
    rng: np.random.Generator,
) -> list[Placed]:
    r"""One item of each maker, and one of each further maker if there is a place for it.

    Begins anew where the first items leave no place for the others.
    """
    for _ in range(1000):
        placed: list[Placed] = []
        for make in (*makers, *more):
            found = _find_place(make(rng), room, walls, zone, [*taken, *placed], rng)
            if found is not None:
                placed.append(found)
            elif len(placed) < len(makers):
                break
        else:
            return placed
    raise RuntimeError(f"{room.type} of {room.width:.2f} m x {room.length:.2f} m is too small")


def _doors(room: Room, rng: np.random.Generator) -> tuple[list[Placed], list[Placed]]:
    r"""The doors of a room, and the space before them that must stay free."""
    placed, free = [], []
    for door in room.doors:
        pose = room.on_wall(door.wall, door.at - DOOR_WIDTH / 2)
        item = (
            doorway(DOOR_WIDTH, THICKNESS, door.leaf, rng)
            if door.passage
            else closed_door(DOOR_WIDTH, rng)
        )
        placed.append(place(item, pose))
        before = Item("door", [], (0.0, 0.0, 0.0), (DOOR_WIDTH, DOOR_CLEARANCE, item.high[2]))
        free.append(place(before, pose))
    return placed, free


def _find_place(
    item: Item,
    room: Room,
    walls: Sequence[int],
    zone: tuple[float, float],
    taken: Sequence[Placed],
    rng: np.random.Generator,
) -> Placed | None:
    r"""A random free place at one of the walls, with y in `zone`; None after 40 misses."""
    on_walls = [place(item, room.on_wall(wall, 0.0)) for wall in walls]
    choice = rng.integers(len(walls), size=TRIES)
    spare = np.array([room.wall_length(wall) - item.high[0] - 2 * CLEARANCE for wall in walls])
    at = CLEARANCE + rng.random(TRIES) * spare[choice]
    shift = at[:, None] * np.array([ALONG[wall] for wall in walls])[choice]
    low = np.array([one.low for one in on_walls])[choice] + shift
    high = np.array([one.high for one in on_walls])[choice] + shift
    free = (spare[choice] > 0) & (zone[0] <= low[:, 1]) & (high[:, 1] <= zone[1])
    for other in taken:
        free &= ~((low < other.high + GAP) & (other.low - GAP < high)).all(axis=1)
    hits = np.flatnonzero(free)
    if len(hits) == 0:
        return None
    first = hits[0]
    return place(item, room.on_wall(walls[choice[first]], float(at[first])))


def _clutter(slabs: Sequence[Placed], rng: np.random.Generator) -> list[Placed]:
    placed = []
    for below in slabs:
        width, depth, height = below.item.high
        for start in (0.05, width / 2):
            if rng.random() < 0.5:
                item = clutter(rng)
                x = start + rng.random() * (width / 2 - 0.05 - item.high[0])
                y = 0.05 + rng.random() * (depth - 0.1 - item.high[1])
                placed.append(place(item, below.pose.after(Pose(0, x, y, height))))
    return placed
