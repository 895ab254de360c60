import numpy as np
import pytest

from latentgraph.scannet import orient
from latentgraph.scannet.orient import look_inside


def box(size: tuple[float, float, float], step: float) -> tuple[np.ndarray, np.ndarray]:
    r"""Points on the six sides of a box around zero, and normals that look to its middle."""
    pos, normal = [], []
    for axis in range(3):
        others = [np.arange(step / 2, size[i], step) - size[i] / 2 for i in range(3) if i != axis]
        flat = np.stack(np.meshgrid(*others, indexing="ij"), axis=-1).reshape(-1, 2)
        for side in (-1, 1):
            pos.append(np.insert(flat, axis, side * size[axis] / 2, axis=1))
            normal.append(np.zeros((len(flat), 3)))
            normal[-1][:, axis] = -side
    return np.concatenate(pos).astype(np.float32), np.concatenate(normal).astype(np.float32)


def right(pos: np.ndarray, normal: np.ndarray, step: float) -> np.ndarray:
    r"""Whether normals that were turned at random are turned back."""
    turned = normal * np.random.default_rng(0).choice([-1, 1], (len(pos), 1)).astype(np.float32)
    found = look_inside(pos, turned, 2 * step)
    assert np.array_equal(np.abs(found), np.abs(normal))
    same: np.ndarray = (found == normal).all(axis=1)
    return same


def test_an_empty_room_is_seen_from_inside() -> None:
    pos, normal = box((4, 3, 2.4), 0.1)
    assert right(pos + 17, normal, 0.1).all()


def test_things_in_a_room_are_seen_from_outside() -> None:
    room, inwards = box((5, 4, 2.5), 0.1)
    thing, into = box((1.5, 1.1, 0.9), 0.1)
    pos = np.concatenate([room, thing + np.float32([0.4, -0.2, 0])])
    same = right(pos, np.concatenate([inwards, -into]), 0.1)
    assert same[: len(room)].all()
    assert same[len(room) :].all()


def test_rooms_beside_each_other_each_have_their_side_of_the_wall() -> None:
    pos, normal = box((4, 3, 2.4), 0.1)
    both = np.concatenate([pos, pos + np.float32([4.3, 0, 0])])
    assert right(both, np.concatenate([normal, normal]), 0.1).mean() > 0.99


def test_cells_grow_where_there_would_be_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    pos, normal = box((4, 3, 2.4), 0.1)
    monkeypatch.setattr(orient, "MAX_SURFACES", 500)
    assert right(pos, normal, 0.1).mean() > 0.97
    monkeypatch.setattr(orient, "MAX_CELLS", 1000)
    assert right(pos, normal, 0.1).mean() > 0.9


def test_one_point_keeps_its_axis() -> None:
    normal = np.array([[0, -0.6, 0.8]], dtype=np.float32)
    found = look_inside(np.full((1, 3), 5, dtype=np.float32), normal, 0.1)
    assert np.array_equal(np.abs(found), np.abs(normal))
