import json
from pathlib import Path

import numpy as np
import pytest
from raw_scans import (
    CATEGORY,
    INSTANCE,
    NYU40,
    VERTICES,
    MakeScan,
    grid,
    mesh_bytes,
    ply_bytes,
)

from latentgraph.scannet.points import ScanError
from latentgraph.scannet.reader import find_scans, read_scan


def test_a_whole_scan(make_scan: MakeScan) -> None:
    scan = read_scan(make_scan())
    pos, color, faces = grid()
    assert scan.name == "scene0000_00"
    np.testing.assert_array_equal(scan.pos, pos)
    np.testing.assert_array_equal(scan.color, color)
    np.testing.assert_array_equal(scan.faces, faces)
    np.testing.assert_allclose(scan.normal, np.tile([0, 0, 1], (VERTICES, 1)))
    np.testing.assert_array_equal(scan.nyu40, NYU40)
    np.testing.assert_array_equal(scan.category, CATEGORY)
    np.testing.assert_array_equal(scan.instance, INSTANCE)
    expected = [[0, -1, 0, 2], [1, 0, 0, 3], [0, 0, 1, 0.5], [0, 0, 0, 1]]
    np.testing.assert_array_equal(scan.alignment, expected)
    assert scan.room is None
    assert scan.remarks == []


def test_the_mesh_stands_for_its_folder(make_scan: MakeScan) -> None:
    folder = make_scan()
    scan = read_scan(folder / "scene0000_00_vh_clean_2.ply")
    assert scan.name == "scene0000_00"
    np.testing.assert_array_equal(scan.instance, INSTANCE)


def test_the_working_folder_is_a_scan(make_scan: MakeScan, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_scan()
    (folder / "inside").mkdir()
    for place, path in ((folder, "."), (folder / "inside", "..")):
        monkeypatch.chdir(place)
        scan = read_scan(path)
        assert scan.name == "scene0000_00"
        np.testing.assert_array_equal(scan.instance, INSTANCE)


def test_a_test_scan(make_scan: MakeScan) -> None:
    scan = read_scan(make_scan("scene0707_00"))
    assert (scan.nyu40, scan.category, scan.instance, scan.alignment) == (None,) * 4
    assert scan.remarks == []


@pytest.mark.parametrize("missing", ["segs", "aggregation", "table"])
def test_labels_ply_alone(make_scan: MakeScan, missing: str) -> None:
    scan = read_scan(make_scan(**{missing: None}))
    np.testing.assert_array_equal(scan.nyu40, NYU40)
    assert scan.category is None
    assert scan.instance is None
    assert scan.remarks == [f"labels are those of labels.ply, for want of {missing}"]


def test_aggregation_alone(make_scan: MakeScan) -> None:
    scan = read_scan(make_scan(labels=None))
    np.testing.assert_array_equal(scan.nyu40, NYU40)
    assert scan.remarks == []


def test_the_aggregation_counts_and_differences_are_named(make_scan: MakeScan) -> None:
    pos, color, faces = grid()
    shown = NYU40.copy()
    shown[[1, 8, 30]] = 14
    shown[34] = 149
    scan = read_scan(make_scan(labels=mesh_bytes(pos, color, faces, shown)))
    np.testing.assert_array_equal(scan.nyu40, NYU40)
    assert scan.unknown == ["id 149 on 1 vertices of labels.ply is no NYU40 class"]
    assert scan.remarks == [
        "labels.ply differs from the aggregation on 3 of 35 vertices: the aggregation counts"
    ]


def test_ids_that_are_no_class_stay_unannotated(make_scan: MakeScan) -> None:
    pos, color, faces = grid()
    shown = NYU40.copy()
    shown[:6] = [50, 149, 50, 40, 41, 1]
    scan = read_scan(make_scan(aggregation=None, labels=mesh_bytes(pos, color, faces, shown)))
    assert scan.nyu40 is not None
    np.testing.assert_array_equal(scan.nyu40[:6], [0, 0, 0, 40, 0, 1])
    assert scan.unknown == [
        "id 41 on 1 vertices of labels.ply is no NYU40 class",
        "id 50 on 2 vertices of labels.ply is no NYU40 class",
        "id 149 on 1 vertices of labels.ply is no NYU40 class",
    ]


def test_points_without_faces_and_colors(make_scan: MakeScan) -> None:
    pytest.importorskip("open3d")
    scan = read_scan(make_scan(mesh=mesh_bytes(grid()[0])))
    np.testing.assert_array_equal(scan.color, np.full((VERTICES, 3), 128))
    np.testing.assert_allclose(np.abs(scan.normal), np.tile([0, 0, 1], (VERTICES, 1)), atol=1e-6)
    assert scan.faces is None
    assert scan.remarks == [
        "no colors: gray is taken",
        "no normals and no faces: normals are estimated",
    ]


def test_coordinates_too_far_from_zero_are_remarked_on(tmp_path: Path) -> None:
    pos, color, faces = grid()
    path = tmp_path / "kitchen.ply"
    for offset, said in ((4096, False), (20_000, True)):
        path.write_bytes(mesh_bytes(pos + np.float32(offset), color, faces))
        remarks = read_scan(path).remarks
        assert any("rounded to 0.00195312 m: move them to zero" in r for r in remarks) == said


def test_coordinates_of_maps_keep_their_millimeters(tmp_path: Path) -> None:
    pos, _, _ = grid()
    there = np.array([456_789.123, 5_432_109.876, 431.5])
    path = tmp_path / "kitchen.xyz"
    np.savetxt(path, 100 * (pos + there), fmt="%.3f")
    scan = read_scan(path, unit="cm")
    np.testing.assert_allclose(scan.place, pos + there, rtol=0, atol=2e-5)
    np.testing.assert_allclose(np.ptp(scan.pos, axis=0), np.ptp(pos, axis=0), atol=2e-5)
    said = [remark for remark in scan.remarks if "zero" in remark]
    assert said == ["coordinates far from zero: counted from 456789, 5432110, 431 m"]


def test_an_alignment_is_of_coordinates_as_they_were(make_scan: MakeScan) -> None:
    folder = make_scan(info="axisAlignment = 0 -1 0 2 1 0 0 3 0 0 1 5 0 0 0 1")
    pos, _, faces = grid()
    path = folder / "scene0000_00_vh_clean_2.ply"
    vertex = [(name, "double", pos[:, i] + 1e6) for i, name in enumerate("xyz")]
    path.write_bytes(ply_bytes(vertex, faces))
    scan = read_scan(folder)
    assert scan.origin.any()
    assert scan.alignment is not None
    turned = scan.pos @ scan.alignment[:3, :3].T + scan.alignment[:3, 3]
    expected = np.stack([2 - pos[:, 1] - 1e6, pos[:, 0] + 1e6 + 3, pos[:, 2] + 1e6 + 5], axis=1)
    np.testing.assert_allclose(turned, expected, rtol=0, atol=1e-5)


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    pos, color, faces = grid()
    path = tmp_path / "kitchen.ply"
    path.write_bytes(mesh_bytes(pos, color, faces))
    scan = read_scan(path)
    assert scan.name == "kitchen"
    assert scan.nyu40 is None
    assert scan.unknown == scan.remarks == []
    path.write_bytes(mesh_bytes(pos, color, faces, np.full(VERTICES, 50)))
    scan = read_scan(path)
    np.testing.assert_array_equal(scan.nyu40, np.zeros(VERTICES))
    assert scan.unknown == ["id 50 on 35 vertices of kitchen.ply is no NYU40 class"]


def test_rooms_of_generated_scenes(make_scan: MakeScan) -> None:
    folder = make_scan()
    path = folder / "scene0000_00.rooms.npy"
    np.save(path, np.arange(VERTICES, dtype=np.int16))
    room = read_scan(folder).room
    np.testing.assert_array_equal(room, np.arange(VERTICES))
    np.save(path, np.zeros(VERTICES))
    with pytest.raises(ScanError, match=r"rooms\.npy: expected 35 integers, got float64"):
        read_scan(folder)
    content = path.read_bytes()
    for damaged in (b"", content[:50], content[:-8], content.replace(b"{", b"\x00(")):
        path.write_bytes(damaged)
        with pytest.raises(ScanError, match=r"rooms\.npy: damaged or cut off"):
            read_scan(folder)


def test_a_release_in_place_of_a_scan(make_scan: MakeScan, tmp_path: Path) -> None:
    for name in ("scene0011_00", "scene0707_00"):
        make_scan(name)
    one = tmp_path / "scans" / "scene0011_00"
    with pytest.raises(ScanError, match=f"expected one scan, got the root of 2: {one}[?]$"):
        read_scan(tmp_path)


def test_no_mesh(make_scan: MakeScan) -> None:
    with pytest.raises(ScanError, match=r"scene0000_00_vh_clean_2\.ply: no such file"):
        read_scan(make_scan(mesh=None))


def test_files_of_the_high_resolution_mesh(make_scan: MakeScan) -> None:
    fine = mesh_bytes(np.zeros((101, 3)), label=np.ones(101))
    with pytest.raises(ScanError, match=r"labels\.ply: expected 35 vertices.*got 101.*_vh_clean"):
        read_scan(make_scan("scene0000_00", labels=fine))
    segs = json.dumps({"segIndices": [3] * 101})
    with pytest.raises(ScanError, match=r"segs\.json: expected 35 entries.*got 101.*_vh_clean"):
        read_scan(make_scan("scene0000_01", segs=segs))
    with pytest.raises(ScanError, match=r"expected 101 entries.*got 35"):
        read_scan(make_scan("scene0000_02", mesh=fine))


def test_labels_without_labels(make_scan: MakeScan) -> None:
    with pytest.raises(ScanError, match="expected a vertex property 'label'"):
        read_scan(make_scan(labels=mesh_bytes(*grid())))


@pytest.mark.parametrize("numbers", ["1 2 3", "a " * 16, "nan " * 16, ""])
def test_a_damaged_alignment_is_left_out(make_scan: MakeScan, numbers: str) -> None:
    scan = read_scan(make_scan(info=f"axisAlignment = {numbers}\n"))
    assert scan.alignment is None
    assert scan.remarks == ["axisAlignment in scene0000_00.txt is not 16 numbers: left out"]


def test_find_scans(make_scan: MakeScan, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a folder scans/ or scans_test/"):
        find_scans(tmp_path)
    names = ["scene0011_00", "scene0707_00", "scene0000_01"]
    folders = [make_scan(name) for name in names]
    (tmp_path / "scans" / "README").write_text("no scan")
    assert find_scans(tmp_path) == [folders[2], folders[0], folders[1]]
    (tmp_path / "scans_test" / "scene0011_00").mkdir()
    with pytest.raises(ScanError, match="scene0011_00 is in scans/ and in scans_test/"):
        find_scans(tmp_path)
