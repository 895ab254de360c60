r"""Room types: what a shared shape is in them, and the furniture that gives the type away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from latentgraph.scannet.rooms.furniture import (
    Item,
    bathtub,
    bed,
    couch,
    office_chair,
    sink,
    stove,
    toilet,
)


@dataclass(frozen=True)
class RoomType:
    r"""A type of room.

    Args:
        slab, tall_box, hanging, panel: The category that the shape of that name has in it.
        anchors: Makers of the furniture that is found in few types of room.
    """

    slab: str
    tall_box: str
    hanging: str
    panel: str
    anchors: tuple[Callable[[np.random.Generator], Item], ...]


ROOM_TYPES = {
    "bathroom": RoomType("counter", "cabinet", "shower curtain", "window", (bathtub, toilet, sink)),
    "kitchen": RoomType("counter", "refrigerator", "curtain", "window", (stove, sink)),
    "office": RoomType("desk", "bookshelf", "curtain", "picture", (office_chair,) * 3),
    "bedroom": RoomType("desk", "cabinet", "curtain", "window", (bed,)),
    "living room": RoomType("table", "bookshelf", "curtain", "picture", (couch,)),
}
