import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from latentgraph.scannet.labels import SCANNET20, SCANNET200
from latentgraph.scannet.rooms import Scene, make_scene, write_scan
from latentgraph.scannet.rooms.furniture import NYU40
from latentgraph.scannet.rooms.raw import label_table

NAME = "scene0011_00"
MESH = f"{NAME}_vh_clean_2.ply"
LABELS = f"{NAME}_vh_clean_2.labels.ply"


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(5, "apartments", ["bathroom", "kitchen"], edge=0.17)


@pytest.fixture(scope="module")
def folder(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(NAME)
    write_scan(scene, folder, NAME)
    return folder


def test_files_of_an_annotated_scan(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {
        MESH,
        LABELS,
        f"{NAME}_vh_clean_2.0.010000.segs.json",
        f"{NAME}.aggregation.json",
        f"{NAME}.txt",
        f"{NAME}.rooms.npy",
    }


def test_mesh_holds_the_scene(scene: Scene, folder: Path) -> None:
    plyfile = pytest.importorskip("plyfile")
    mesh = plyfile.PlyData.read(folder / MESH)
    assert (mesh.text, mesh.byte_order) == (False, "<")
    vertex, face = mesh["vertex"], mesh["face"]
    properties = [(p.name, p.val_dtype) for p in vertex.properties]
    channels = ("red", "green", "blue", "alpha")
    assert properties == [(n, "f4") for n in "xyz"] + [(n, "u1") for n in channels]
    (corners,) = face.properties
    assert (corners.name, corners.len_dtype, corners.val_dtype) == ("vertex_indices", "u1", "i4")
    np.testing.assert_array_equal(np.stack([vertex[n] for n in "xyz"], axis=-1), scene.pos)
    color = np.stack([vertex[n] for n in channels[:3]], axis=-1)
    np.testing.assert_array_equal(color, scene.color)
    assert (vertex["alpha"] == 255).all()
    np.testing.assert_array_equal(np.stack(face["vertex_indices"]), scene.faces)


def test_labels_lie_on_the_same_vertices(scene: Scene, folder: Path) -> None:
    plyfile = pytest.importorskip("plyfile")
    vertex = plyfile.PlyData.read(folder / LABELS)["vertex"]
    assert vertex.ply_property("label").val_dtype == "u2"
    np.testing.assert_array_equal(vertex["label"], scene.nyu40)
    np.testing.assert_array_equal(vertex["x"], scene.pos[:, 0])
    shown = np.stack([vertex["red"], vertex["green"], vertex["blue"]], axis=-1)
    assert (shown[scene.nyu40 == 1] == SCANNET20.colors[0]).all()
    assert (shown[scene.nyu40 == 29] == 128).all()
    assert (shown[scene.nyu40 == 0] == 0).all()


def test_segments_and_aggregation_give_labels_and_objects(scene: Scene, folder: Path) -> None:
    segs = json.loads((folder / f"{NAME}_vh_clean_2.0.010000.segs.json").read_text())
    np.testing.assert_array_equal(segs["segIndices"], scene.segment)
    groups = json.loads((folder / f"{NAME}.aggregation.json").read_text())["segGroups"]
    assert [group["id"] for group in groups] == list(range(len(groups)))
    assert [group["objectId"] for group in groups] == list(range(len(groups)))
    nyu40, instance = np.zeros_like(scene.nyu40), np.full_like(scene.instance, -1)
    for group in groups:
        mask = np.isin(scene.segment, group["segments"])
        assert mask.any()
        assert (instance[mask] == -1).all(), "a segment is in one group"
        nyu40[mask], instance[mask] = NYU40[group["label"]], group["objectId"]
    np.testing.assert_array_equal(nyu40, scene.nyu40)
    pairs = np.unique(np.stack([instance, scene.instance]), axis=1)
    assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]


def test_alignment_and_rooms(scene: Scene, folder: Path) -> None:
    lines = dict(line.split(" = ") for line in (folder / f"{NAME}.txt").read_text().splitlines())
    alignment = np.array(lines["axisAlignment"].split(), float).reshape(4, 4)
    np.testing.assert_allclose(alignment, scene.alignment, atol=1e-6)
    rooms = np.load(folder / f"{NAME}.rooms.npy")
    assert rooms.dtype == np.int16
    np.testing.assert_array_equal(rooms, scene.room)


def test_test_scan_has_the_mesh_and_no_alignment(scene: Scene, folder: Path, tmp_path) -> None:
    write_scan(scene, tmp_path, NAME, annotated=False)
    assert {path.name for path in tmp_path.iterdir()} == {MESH, f"{NAME}.txt"}
    assert (tmp_path / MESH).read_bytes() == (folder / MESH).read_bytes()
    assert "axisAlignment" not in (tmp_path / f"{NAME}.txt").read_text()


def test_label_table_knows_every_category() -> None:
    rows = list(csv.DictReader(io.StringIO(label_table()), delimiter="\t"))
    first = ["id", "raw_category", "category", "count", "nyu40id", "eigen13id", "nyuClass"]
    assert list(rows[0]) == [*first, "nyu40class"]
    assert {row["raw_category"]: int(row["nyu40id"]) for row in rows} == NYU40
    for row in rows:
        assert SCANNET200.names[SCANNET200.ids.index(int(row["id"]))] == row["raw_category"]
    classes = {int(row["nyu40id"]): row["nyu40class"] for row in rows}
    assert classes[24] == "refridgerator", "NYU40 spells it so"
    assert classes[36] == "bathtub"


def test_our_reader_reads_what_we_write(scene: Scene, folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("open3d")
    from latentgraph.scannet.reader import read_scan

    (tmp_path / "scannetv2-labels.combined.tsv").write_text(label_table())
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / NAME).symlink_to(folder)
    scan = read_scan(tmp_path / "scans" / NAME)
    assert scan.remarks == []
    np.testing.assert_array_equal(scan.nyu40, scene.nyu40)
    np.testing.assert_array_equal(scan.pos, scene.pos)
    np.testing.assert_array_equal(scan.color, scene.color)
    np.testing.assert_array_equal(scan.faces, scene.faces)
    np.testing.assert_array_equal(scan.room, scene.room)
    raw = np.unique(SCANNET200.encode(scan.category))
    assert {SCANNET200.names[i] for i in raw if i >= 0} == {
        scene.categories[i] for i in np.unique(scene.instance) if i >= 0
    }
