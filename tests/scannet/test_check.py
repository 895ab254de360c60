from pathlib import Path

import numpy as np
import pytest
from raw_scans import MakeScan, grid, mesh_bytes

from latentgraph.cli import main
from latentgraph.scannet.check import check
from latentgraph.scannet.rooms import write_rooms


def test_a_part_of_the_release_is_named_as_such(make_scan: MakeScan, tmp_path: Path) -> None:
    for name in ("scene0000_00", "scene0011_00", "scene0707_00"):
        make_scan(name)
    report = check(tmp_path, progress=False)
    assert report.clean
    assert str(report).splitlines() == [
        "train: 1 of 1,201 scans of the release are there, lacking scene0000_01 to scene0706_00",
        "val: 1 of 312 scans of the release are there, lacking scene0011_01 to scene0704_01",
        "test: 1 of 100 scans of the release are there, lacking scene0708_00 to scene0806_00",
        "train 1, val 1, test 1 scans can be used, 0 left out",
    ]


def test_scans_that_cannot_be_used_are_there(make_scan: MakeScan, tmp_path: Path) -> None:
    make_scan("scene0000_00")
    make_scan("scene0000_01", mesh=None)
    make_scan("scene0000_03")
    report = check(tmp_path, progress=False)
    assert report.lacking["train"][:2] == ["scene0000_02", "scene0001_00"]
    assert report.remarks["scene0000_03"] == ["no scan of the release has this name"]


def test_generated_rooms_are_no_part_of_the_release(tmp_path: Path) -> None:
    write_rooms(tmp_path, num_train=1, num_val=1, progress=False)
    report = check(tmp_path, progress=False)
    assert report.clean
    assert str(report) == "train 1, val 1, test 0 scans can be used, 0 left out"


def test_labels_that_are_no_class_are_one_line_for_each_scan(
    make_scan: MakeScan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pos, color, faces = grid()
    odd = mesh_bytes(pos, color, faces, np.repeat([1, 5, 50, 149, 0], 7))
    table = "id\traw_category\tnyu40id\n1\twall\t1\n2\tchair\t5\n"
    for name in ("scene0000_00", "scene0000_01", "scene0001_00", "scene0002_00"):
        make_scan(name, labels=odd if name != "scene0001_00" else None, table=table)
    said = "category 'double \"door' of 1 object is not in the label table"
    ids = [f"id {value} on 7 vertices of labels.ply is no NYU40 class" for value in (50, 149)]
    report = check(tmp_path, progress=False)
    assert report.ok
    assert not report.clean
    assert report.unknown["scene0002_00"] == [said, *ids]
    assert main(["check", str(tmp_path)]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("no class: ")]
    assert lines == [
        f"no class: scene0000_00: {said}; {'; '.join(ids)}",
        f"no class: scene0000_01: {said}; {'; '.join(ids)}",
        f"no class: scene0001_00: {said}",
        f"no class: scene0002_00: {said}; {'; '.join(ids)}",
    ]


def test_what_is_missing_is_named_scene_by_scene(make_scan: MakeScan, tmp_path: Path) -> None:
    make_scan("scene0000_00", segs=None, info=None)
    make_scan("scene0011_00", labels=None)
    make_scan("scene0707_00", info=None)
    make_scan("scene0708_00", mesh=None)
    report = check(tmp_path, progress=False)
    assert report.remarks == {
        "scene0000_00": [
            "not there: scene0000_00_vh_clean_2.0.010000.segs.json, scene0000_00.txt",
            "labels are those of labels.ply, for want of segs",
        ],
        "scene0011_00": ["not there: scene0011_00_vh_clean_2.labels.ply"],
        "scene0707_00": ["not there: scene0707_00.txt"],
    }
    assert list(report.left_out) == ["scene0708_00"]
    assert "scene0708_00_vh_clean_2.ply: no such file" in report.left_out["scene0708_00"]


def test_without_the_label_table(make_scan: MakeScan, tmp_path: Path) -> None:
    make_scan(table=None)
    report = check(tmp_path, progress=False)
    assert report.remarks["scene0000_00"][0] == "not there: scannetv2-labels.combined.tsv"


def test_nothing_is_written(make_scan: MakeScan, tmp_path: Path) -> None:
    make_scan()
    before = sorted(tmp_path.rglob("*"))
    check(tmp_path, progress=False)
    assert sorted(tmp_path.rglob("*")) == before


def test_no_scans(tmp_path: Path) -> None:
    (tmp_path / "scans_test").mkdir()
    with pytest.raises(FileNotFoundError, match="there are no scans under"):
        check(tmp_path)
