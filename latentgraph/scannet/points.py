r"""Points from one file: PLY by plyfile, which keeps every property; tables of text; all else by
Open3D.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentgraph.needs import need
from latentgraph.scannet.pcd import check_pcd
from latentgraph.scannet.tables import read_table
from latentgraph.scannet.textures import colors_of_pictures, keywords, names_outside

_TABLES = (".xyz", ".xyzn", ".xyzrgb")
_CLOUDS = (".pcd", ".pts")
_MESHES = (".obj", ".off", ".stl")
_ELEMENT = re.compile(rb"^element[ \t]+(\w+)[ \t]+(\d{1,18})[ \t]*\r?$", re.MULTILINE)


class ScanError(ValueError):
    r"""A scan that cannot be used. The message is one line with the file and the reason."""


@dataclass
class Points:
    r"""What one file says about V points.

    Args:
        pos: Positions, (V, 3), in the file's own unit and axes (meters, z up in ScanNet); float32
            where they were read in single precision, else float64.
        color: Colors, (V, 3) uint8, or None.
        normal: Normals, (V, 3) float32, of length 1, or 0 where the file has none; or None.
        faces: Corners of the triangles, (F, 3) int64, or None.
        label: The property ``label``, (V,) int64, or None. In ScanNet these are NYU40 ids.
        remarks: What else was odd, a line each.
    """

    pos: NDArray[np.floating[Any]]
    color: NDArray[np.uint8] | None = None
    normal: NDArray[np.float32] | None = None
    faces: NDArray[np.int64] | None = None
    label: NDArray[np.int64] | None = None
    remarks: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.pos)


def read_points(path: str | Path) -> Points:
    r"""Read a point cloud or a mesh, with whatever it has of colors, normals, faces and labels.

    Args:
        path: A PLY file, text or binary; a table of text, XYZ; or one of another format that Open3D
            reads: PCD, PTS, OBJ, OFF, STL. Columns of a table are the position, then the color, or
            a normal where all have length 1, or normal and color, then a label. Pictures on an OBJ
            give its vertices their colors.

    Returns:
        V points, with None for what the file has not.

    Raises:
        ScanError: If the file is missing, damaged or cut off, of another type, without points, or
            has positions that are not finite.
        ImportError: If the package that reads this type is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise ScanError(f"{path}: no such file")
    kind = Path(f"_{path.name}").suffix.lower()  # of a file named ".ply" as well
    if kind == ".ply":
        points = _read_ply(path)
    elif kind in _TABLES:
        points = _read_table(path)
    elif kind in _CLOUDS:
        points = _read_cloud(path, kind)
    elif kind in _MESHES:
        points = _read_mesh(path, kind)
    else:
        known = ", ".join((".ply", *_TABLES, *_CLOUDS, *_MESHES))
        raise ScanError(f"{path}: expected a file of type {known}, got {kind or 'none'}")
    if len(points) == 0:
        raise ScanError(f"{path}: the file has no points")
    bad = int((~np.isfinite(_floats(points.pos))).any(axis=1).sum())
    if bad:
        raise ScanError(f"{path}: {bad} of {len(points)} points have NaN or infinite coordinates")
    return points


def vertex_count(path: str | Path) -> int:
    r"""Number of vertices that the header of a PLY file announces.

    Raises:
        ScanError: If the file is missing or has no such header.
    """
    return _announced(Path(path)).get("vertex", 0)


def _announced(path: Path) -> dict[str, int]:
    try:
        with path.open("rb") as file:
            start = file.read(1 << 16)
    except OSError as error:
        raise ScanError(f"{path}: {error.strerror}") from error
    header, end, _ = start.partition(b"end_header")
    if not header.startswith(b"ply") or not end:
        raise ScanError(f"{path}: not a PLY file, or cut off within its header")
    return {name.decode(): int(count) for name, count in _ELEMENT.findall(header)}


def _read_ply(path: Path) -> Points:
    plyfile = need("plyfile", "to read PLY files", "scannet")
    announced, size = _announced(path), path.stat().st_size
    if sum(announced.values()) > size:  # found out here, before memory for them is asked for
        raise ScanError(f"{path}: cut off: {announced} announced, in {size:,} bytes")
    try:
        elements = _elements(plyfile, path)
        vertex = elements["vertex"].data
        pos = _columns(vertex, "x", "y", "z")
        color = _columns(vertex, "red", "green", "blue")
        normal = _columns(vertex, "nx", "ny", "nz")
        label = _columns(vertex, "label")
        faces = _triangles(elements["face"].data) if announced.get("face") else None
    except (
        plyfile.PlyParseError,
        KeyError,
        MemoryError,
        OSError,
        OverflowError,
        ValueError,
    ) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ScanError(f"{path}: damaged or cut off at {size:,} bytes: {reason}") from error
    if pos is None:
        raise ScanError(f"{path}: expected vertex properties x, y, z, got {vertex.dtype.names}")
    if faces is not None and len(faces) and not 0 <= faces.min() <= faces.max() < len(pos):
        raise ScanError(f"{path}: a face has a corner that is none of the {len(pos)} vertices")
    return Points(
        pos=_positions(pos),
        color=None if color is None else _bytes(color, path),
        normal=None if normal is None else _unit(normal),
        faces=faces,
        label=None if label is None else _whole(label[:, 0], path),
    )


def _elements(plyfile: Any, path: Path) -> Any:
    triangles = {"vertex_indices": 3, "vertex_index": 3}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numpy, on empty lists
        try:
            return plyfile.PlyData.read(path, known_list_len={"face": triangles})  # mapped at once
        except plyfile.PlyElementParseError as error:
            if "list length" not in str(error):
                raise
            return plyfile.PlyData.read(path)  # row by row


def _read_table(path: Path) -> Points:
    try:
        columns = read_table(path)
    except (OSError, ValueError) as error:
        raise ScanError(f"{path}: {' '.join(str(error).split())}") from error
    return _from_columns(columns, path)


def _from_columns(columns: dict[str, NDArray[Any]], path: Path) -> Points:
    color, normal, label = (columns.get(name) for name in ("color", "normal", "label"))
    return Points(
        pos=_positions(columns["pos"]),
        color=None if color is None else _bytes(color, path),
        normal=None if normal is None else _unit(normal),
        label=None if label is None else _whole(label.reshape(-1), path),
    )


def _read_cloud(path: Path, kind: str) -> Points:
    o3d = need("open3d", f"to read {kind} files", "scannet")
    names = {"positions": "pos", "colors": "color", "normals": "normal", "label": "label"}
    with o3d.utility.VerbosityContextManager(o3d.utility.VerbosityLevel.Error):
        try:
            if kind == ".pcd":
                check_pcd(path)
            found = o3d.t.io.read_point_cloud(str(path.absolute())).point
        except (OSError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ScanError(f"{path}: damaged or cut off: {reason}") from error
        # Copied, since the memory is Open3D's.
        columns = {names[key]: found[key].numpy().copy() for key in found if key in names}
    if "pos" not in columns:
        raise ScanError(f"{path}: the file has no points")
    return _from_columns(columns, path)


def _read_mesh(path: Path, kind: str) -> Points:
    o3d = need("open3d", f"to read {kind} files", "scannet")
    for name in names_outside(path) if kind == ".obj" else ():
        raise ScanError(f"{path}: expected materials and pictures in its folder, got {name!r}")
    with o3d.utility.VerbosityContextManager(o3d.utility.VerbosityLevel.Error):
        mesh = o3d.io.read_triangle_mesh(str(path.absolute()))
    pos = np.asarray(mesh.vertices).reshape(-1, 3)
    faces = np.asarray(mesh.triangles, dtype=np.int64)
    lines = keywords(path) if kind == ".obj" else {"v": len(pos), "f": len(faces)}
    if lines["f"] != len(faces):
        raise ScanError(
            f"{path}: Open3D can read {len(faces)} of the {lines['f']} faces, since it takes "
            "triangles alone; polygons go into PLY, or are exported as triangles"
        )
    if not len(pos):
        raise ScanError(f"{path}: no faces that Open3D can read; points alone go into PLY or XYZ")
    remarks = []
    if lines["v"] != len(pos):
        remarks.append(
            f"{len(pos)} vertices where the file has {lines['v']}: Open3D leaves out those of no "
            "face, and has those twice that two materials share"
        )
    color, normal = np.asarray(mesh.vertex_colors), np.asarray(mesh.vertex_normals)
    pictures = [np.asarray(picture) for picture in mesh.textures]
    if not len(color) and any(picture.ndim == 3 for picture in pictures):
        uv, material = np.asarray(mesh.triangle_uvs), np.asarray(mesh.triangle_material_ids)
        color = colors_of_pictures(len(pos), faces, uv, material, pictures)
    return Points(
        pos=_floats(pos),  # Open3D parses them in single precision
        color=_bytes(color, path) if len(color) else None,
        normal=_unit(normal) if len(normal) else None,
        faces=faces if len(faces) else None,
        remarks=remarks,
    )


def _columns(vertex: NDArray[Any], *names: str) -> NDArray[Any] | None:
    if not set(names) <= set(vertex.dtype.names or ()):
        return None
    return np.stack([vertex[name] for name in names], axis=1)


def _triangles(face: NDArray[Any]) -> NDArray[np.int64] | None:
    r"""Corners of the faces; a polygon becomes a fan of triangles."""
    name = next(
        (n for n in ("vertex_indices", "vertex_index") if n in (face.dtype.names or ())), None
    )
    if name is None:
        return None
    corners = face[name]
    if corners.dtype == object:
        fans = [(c[0], c[i], c[i + 1]) for c in corners for i in range(1, len(c) - 1)]
        corners = np.asarray(fans, dtype=np.int64).reshape(-1, 3)
    return np.array(corners, dtype=np.int64)


def _positions(values: NDArray[Any]) -> NDArray[np.floating[Any]]:
    return values if values.dtype == np.float32 else values.astype(np.float64)


def _floats(values: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # too large becomes infinite, which is refused
        return values.astype(np.float32, copy=False)


def _bytes(color: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    r"""Colors as bytes, from bytes in any type, from 16 bits, or from fractions of 1."""
    low, high = float(color.min(initial=0)), float(color.max(initial=0))
    fits = 0 <= low <= high <= 255
    if color.dtype == np.uint16 and high > 255:  # else bytes in a wider type
        color, fits = color / 257.0, True
    # Fractions may have been rounded up; bytes written as fractional numbers go far beyond 1.
    elif color.dtype.kind == "f" and high < 1.001:
        color = np.minimum(color, 1.0) * 255.0
    elif color.dtype.kind == "f" and high < 2:
        fits = False
    if not fits:
        expected = "colors from 0 to 255 or fractions from 0 to 1"
        raise ScanError(f"{path}: expected {expected}, got {low:g} to {high:g}")
    whole: NDArray[np.uint8] = np.rint(color).astype(np.uint8)
    return whole


def _whole(label: NDArray[Any], path: Path) -> NDArray[np.int64]:
    r"""Labels, also those that a program wrote as fractional numbers."""
    if label.dtype.kind == "f" and not (np.abs(label) < 1 << 53).all():
        raise ScanError(f"{path}: expected whole numbers as labels, got NaN or too large ones")
    whole = label.astype(np.int64)
    if (different := label != whole).any():
        raise ScanError(f"{path}: expected whole numbers as labels, got {label[different][0]}")
    return whole


def _unit(normal: NDArray[Any]) -> NDArray[np.float32]:
    normal = np.nan_to_num(_floats(normal).astype(np.float64), posinf=0.0, neginf=0.0)
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    return _floats(np.divide(normal, length, out=np.zeros_like(normal), where=length > 0))
