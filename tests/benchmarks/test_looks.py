from benchmarks.looks import report


def test_the_table_of_a_coarse_scene() -> None:
    lines = report(edge=0.5, looks=1).splitlines()
    assert "median (least to most) of 1, and memory" in lines[2]
    rows = [line.strip("| ").split(" | ") for line in lines[6:]]
    assert [row[:2] for row in rows] == [
        [f"that of `{recipe}`", scene]
        for recipe in ("demo", "scannet20")
        for scene in ("whole", "`--fragment 4`")
    ]
    assert all(float(row[2].split(" (")[0]) > 0 for row in rows)
    assert all(float(row[3]) >= 0 for row in rows)
