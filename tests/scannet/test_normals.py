import numpy as np
import pytest

from latentgraph.scannet.normals import estimate_normals, vertex_normals


def test_normals_are_weighted_by_area() -> None:
    # Two faces share an edge: one of area 1 looks up, one of area 3 looks to -x.
    pos = np.array([[0, 0, 0], [0, 1, 0], [2, 0, 0], [0, 0, 6], [9, 9, 9]], dtype=np.float32)
    faces = np.array([[0, 2, 1], [0, 1, 3]])
    normal = vertex_normals(pos, faces)
    shared = np.array([3.0, 0.0, 1.0]) / np.sqrt(10.0)
    expected = [shared, shared, [0, 0, 1], [1, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(normal, expected, atol=1e-6)
    assert normal.dtype == np.float32


def test_faces_without_area_and_no_faces() -> None:
    pos = np.array([[0, 0, 0], [1, 1, 1], [2, 2, 2]], dtype=np.float32)
    for faces in (np.array([[0, 1, 2]]), np.zeros((0, 3), dtype=np.int64)):
        np.testing.assert_array_equal(vertex_normals(pos, faces), np.zeros((3, 3)))


def test_normals_turn_with_the_mesh() -> None:
    rng = np.random.default_rng(5)
    pos = rng.normal(size=(31, 3)).astype(np.float32)
    faces = rng.integers(31, size=(53, 3))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.linalg.det(turn)
    turned = vertex_normals((pos @ turn.T).astype(np.float32), faces)
    np.testing.assert_allclose(turned, vertex_normals(pos, faces) @ turn.T, atol=1e-5)


def test_estimated_normals_of_a_room_look_inside() -> None:
    pytest.importorskip("open3d")
    rng = np.random.default_rng(7)
    pos = rng.uniform(-1, 1, size=(7001, 3))
    side = rng.integers(3, size=7001)
    expected = np.zeros_like(pos)
    sign = np.where(rng.random(7001) < 0.5, -1.0, 1.0)
    pos[np.arange(7001), side] = sign
    expected[np.arange(7001), side] = -sign
    inner = np.sort(np.abs(pos), axis=1)[:, 1] < 0.6  # away from the edges
    normal = estimate_normals((pos * [3, 2, 1.3] + 11).astype(np.float32))
    np.testing.assert_allclose(normal[inner], expected[inner], atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(normal, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_estimated_normals_of_few_points(count: int) -> None:
    pytest.importorskip("open3d")
    normal = estimate_normals(np.arange(3.0 * count, dtype=np.float32).reshape(count, 3))
    np.testing.assert_allclose(np.linalg.norm(normal, axis=1), 1, atol=1e-5)
