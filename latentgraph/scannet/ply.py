r"""Binary PLY files as ScanNet has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentgraph.scannet.into_place import into_place


def write_ply(
    path: Path,
    pos: NDArray[np.floating[Any]],
    color: NDArray[np.uint8],
    faces: NDArray[np.integer[Any]] | None = None,
    label: NDArray[np.integer[Any]] | None = None,
) -> None:
    r"""Write a mesh or a point cloud, renamed into place when it is whole.

    Args:
        path: File to write.
        pos: (V, 3), meters, written as ``double`` where they are float64, else as ``float``.
        color: (V, 3), red, green, blue.
        faces: (F, 3), corners of the triangles.
        label: (V,), from 0 to 65,535, written as ``ushort label``.
    """
    number = ("<f8", "double") if pos.dtype == np.float64 else ("<f4", "float")
    fields = [(name, *number) for name in ("x", "y", "z")]
    fields += [(name, "u1", "uchar") for name in ("red", "green", "blue", "alpha")]
    if label is not None:
        fields.append(("label", "<u2", "ushort"))
    vertex = np.empty(len(pos), dtype=[(name, dtype) for name, dtype, _ in fields])
    for names, values in (("xyz", pos), (("red", "green", "blue"), color)):
        for axis, name in enumerate(names):
            vertex[name] = values[:, axis]
    vertex["alpha"] = 255
    if label is not None:
        vertex["label"] = label
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(pos)}"]
    header += [f"property {kind} {name}" for name, _, kind in fields]
    body = vertex.tobytes()
    if faces is not None:
        face = np.empty(len(faces), dtype=[("count", "u1"), ("corners", "<i4", 3)])
        face["count"], face["corners"] = 3, faces
        header += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
        body += face.tobytes()
    with into_place(path) as part:
        part.write_bytes("\n".join([*header, "end_header", ""]).encode("ascii") + body)
