from pathlib import Path

from benchmarks.prepare import report


def test_the_table_of_a_coarse_scan(tmp_path: Path) -> None:
    lines = report(tmp_path, edge=0.3, repetitions=3).splitlines()
    assert lines[0].startswith("`python -m benchmarks.prepare`: one scan of ")
    assert lines[2] == "Seconds, median (least to most) of 3:"
    for line, step in zip(lines[6:], ("read the raw files", "prepare"), strict=True):
        name, seconds = line.strip("| ").split(" | ")
        assert name == step
        middle, least, _, most = seconds.replace("(", "").replace(")", "").split()
        assert float(least) <= float(middle) <= float(most)
