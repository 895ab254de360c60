import numpy as np
import pytest

from latentgraph.scannet.rooms.floor_plan import DOOR_WIDTH, Pose, Room, floor_plan
from latentgraph.scannet.rooms.furnishing import (
    ANCHOR_DEPTH,
    CLEARANCE,
    DOOR_CLEARANCE,
    SHARED_FROM,
    Placed,
    furnish,
)
from latentgraph.scannet.rooms.room_types import ROOM_TYPES

SHARED = ("slab", "tall_box", "hanging", "panel")


def rooms(seed: int) -> list[Room]:
    rng = np.random.default_rng(seed)
    order = [str(name) for name in rng.permutation(list(ROOM_TYPES))]
    return floor_plan(order[:4], False, rng) + floor_plan(order[4:], True, rng)


def collide(a: Placed, b: Placed, gap: float) -> bool:
    margin = np.array([gap, gap, 0.0])
    return bool(((a.low < b.high + margin) & (b.low < a.high + margin)).all())


@pytest.mark.parametrize("seed", range(7))
def test_nothing_stands_in_anything_or_leaves_its_room(seed: int) -> None:
    for room in rooms(seed):
        placed = furnish(room, np.random.default_rng(seed))
        items = [one for one in placed if one.item.category not in ("door", "box")]
        for i, one in enumerate(items):
            assert (one.low > -1e-9).all()
            assert (one.high[:2] < [room.width + 1e-9, room.length + 1e-9]).all()
            assert not any(collide(one, other, CLEARANCE - 1e-9) for other in items[:i])


@pytest.mark.parametrize("seed", range(7))
def test_doors_stay_free(seed: int) -> None:
    for room in rooms(seed):
        items = furnish(room, np.random.default_rng(seed))
        for door in room.doors:
            pose = room.on_wall(door.wall, door.at)
            reach = np.array([[-DOOR_WIDTH / 2, 0.1, 0.1], [DOOR_WIDTH / 2, DOOR_CLEARANCE, 1.9]])
            corners = pose.apply(reach)
            low, high = corners.min(axis=0), corners.max(axis=0)
            for one in items:
                if one.item.category != "door":
                    assert not ((one.low < high) & (low < one.high)).all()


@pytest.mark.parametrize("name", ROOM_TYPES)
def test_anchors_and_shared_shapes_keep_to_their_ends(name: str) -> None:
    kind, rng = ROOM_TYPES[name], np.random.default_rng(3)
    room = Room(name, 3.5, 4.5, Pose(0, 0.0, 0.0))
    shared = {getattr(kind, shape) for shape in SHARED}
    placed = furnish(room, rng)
    found = {one.item.category for one in placed}
    assert shared <= found
    anchors = [one for one in placed if one.item.category not in shared | {"box"}]
    assert len(kind.anchors) <= len(anchors) <= len(kind.anchors + kind.more)
    assert all(one.high[1] <= ANCHOR_DEPTH for one in anchors)
    rest = [one for one in placed if one.item.category in shared]
    assert all(one.low[1] >= SHARED_FROM * room.length - 1e-9 for one in rest)


def test_clutter_lies_on_slabs() -> None:
    room = Room("office", 4.7, 5.9, Pose(0, 0.0, 0.0))
    seen = 0
    for seed in range(7):
        placed = furnish(room, np.random.default_rng(seed))
        desks = [one for one in placed if one.item.category == "desk"]
        for box in (one for one in placed if one.item.category == "box"):
            seen += 1
            assert any(
                abs(box.low[2] - desk.high[2]) < 1e-9
                and (desk.low[:2] <= box.low[:2]).all()
                and (box.high[:2] <= desk.high[:2]).all()
                for desk in desks
            )
    assert seen > 0


def test_too_small_a_room_is_an_error() -> None:
    with pytest.raises(RuntimeError, match=r"bathroom of 1\.10 m x 1\.30 m is too small"):
        furnish(Room("bathroom", 1.1, 1.3, Pose(0, 0.0, 0.0)), np.random.default_rng(0))
