import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from raw_scans import TABLE

from latentgraph.scannet.points import ScanError
from latentgraph.scannet.truth import read_label_table, read_truth

SEGMENTS = [5, 5, 9, 2, 9, 9, 7]
KNOWN = {"wall": (1, 1), "chair": (5, 2), "bench": (39, 204)}


def _object(label: Any, object_id: Any, segments: Any) -> dict[str, Any]:
    return {"id": 0, "label": label, "objectId": object_id, "segments": segments}


def _files(folder: Path, segments: Any, groups: Any) -> tuple[Path, Path]:
    segs, aggregation = folder / "a.segs.json", folder / "a.aggregation.json"
    segs.write_text(json.dumps({"segIndices": segments}))
    aggregation.write_text(json.dumps({"segGroups": groups}))
    return segs, aggregation


def test_labels_of_vertices_by_hand(tmp_path: Path) -> None:
    groups = [_object("wall", 3, [9]), _object("bench", 0, [5, 2])]
    truth = read_truth(*_files(tmp_path, SEGMENTS, groups), KNOWN, 7)
    np.testing.assert_array_equal(truth.nyu40, [39, 39, 1, 39, 1, 1, 0])
    np.testing.assert_array_equal(truth.category, [204, 204, 1, 204, 1, 1, 0])
    np.testing.assert_array_equal(truth.instance, [0, 0, 3, 0, 3, 3, -1])
    assert truth.unknown == truth.remarks == []


def test_no_objects(tmp_path: Path) -> None:
    truth = read_truth(*_files(tmp_path, SEGMENTS, []), KNOWN, 7)
    np.testing.assert_array_equal(truth.nyu40, np.zeros(7))
    np.testing.assert_array_equal(truth.instance, np.full(7, -1))


def test_unknown_categories_stay_unannotated_and_are_named(tmp_path: Path) -> None:
    groups = [_object("sofa", 3, [9]), _object("chair", 1, [5]), _object("sofa", 4, [2])]
    truth = read_truth(*_files(tmp_path, SEGMENTS, groups), KNOWN, 7)
    np.testing.assert_array_equal(truth.nyu40, [5, 5, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(truth.instance, [1, 1, 3, 4, 3, 3, -1])
    assert truth.unknown == ["category 'sofa' of 2 objects is not in the label table"]
    assert truth.remarks == []


def test_segments_of_no_vertex_and_of_two_objects_are_named(tmp_path: Path) -> None:
    groups = [_object("wall", 3, [9, 100]), _object("chair", 1, [9, 1, 5])]
    truth = read_truth(*_files(tmp_path, SEGMENTS, groups), KNOWN, 7)
    np.testing.assert_array_equal(truth.nyu40, [5, 5, 5, 0, 5, 5, 0])
    assert truth.remarks == [
        "2 of 5 segments of the aggregation are not in the mesh",
        "segments of more than one object: 1; the last object has them",
    ]


def test_files_of_another_mesh(tmp_path: Path) -> None:
    segs, aggregation = _files(tmp_path, SEGMENTS, [_object("wall", 3, [1, 6])])
    with pytest.raises(ScanError, match=r"expected 11 entries.* got 7.*_vh_clean"):
        read_truth(segs, aggregation, KNOWN, 11)
    with pytest.raises(ScanError, match=r"none of its segments is in a\.segs\.json"):
        read_truth(segs, aggregation, KNOWN, 7)


@pytest.mark.parametrize(
    "segments", [None, {}, "abc", [1, "2"], [1.0] * 7, [True] * 7, [[1]], [1 << 70] * 7]
)
def test_damaged_segments(tmp_path: Path, segments: Any) -> None:
    with pytest.raises(ScanError, match="segIndices"):
        read_truth(*_files(tmp_path, segments, []), KNOWN, 7)


@pytest.mark.parametrize(
    "group",
    [
        None,
        [],
        {},
        _object(3, 0, [5]),
        _object("wall", "0", [5]),
        _object("wall", -1, [5]),
        _object("wall", 1 << 40, [5]),
        _object("wall", 0, None),
        _object("wall", 0, [5.5]),
    ],
)
def test_damaged_objects(tmp_path: Path, group: Any) -> None:
    segs, aggregation = _files(tmp_path, SEGMENTS, [group])
    with pytest.raises(ScanError, match=r"a\.aggregation\.json"):
        read_truth(segs, aggregation, KNOWN, 7)


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"\xff\xfe", b"3", b'{"a": 1}'])
def test_damaged_json(tmp_path: Path, content: bytes) -> None:
    segs, aggregation = _files(tmp_path, SEGMENTS, [])
    segs.write_bytes(content)
    with pytest.raises(ScanError, match=r"a\.segs\.json"):
        read_truth(segs, aggregation, KNOWN, 7)
    with pytest.raises(ScanError, match="No such file"):
        read_truth(tmp_path / "none", aggregation, KNOWN, 7)


def test_label_table(tmp_path: Path) -> None:
    path = tmp_path / "table.tsv"
    path.write_text(TABLE)
    expected = {"wall": (1, 1), "chair": (5, 2), 'double "door': (8, 1357)}
    assert read_label_table(path) == expected


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("nyu40id", "nyu41id", "expected a column 'nyu40id'"),
        ("4646\t5", "4646\tfive", "after 1 rows: invalid literal"),
        ("4646\t5", "4646\t41", "NYU40 id 41 with raw id 2 is no class"),
        ("4646\t5\tchair", "", "after 1 rows"),
        (TABLE, "", "the table is empty"),
    ],
)
def test_damaged_label_table(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "table.tsv"
    path.write_text(TABLE.replace(old, new))
    with pytest.raises(ScanError, match=message):
        read_label_table(path)
    with pytest.raises(ScanError, match="No such file"):
        read_label_table(tmp_path / "none.tsv")
