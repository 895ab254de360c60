from pathlib import Path

import pytest
from raw_scans import MakeScan

from latentgraph.scannet.check import check


def test_a_whole_release_needs_no_words(make_scan: MakeScan, tmp_path: Path) -> None:
    for name in ("scene0000_00", "scene0011_00", "scene0707_00"):
        make_scan(name)
    report = check(tmp_path, progress=False)
    assert report.ok
    assert str(report) == "train 1, val 1, test 1 scans can be used, 0 left out"


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
