import numpy as np
import pytest

from latentgraph.scannet.rooms.floor_plan import THICKNESS, Pose, Room, floor_plan

TYPES = ("office", "kitchen", "bedroom", "bathroom")


def area(room: Room) -> np.ndarray:
    corners = np.array([[0, 0, 0], [room.width, room.length, 0]], float)
    return np.sort(room.pose.apply(corners)[:, :2], axis=0)


def door_in_plan(room: Room, at: int) -> np.ndarray:
    door = room.doors[at]
    return room.pose.after(room.on_wall(door.wall, door.at)).apply(np.zeros((1, 3)))[0, :2]


def test_pose_turns_then_shifts() -> None:
    pose = Pose(1, 2.0, 3.0, 5.0)
    np.testing.assert_allclose(pose.apply(np.array([[1.0, 7.0, 11.0]])), [[-5, 4, 16]])
    inner = Pose(2, 13.0, 17.0)
    point = np.array([[0.3, 0.7, 1.1]])
    np.testing.assert_allclose(pose.after(inner).apply(point), pose.apply(inner.apply(point)))


@pytest.mark.parametrize("wall", range(4))
def test_items_at_a_wall_look_into_the_room(wall: int) -> None:
    room = Room("office", 3.0, 5.0, Pose(0, 0.0, 0.0))
    start, end, inside = room.on_wall(wall, 0.0).apply(
        np.array([[0, 0, 0], [room.wall_length(wall), 0, 0], [1, 1, 0]], float)
    )
    corners = [[0, 0, 0], [3, 0, 0], [3, 5, 0], [0, 5, 0], [0, 0, 0]]
    np.testing.assert_allclose([start, end], corners[wall : wall + 2])
    assert 0 < inside[0] < 3
    assert 0 < inside[1] < 5


@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", [2, 3, 5, 7])
def test_rooms_lie_apart_by_a_wall(number: int, seed: int) -> None:
    rooms = floor_plan(TYPES[:number], number == 1, np.random.default_rng(seed))
    assert [room.type for room in rooms] == list(TYPES[:number])
    areas = [area(room) for room in rooms]
    for i, (low, high) in enumerate(areas):
        for other_low, other_high in areas[:i]:
            apart = np.maximum(other_low - high, low - other_high).max()
            assert apart > THICKNESS - 1e-9


@pytest.mark.parametrize("seed", range(11))
def test_doorways_meet_and_lead_to_every_room(seed: int) -> None:
    rooms = floor_plan(TYPES, False, np.random.default_rng(seed))
    ways = [
        (i, door.leaf, door_in_plan(room, at))
        for i, room in enumerate(rooms)
        for at, door in enumerate(room.doors)
        if door.passage
    ]
    reached, links = {0}, []
    for i, leaf, place in ways:
        facing = [
            (j, other)
            for j, other, there in ways
            if j != i and np.linalg.norm(there - place) < THICKNESS + 1e-6
        ]
        assert len(facing) == 1, "a doorway opens into exactly one other room"
        assert facing[0][1] != leaf, "one of the two rooms has the leaf"
        links.append((i, facing[0][0]))
    for _ in rooms:
        reached |= {j for i, j in links if i in reached}
    assert reached == {0, 1, 2, 3}
    assert sum(not door.passage for room in rooms for door in room.doors) == 1


def test_single_room_has_one_closed_door() -> None:
    (room,) = floor_plan(["kitchen"], True, np.random.default_rng(0))
    assert [door.passage for door in room.doors] == [False]
