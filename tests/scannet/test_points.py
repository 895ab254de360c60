import re
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


def test_colors_and_labels_as_fractional_numbers(tmp_path: Path) -> None:
    pos, color, _ = grid()
    vertex = [(name, "float", pos[:, i]) for i, name in enumerate("xyz")]
    vertex += [(name, "float", color[:, i]) for i, name in enumerate(("red", "green", "blue"))]
    vertex += [("label", "double", np.arange(VERTICES))]
    points = read_points(_write(tmp_path, ply_bytes(vertex)))
    np.testing.assert_array_equal(points.color, color)
    np.testing.assert_array_equal(points.label, np.arange(VERTICES))


def test_a_table_with_colors_and_labels(tmp_path: Path) -> None:
    text = "0 0 0 255 7 0 3\n1 0 0 0 9 1 0\n"
    points = read_points(_write(tmp_path, text.encode(), "cloud.xyz"))
    np.testing.assert_array_equal(points.color, [[255, 7, 0], [0, 9, 1]])
    np.testing.assert_array_equal(points.label, [3, 0])
    with pytest.raises(ScanError, match=r"cloud\.xyz: expected 3, 6 or 9 columns"):
        read_points(_write(tmp_path, b"1 2\n", "cloud.xyz"))


def test_a_cloud_with_colors_normals_and_labels(tmp_path: Path) -> None:
    pytest.importorskip("open3d")
    text = """VERSION .7
FIELDS x y z rgb normal_x normal_y normal_z label
SIZE 4 4 4 4 4 4 4 4
TYPE F F F U F F F U
COUNT 1 1 1 1 1 1 1 1
WIDTH 2
HEIGHT 1
VIEWPOINT 0 0 0 1 0 0 0
POINTS 2
DATA ascii
0 0 0 16711687 0 0 2 3
1 2 3 256 0 3 4 40
"""
    points = read_points(_write(tmp_path, text.encode(), "cloud.pcd"))
    np.testing.assert_array_equal(points.pos, [[0, 0, 0], [1, 2, 3]])
    np.testing.assert_array_equal(points.color, [[255, 0, 7], [0, 1, 0]])
    np.testing.assert_allclose(points.normal, [[0, 0, 1], [0, 0.6, 0.8]], atol=1e-6)
    np.testing.assert_array_equal(points.label, [3, 40])


def test_a_mesh_with_a_picture_on_it(tmp_path: Path) -> None:
    o3d = pytest.importorskip("open3d")
    picture = np.zeros((4, 4, 3), dtype=np.uint8)
    picture[:2], picture[2:] = [255, 0, 0], [0, 0, 255]  # red above, blue below
    o3d.io.write_image(str(tmp_path / "picture.png"), o3d.geometry.Image(picture))
    _write(tmp_path, b"newmtl a\nmap_Kd picture.png\n", "mesh.mtl")
    text = "mtllib mesh.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0.1 0.1\nvt 0.9 0.1\nvt 0.1 0.9\n"
    text += "usemtl a\nf 1/1 2/2 3/3\n"
    points = read_points(_write(tmp_path, text.encode(), "mesh.obj"))
    expected = {(0, 0): [0, 0, 255], (1, 0): [0, 0, 255], (0, 1): [255, 0, 0]}
    assert points.color is not None
    for (x, y, _), color in zip(points.pos.tolist(), points.color.tolist(), strict=True):
        assert color == expected[x, y]


@pytest.mark.parametrize(
    ("library", "picture", "named"),
    [
        ("mesh.mtl", "map_Kd ../wall.png", "../wall.png"),
        ("mesh.mtl", "  map_Kd -s 1 1 1 ../a wall.png", "../a"),
        ("mesh.mtl", "bump /etc/wall.png", "/etc/wall.png"),
        ("mesh.mtl", r"map_Ks pictures\..\..\wall.png", r"pictures\..\..\wall.png"),
        ("mesh.mtl", r"map_Ka C:\wall.png", r"C:\wall.png"),
        ("../mesh.mtl", "map_Kd wall.png", "../mesh.mtl"),
        ("a mesh.mtl", "map_Kd ../wall.png", "../wall.png"),
        ("mesh.mtl", "\ufeffmap_Kd ../wall.png", "../wall.png"),
        ("mesh.mtl", "\0map_Kd ../wall.png", "../wall.png"),
        ("mesh.mtl", "Kd 1 1 1\0map_Kd ../wall.png", "../wall.png"),
    ],
)
def test_a_mesh_names_nothing_outside_its_folder(
    tmp_path: Path, library: str, picture: str, named: str
) -> None:
    pytest.importorskip("open3d")
    material = f"newmtl a\n{picture}\n".encode()
    for name in ("mesh.mtl", "a mesh.mtl"):
        _write(tmp_path, material if name == library else b"", name)
    text = f"mtllib {library}\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
    said = f"mesh.obj: expected materials and pictures in its folder, got {named!r}"
    for before in ("", "\ufeff", "\0"):
        path = _write(tmp_path, (before + text).encode(), "mesh.obj")
        with pytest.raises(ScanError, match=re.escape(said)):
            read_points(path)


@pytest.mark.parametrize(
    ("faces", "read"), [("f 1 2 3 4", 0), ("f 1 2 3\nf 1 2 3 4", 1), ("f 1 2 \\\n3 4", 0)]
)
def test_polygons_of_an_obj_are_refused(tmp_path: Path, faces: str, read: int) -> None:
    pytest.importorskip("open3d")
    text = f"v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n{faces}\n"
    said = rf"mesh\.obj: Open3D can read {read} of the {read + 1} faces"
    with pytest.raises(ScanError, match=said):
        read_points(_write(tmp_path, text.encode(), "mesh.obj"))


def test_vertices_that_an_obj_loses_are_told(tmp_path: Path) -> None:
    pytest.importorskip("open3d")
    text = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 5 5 5\nf 1 2 3\n"
    points = read_points(_write(tmp_path, text.encode(), "mesh.obj"))
    assert len(points) == 3
    assert points.remarks[0].startswith("3 vertices where the file has 4: Open3D leaves out")
    text = text.replace("v 5 5 5\n", "")
    assert read_points(_write(tmp_path, text.encode(), "mesh.obj")).remarks == []


@pytest.mark.parametrize(("value", "read"), [(9, 9), (255, 255), (257 * 9, 9), (65_535, 255)])
def test_colors_of_two_bytes(tmp_path: Path, value: int, read: int) -> None:
    names = "\n".join(f"property ushort {name}" for name in ("red", "green", "blue"))
    text = f"""ply
format ascii 1.0
element vertex 1
property float x
property float y
property float z
{names}
end_header
0 0 0 {value} {value} {value}
"""
    points = read_points(_write(tmp_path, text.encode(), "a.ply"))
    assert points.color is not None
    assert points.color.tolist() == [[read] * 3]


def test_a_byte_order_mark_is_no_point(tmp_path: Path) -> None:
    path = _write(tmp_path, "\ufeff1 2 3\n4 5 6\n".encode(), "a.xyz")
    assert read_points(path).pos.tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize("text", ["", "v 0 0 0\nv 1 0 0\n"])
def test_a_mesh_without_faces(tmp_path: Path, text: str) -> None:
    pytest.importorskip("open3d")
    with pytest.raises(ScanError, match=r"mesh\.obj: no faces that Open3D can read"):
        read_points(_write(tmp_path, text.encode(), "mesh.obj"))


def test_properties_that_cannot_be(tmp_path: Path) -> None:
    pos, color, faces = grid()
    zeros = np.zeros(VERTICES)
    no_z = ply_bytes([("x", "float", zeros), ("y", "float", zeros)])
    with pytest.raises(ScanError, match=r"expected vertex properties x, y, z, got \('x', 'y'\)"):
        read_points(_write(tmp_path, no_z))
    vertex = [(name, "float", zeros) for name in ("x", "y", "z")]
    for label, said in (
        (zeros + 0.5, "got 0.5"),
        (zeros + np.nan, "got NaN"),
        (zeros + 1e30, "too"),
    ):
        with pytest.raises(ScanError, match=f"whole numbers as labels, .*{said}"):
            read_points(_write(tmp_path, ply_bytes([*vertex, ("label", "float", zeros + label)])))
    for bright in (1.5, 255.5, -0.1, np.nan):
        colors = [(name, "float", zeros + bright) for name in ("red", "green", "blue")]
        with pytest.raises(ScanError, match="fractions from 0 to 1, got"):
            read_points(_write(tmp_path, ply_bytes(vertex + colors)))
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
