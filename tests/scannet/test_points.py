from pathlib import Path

import numpy as np
import pytest
from raw_scans import VERTICES, grid, mesh_bytes, ply_bytes

from latentgraph.scannet.points import Points, ScanError, read_points, vertex_count

TEXT = """ply
format ascii 1.0
comment by hand
element vertex 5
property double x
property double y
property double z
property float nx
property float ny
property float nz
property float red
property float green
property float blue
property int label
element face 2
property list uchar int vertex_index
end_header
0 0 0 0 0 2 0 0.5 1 40
1 0 0 0 0 2 0 0.5 1 40
1 1 0 0 0 2 0 0.5 1 7
0 1 0 0 0 0 0 0.5 1 149
0 0 1 3 4 0 0 0.5 1 0
4 0 1 2 3
3 0 1 4
"""


def _write(folder: Path, content: bytes, name: str = "points.ply") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_mesh_of_the_release(tmp_path: Path) -> None:
    pos, color, faces = grid()
    path = _write(tmp_path, mesh_bytes(pos, color, faces, np.arange(VERTICES)))
    points = read_points(path)
    np.testing.assert_array_equal(points.pos, pos)
    np.testing.assert_array_equal(points.color, color)
    np.testing.assert_array_equal(points.faces, faces)
    np.testing.assert_array_equal(points.label, np.arange(VERTICES))
    assert points.normal is None
    assert points.pos.dtype == np.float32
    assert len(points) == vertex_count(path) == VERTICES


def test_points_without_anything_else(tmp_path: Path) -> None:
    points = read_points(_write(tmp_path, mesh_bytes(grid()[0])))
    assert (points.color, points.normal, points.faces, points.label) == (None,) * 4


def test_a_name_that_is_nothing_but_its_type(tmp_path: Path) -> None:
    assert len(read_points(_write(tmp_path, mesh_bytes(grid()[0]), ".ply"))) == VERTICES


def test_text_with_polygons_normals_and_fractions_as_colors(tmp_path: Path) -> None:
    points = read_points(_write(tmp_path, TEXT.encode()))
    np.testing.assert_array_equal(points.faces, [[0, 1, 2], [0, 2, 3], [0, 1, 4]])
    np.testing.assert_array_equal(points.color, [[0, 128, 255]] * 5)
    np.testing.assert_array_equal(points.label, [40, 40, 7, 149, 0])
    expected = [[0, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, 0], [0.6, 0.8, 0]]
    np.testing.assert_allclose(points.normal, expected, atol=1e-7)


def test_big_endian_and_sixteen_bit_colors(tmp_path: Path) -> None:
    pos, _, faces = grid()
    vertex = [(name, "double", pos[:, i]) for i, name in enumerate("xyz")]
    vertex += [(name, "ushort", np.full(VERTICES, 257 * 9)) for name in ("red", "green", "blue")]
    points = read_points(_write(tmp_path, ply_bytes(vertex, faces, order=">")))
    np.testing.assert_array_equal(points.pos, pos)
    np.testing.assert_array_equal(points.faces, faces)
    np.testing.assert_array_equal(points.color, np.full((VERTICES, 3), 9))


@pytest.mark.parametrize(
    ("name", "content", "faces"),
    [
        ("cloud.xyz", "0 0 0\n1 0 0\n0 2 0\n", None),
        ("mesh.obj", "v 0 0 0\nv 1 0 0\nv 0 2 0\nf 1 2 3\n", [[0, 1, 2]]),
        (
            "cloud.pcd",
            "VERSION .7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH 3\nHEIGHT 1\n"
            "VIEWPOINT 0 0 0 1 0 0 0\nPOINTS 3\nDATA ascii\n0 0 0\n1 0 0\n0 2 0\n",
            None,
        ),
    ],
)
def test_other_types(
    tmp_path: Path, name: str, content: str, faces: list[list[int]] | None
) -> None:
    pytest.importorskip("open3d")
    points = read_points(_write(tmp_path, content.encode(), name))
    np.testing.assert_array_equal(points.pos, [[0, 0, 0], [1, 0, 0], [0, 2, 0]])
    if faces is None:
        assert points.faces is None
    else:
        np.testing.assert_array_equal(points.faces, faces)


@pytest.mark.parametrize("kept", [0, 3, 60, 250, -1, -13, -700, -1000])
def test_a_file_that_is_cut_off(tmp_path: Path, kept: int) -> None:
    content = mesh_bytes(*grid())
    path = _write(tmp_path, content[:kept])
    with pytest.raises(ScanError, match="cut off") as error:
        read_points(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("lines", [4, 20, 21, 23])
def test_a_text_file_that_is_cut_off(tmp_path: Path, lines: int) -> None:
    content = "\n".join(TEXT.splitlines()[:lines])
    with pytest.raises(ScanError, match="cut off"):
        read_points(_write(tmp_path, content.encode()))


def test_a_header_that_announces_more_than_memory(tmp_path: Path) -> None:
    content = mesh_bytes(*grid()).replace(b"vertex 35", b"vertex 99999999999999")
    with pytest.raises(ScanError, match="99999999999999"):
        read_points(_write(tmp_path, content))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_positions_that_are_not_finite(tmp_path: Path, bad: float) -> None:
    pos, color, faces = grid()
    pos[[3, 11], [2, 0]] = bad
    with pytest.raises(ScanError, match="2 of 35 points have NaN or infinite coordinates"):
        read_points(_write(tmp_path, mesh_bytes(pos, color, faces)))


def test_positions_that_single_precision_cannot_hold(tmp_path: Path) -> None:
    content = TEXT.replace("1 1 0 ", "1e300 1 0 ").encode()
    with pytest.raises(ScanError, match="1 of 5 points have NaN or infinite coordinates"):
        read_points(_write(tmp_path, content))


def test_normals_that_are_no_numbers_count_as_none(tmp_path: Path) -> None:
    content = TEXT.replace("1 1 0 0 0 2 ", "1 1 0 nan 0 1e39 ").encode()
    normal = read_points(_write(tmp_path, content)).normal
    assert normal is not None
    np.testing.assert_array_equal(normal[2], [0, 0, 0])
    np.testing.assert_array_equal(normal[1], [0, 0, 1])


def test_faces_without_corners(tmp_path: Path) -> None:
    content = TEXT.replace("4 0 1 2 3", "0").encode()
    np.testing.assert_array_equal(read_points(_write(tmp_path, content)).faces, [[0, 1, 4]])


def test_no_points(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match="has no points"):
        read_points(_write(tmp_path, mesh_bytes(np.zeros((0, 3)))))


def test_no_file_and_no_known_type(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match=r"none\.ply: no such file"):
        read_points(tmp_path / "none.ply")
    with pytest.raises(ScanError, match=r"expected a file of type \.ply, .* got \.las"):
        read_points(_write(tmp_path, b"", "points.las"))


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match="not a PLY file"):
        read_points(_write(tmp_path, b"solid cube\n"))


def test_properties_that_cannot_be(tmp_path: Path) -> None:
    pos, color, faces = grid()
    zeros = np.zeros(VERTICES)
    no_z = ply_bytes([("x", "float", zeros), ("y", "float", zeros)])
    with pytest.raises(ScanError, match=r"expected vertex properties x, y, z, got \('x', 'y'\)"):
        read_points(_write(tmp_path, no_z))
    vertex = [(name, "float", zeros) for name in ("x", "y", "z")]
    with pytest.raises(ScanError, match="whole numbers as labels, got float32"):
        read_points(_write(tmp_path, ply_bytes([*vertex, ("label", "float", zeros)])))
    too_bright = [(name, "float", zeros + 1.5) for name in ("red", "green", "blue")]
    with pytest.raises(ScanError, match="fractions from 0 to 1"):
        read_points(_write(tmp_path, ply_bytes(vertex + too_bright)))
    faces[5, 1] = VERTICES
    with pytest.raises(ScanError, match="a corner that is none of the 35 vertices"):
        read_points(_write(tmp_path, mesh_bytes(pos, color, faces)))


def test_a_package_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _write(tmp_path, mesh_bytes(*grid()))
    monkeypatch.setitem(__import__("sys").modules, "plyfile", None)
    with pytest.raises(ImportError, match=r"plyfile is needed to read PLY files: pip install"):
        read_points(path)


def test_length_is_that_of_the_positions() -> None:
    assert len(Points(np.zeros((3, 3), dtype=np.float32))) == 3
