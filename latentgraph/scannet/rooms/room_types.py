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
    loveseat,
    office_chair,
    sink,
    stove,
    toilet,
)

Maker = Callable[[np.random.Generator], Item]


@dataclass(frozen=True)
class RoomType:
    r"""A type of room.

    Args:
        slab, tall_box, hanging, panel: The category that the shape of that name has in it.
        anchors: Makers of the furniture that is found in this type of room alone.
        more: Makers of further furniture of that sort, which stands where it still fits.
    """

    slab: str
    tall_box: str
    hanging: str
    panel: str
    anchors: tuple[Maker, ...]
    more: tuple[Maker, ...] = ()


ROOM_TYPES = {
    "bathroom": RoomType("counter", "cabinet", "shower curtain", "window", (bathtub, toilet, sink)),
    "kitchen": RoomType("counter", "refrigerator", "curtain", "window", (stove,), (stove,)),
    "office": RoomType(
        "desk", "bookshelf", "curtain", "picture", (office_chair,) * 3, (office_chair,) * 2
    ),
    "bedroom": RoomType("desk", "cabinet", "curtain", "window", (bed,)),
    "living room": RoomType("table", "bookshelf", "curtain", "picture", (couch,), (loveseat,)),
}
