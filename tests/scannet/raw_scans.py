r"""Tiny raw scans, written by hand from the description of the release."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROWS, COLUMNS = 7, 5
VERTICES = ROWS * COLUMNS
TABLE = """id\traw_category\tcategory\tcount\tnyu40id\tnyu40class
1\twall\twall\t8277\t1\twall
2\tchair\tchair\t4646\t5\tchair
1357\tdouble "door\tdoor\t3\t8\tdoor
"""
# Each row of the grid is a segment; rows 5 and 6 belong to no object.
SEGMENT_OF_ROW = np.array([10, 11, 40, 41, 70, 71, 99])
OBJECTS = [("wall", 4, [10, 11]), ("chair", 0, [40, 41]), ('double "door', 2, [70])]
NYU40 = np.repeat([1, 1, 5, 5, 8, 0, 0], COLUMNS)
CATEGORY = np.repeat([1, 1, 2, 2, 1357, 0, 0], COLUMNS)
INSTANCE = np.repeat([4, 4, 0, 0, 2, -1, -1], COLUMNS)
CLASS = np.repeat([0, 0, 4, 4, 7, -1, -1], COLUMNS)  # indices of scannet20

MakeScan = Callable[..., Path]


def grid() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Positions, colors and faces of a flat sheet that looks up."""
    row, column = np.divmod(np.arange(VERTICES), COLUMNS)
    pos = np.stack([0.1 * column, 0.1 * row, np.full(VERTICES, 0.3)], axis=1)
    color = np.stack([7 * row, 11 * column, 13 + row], axis=1)
    corner = (row < ROWS - 1) & (column < COLUMNS - 1)
    a = np.arange(VERTICES)[corner]
    faces = np.concatenate(
        [np.stack([a, a + 1, a + COLUMNS], 1), np.stack([a + 1, a + 1 + COLUMNS, a + COLUMNS], 1)]
    )
    return pos.astype(np.float32), color.astype(np.uint8), faces


def ply_bytes(
    vertex: list[tuple[str, str, Any]], faces: np.ndarray | None = None, order: str = "<"
) -> bytes:
    r"""A binary PLY file; each vertex property is (name, type of the header, values)."""
    types = {"float": "f4", "double": "f8", "uchar": "u1", "ushort": "u2", "int": "i4"}
    table = np.zeros(len(vertex[0][2]), [(name, order + types[kind]) for name, kind, _ in vertex])
    for name, _, values in vertex:
        table[name] = values
    header = f"ply\nformat binary_{'little' if order == '<' else 'big'}_endian 1.0\n"
    header += f"element vertex {len(table)}\n"
    header += "".join(f"property {kind} {name}\n" for name, kind, _ in vertex)
    body = table.tobytes()
    if faces is not None:
        header += f"element face {len(faces)}\nproperty list uchar int vertex_indices\n"
        rows = np.zeros(len(faces), [("n", "u1"), ("corner", order + "i4", (3,))])
        rows["n"], rows["corner"] = 3, faces
        body += rows.tobytes()
    return header.encode() + b"end_header\n" + body


def mesh_bytes(
    pos: np.ndarray,
    color: np.ndarray | None = None,
    faces: np.ndarray | None = None,
    label: np.ndarray | None = None,
) -> bytes:
    r"""A PLY file as the release has it."""
    vertex: list[tuple[str, str, Any]] = [(n, "float", pos[:, i]) for i, n in enumerate("xyz")]
    if color is not None:
        names = ("red", "green", "blue")
        vertex += [(name, "uchar", color[:, i]) for i, name in enumerate(names)]
        vertex += [("alpha", "uchar", np.full(len(pos), 255))]
    if label is not None:
        vertex.append(("label", "ushort", label))
    return ply_bytes(vertex, faces)


def write_scan(root: Path, name: str = "scene0000_00", **changes: bytes | str | None) -> Path:
    r"""Write a scan below ``root`` and return its folder.

    Keyword arguments replace the content of a file, or leave it away when they are None.
    """
    test = int(name[5:9]) >= 707
    folder = root / ("scans_test" if test else "scans") / name
    folder.mkdir(parents=True)
    pos, color, faces = grid()
    segments = np.repeat(SEGMENT_OF_ROW, COLUMNS).tolist()
    groups = [
        {"id": i, "objectId": object_id, "segments": members, "label": label}
        for i, (label, object_id, members) in enumerate(OBJECTS)
    ]
    content: dict[str, bytes | str | None] = {
        "mesh": mesh_bytes(pos, color, faces),
        "labels": None if test else mesh_bytes(pos, 255 - color, faces, NYU40),
        "segs": None if test else json.dumps({"segIndices": segments}),
        "aggregation": None if test else json.dumps({"segGroups": groups}),
        "info": "numDepthFrames = 5\n",
        "table": TABLE,
    }
    if not test:
        content["info"] = "axisAlignment = 0 -1 0 2 1 0 0 3 0 0 1 0.5 0 0 0 1 \nx = y\n"
    paths = {
        "mesh": folder / f"{name}_vh_clean_2.ply",
        "labels": folder / f"{name}_vh_clean_2.labels.ply",
        "segs": folder / f"{name}_vh_clean_2.0.010000.segs.json",
        "aggregation": folder / f"{name}.aggregation.json",
        "info": folder / f"{name}.txt",
        "table": root / "scannetv2-labels.combined.tsv",
    }
    for key, data in (content | changes).items():
        if data is not None:
            paths[key].write_bytes(data.encode() if isinstance(data, str) else data)
    return folder
