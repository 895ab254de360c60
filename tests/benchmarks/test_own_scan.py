from pathlib import Path

import pytest

from benchmarks.own_scan import NETWORKS, report


@pytest.mark.slow
def test_two_million_points_take_less_than_four_gigabytes(tmp_path: Path) -> None:
    lines = report(tmp_path, 2_000_000).splitlines()
    assert "2,000,000 colored points" in lines[0]
    for line, name in zip(lines[4:], NETWORKS, strict=True):
        network, gigabytes = line.strip("| ").split(" | ")
        assert network == name
        assert 0.2 < float(gigabytes) < 4
