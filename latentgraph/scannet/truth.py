r"""The truth of a scan, from its segments, the objects that they make up, and the label table."""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentgraph.scannet.points import ScanError

TABLE_NAME = "scannetv2-labels.combined.tsv"
NUM_NYU40 = 40


@dataclass
class Truth:
    r"""What is known of each of V vertices.

    Args:
        nyu40: NYU40 id, (V,) int16, 0 where unannotated.
        category: Raw id of the label table, (V,) int16, 0 where unannotated.
        instance: ``objectId`` of the object, (V,) int32, -1 where there is none.
        unknown: Categories that the label table does not know, left unannotated, a line each.
        remarks: What else was odd, a line each.
    """

    nyu40: NDArray[np.int16]
    category: NDArray[np.int16]
    instance: NDArray[np.int32]
    unknown: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def read_label_table(path: str | Path) -> dict[str, tuple[int, int]]:
    r"""NYU40 id and raw id of each raw category name.

    Args:
        path: ``scannetv2-labels.combined.tsv``, at the root of the release.

    Raises:
        ScanError: If the table is missing, lacks a column, or has an id that cannot be.
    """
    table: dict[str, tuple[int, int]] = {}
    try:
        with Path(path).open(encoding="utf-8", newline="") as lines:
            rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
            for row in rows:
                ids = int(row["nyu40id"]), int(row["id"])
                if not (0 <= ids[0] <= NUM_NYU40 and 0 < ids[1] < 1 << 15):
                    raise ValueError(f"NYU40 id {ids[0]} with raw id {ids[1]} is no class")
                table[row["raw_category"]] = ids
    except KeyError as error:
        raise ScanError(f"{path}: expected a column {error}") from error
    except OSError as error:
        raise ScanError(f"{path}: {error.strerror}") from error
    except (TypeError, ValueError, csv.Error) as error:
        raise ScanError(f"{path}: after {len(table)} rows: {error}") from error
    if not table:
        raise ScanError(f"{path}: the table is empty")
    return table


def read_truth(
    segs: str | Path, aggregation: str | Path, table: dict[str, tuple[int, int]], num_vertices: int
) -> Truth:
    r"""Labels and objects of the vertices of one mesh.

    Categories that are not in the table, and segments that are not in the mesh, are named; where
    objects share a segment the last one has it.

    Args:
        segs: ``<scene>_vh_clean_2.0.010000.segs.json``.
        aggregation: ``<scene>.aggregation.json``.
        table: What :func:`read_label_table` returns.
        num_vertices: Number of vertices of the mesh.

    Raises:
        ScanError: If a file is damaged, or they belong to another mesh.
    """
    segment = _read_segments(Path(segs), num_vertices)
    ids, segment_of_vertex = np.unique(segment, return_inverse=True)
    nyu40 = np.zeros(len(ids), dtype=np.int16)
    category = np.zeros(len(ids), dtype=np.int16)
    instance = np.full(len(ids), -1, dtype=np.int32)

    not_in_table: Counter[str] = Counter()
    named = missing = shared = 0
    for name, object_id, wanted in _read_objects(Path(aggregation)):
        place = np.searchsorted(ids, wanted).clip(max=len(ids) - 1)
        place = place[ids[place] == wanted]
        named += len(wanted)
        missing += len(wanted) - len(place)
        shared += int((instance[place] >= 0).sum())
        if name not in table:
            not_in_table[name] += 1
        nyu40[place], category[place] = table.get(name, (0, 0))
        instance[place] = object_id
    if named and named == missing:
        raise ScanError(f"{aggregation}: none of its segments is in {Path(segs).name}")

    unknown = [
        f"category {name!r} of {count} object{'s' * (count > 1)} is not in the label table"
        for name, count in sorted(not_in_table.items())
    ]
    remarks = []
    if missing:
        remarks.append(f"{missing} of {named} segments of the aggregation are not in the mesh")
    if shared:
        remarks.append(f"segments of more than one object: {shared}; the last object has them")
    return Truth(
        nyu40[segment_of_vertex],
        category[segment_of_vertex],
        instance[segment_of_vertex],
        unknown,
        remarks,
    )


def _read_segments(path: Path, num_vertices: int) -> NDArray[np.int64]:
    segment = _integers(_read_json(path, "segIndices"), f"{path}: segIndices")
    if len(segment) != num_vertices:
        raise ScanError(
            f"{path}: expected {num_vertices} entries, one for each vertex of the mesh, got "
            f"{len(segment)}; is one of them of the high-resolution mesh _vh_clean?"
        )
    return segment


def _read_objects(path: Path) -> list[tuple[str, int, NDArray[np.int64]]]:
    groups = _read_json(path, "segGroups")
    objects = []
    for group in groups:
        try:
            name, object_id = group["label"], group["objectId"]
            wanted = _integers(group["segments"], f"{path}: segments")
        except (KeyError, TypeError) as error:
            raise ScanError(
                f"{path}: expected label, objectId and segments of each object"
            ) from error
        if not isinstance(name, str) or type(object_id) is not int or not 0 <= object_id < 1 << 31:
            raise ScanError(f"{path}: {name!r} with objectId {object_id!r} is no object")
        objects.append((name, object_id, wanted))
    return objects


def _read_json(path: Path, key: str) -> list[Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise ScanError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ScanError(f"{path}: damaged or cut off: {error}") from error
    found = content.get(key) if isinstance(content, dict) else None
    if not isinstance(found, list):
        raise ScanError(f"{path}: expected a list {key!r}")
    return found


def _integers(values: Any, what: str) -> NDArray[np.int64]:
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        raise ScanError(f"{what} must be a list of integers")
    try:
        return np.asarray(values, dtype=np.int64)
    except OverflowError as error:
        raise ScanError(f"{what}: {error}") from error
