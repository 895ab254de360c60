from pathlib import Path

import numpy as np
import pytest

from latentgraph.scannet.rooms.raw import label_table

DATA = Path(__file__).parents[3] / "data"
SCENE = DATA / "rooms" / "scans" / "scene0011_00"


def test_data_is_small() -> None:
    assert sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file()) < 300_000


def test_small_scene_reads_with_its_truth() -> None:
    pytest.importorskip("open3d")
    from latentgraph.scannet.reader import read_scan

    scan = read_scan(SCENE)
    assert scan.remarks == []
    assert scan.nyu40 is not None
    assert scan.alignment is not None
    assert scan.room is not None
    assert (scan.room == 0).all()
    bathroom = {1, 2, 3, 8, 9, 12, 28, 33, 34, 36}
    assert bathroom <= set(np.unique(scan.nyu40).tolist())
    assert (scan.nyu40 == 0).mean() < 0.05


def test_label_table_is_the_current_one() -> None:
    table = DATA / "rooms" / "scannetv2-labels.combined.tsv"
    assert table.read_text(encoding="utf-8") == label_table()
