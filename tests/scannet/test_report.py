from latentgraph.scannet.report import Report


def test_lines() -> None:
    odd = "no colors: gray is taken"
    report = Report(
        remarks={f"scene000{i}_00": [odd] for i in range(5)}
        | {"scene0011_00": ["one thing", odd], "scene0707_00": []},
        left_out={"scene0012_01": "cut off", "kitchen": "no name of a scan"},
    )
    assert not report.ok
    assert str(report).splitlines() == [
        "scene0000_00, scene0001_00, scene0002_00 and 3 more: no colors: gray is taken",
        "scene0011_00: one thing",
        "left out: kitchen: no name of a scan",
        "left out: scene0012_01: cut off",
        "train 5, val 1, test 1 scans can be used, 2 left out",
    ]


def test_nothing_found() -> None:
    assert str(Report()) == "train 0, val 0, test 0 scans can be used, 0 left out"
