from latentgraph.scannet.report import Report
from latentgraph.scannet.splits import scans_of


def test_lines() -> None:
    odd = "no colors: gray is taken"
    report = Report(
        remarks={f"scene000{i}_00": [odd] for i in range(5)}
        | {"scene0011_00": ["one thing", odd], "scene0707_00": []},
        unknown={"scene0011_00": ["category 'x'", "id 50"], "scene0000_00": ["id 149"]},
        left_out={"scene0012_01": "cut off", "kitchen": "no name of a scan"},
    )
    assert not report.ok
    assert not report.clean
    assert str(report).splitlines() == [
        "scene0000_00, scene0001_00, scene0002_00 and 3 more: no colors: gray is taken",
        "scene0011_00: one thing",
        "no class: scene0000_00: id 149",
        "no class: scene0011_00: category 'x'; id 50",
        "left out: kitchen: no name of a scan",
        "left out: scene0012_01: cut off",
        "train 5, val 1, test 1 scans can be used, 2 left out",
    ]


def test_nothing_found() -> None:
    assert str(Report()) == "train 0, val 0, test 0 scans can be used, 0 left out"


def test_labels_that_are_no_class_leave_nothing_out() -> None:
    report = Report()
    report.add("scene0000_00", [], [])
    assert report.ok
    assert report.clean
    report.add("scene0001_00", ["id 50"], [])
    assert report.ok
    assert not report.clean


def test_what_a_part_of_the_release_lacks() -> None:
    lacking = {
        "train": [n for n in scans_of("train") if n not in ("scene0000_01", "scene0706_00")],
        "val": ["scene0019_01", "scene0704_01"],
        "test": [],
    }
    assert str(Report(lacking=lacking)).splitlines()[:3] == [
        "train: 2 of 1,201 scans of the release are there, lacking scene0000_00, scene0000_02 to "
        "scene0705_02",
        "val: 310 of 312 scans of the release are there, lacking scene0019_01, scene0704_01",
        "test: all 100 scans of the release are there",
    ]
