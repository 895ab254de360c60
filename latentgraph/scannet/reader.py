r"""One scan as it lies on the disk: a folder of the release, or any file of points."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentgraph.scannet.frame import COARSEST, in_meters, near_zero, spacing
from latentgraph.scannet.normals import estimate_normals, vertex_normals
from latentgraph.scannet.points import Points, ScanError, read_points
from latentgraph.scannet.truth import NUM_NYU40, TABLE_NAME, read_label_table, read_truth

MESH = "_vh_clean_2.ply"
FILES = {
    "mesh": MESH,
    "labels": "_vh_clean_2.labels.ply",
    "segs": "_vh_clean_2.0.010000.segs.json",
    "aggregation": ".aggregation.json",
    "info": ".txt",
    "rooms": ".rooms.npy",
}
r"""What follows the name of the scan in the names of its files."""


@dataclass
class Scan:
    r"""Everything known about one scan of V vertices.

    Args:
        name: Name of the scan, or of the file without its ending.
        pos: Positions, (V, 3) float32, meters, z up, from :attr:`origin`.
        color: Colors, (V, 3) uint8.
        normal: Normals, (V, 3) float32, of length 1 or 0.
        faces: Corners of the triangles, (F, 3) int64, or None.
        nyu40: NYU40 id, (V,) int16, 0 where unannotated; None where nothing is known.
        category: Raw id of the label table, (V,) int16, 0 where unannotated, or None.
        instance: Object of the vertex, (V,) int32, -1 where there is none, or None.
        room: Room of the vertex, (V,) int64, or None; generated scenes have it.
        alignment: Turns and moves the scan to the axes of its room, (4, 4) float64, or None.
        generated: Whether it says that ``latentgraph rooms`` made it.
        origin: Where positions are zero, (3,) float64, meters: (0, 0, 0) unless they are so far
            from there that single precision would round them to more than 1 mm.
        unknown: Categories and label ids that are no class, left unannotated, a line each.
        remarks: What else was odd and how it was dealt with, a line each.
    """

    name: str
    pos: NDArray[np.float32]
    color: NDArray[np.uint8]
    normal: NDArray[np.float32]
    faces: NDArray[np.int64] | None = None
    nyu40: NDArray[np.int16] | None = None
    category: NDArray[np.int16] | None = None
    instance: NDArray[np.int32] | None = None
    room: NDArray[np.int64] | None = None
    alignment: NDArray[np.float64] | None = None
    generated: bool = False
    origin: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    unknown: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def place(self) -> NDArray[np.floating[Any]]:
        r"""Positions where the files have them, (V, 3); float64 unless :attr:`origin` is zero."""
        return self.pos + self.origin if self.origin.any() else self.pos


def find_scans(root: str | Path) -> list[Path]:
    r"""The folders in ``scans/`` and ``scans_test/`` under :obj:`root`, by name, no hidden ones.

    Raises:
        FileNotFoundError: If :obj:`root` has neither.
        ScanError: If a scan is in both.
    """
    parents = [Path(root) / name for name in ("scans", "scans_test")]
    if not any(parent.is_dir() for parent in parents):
        raise FileNotFoundError(f"expected a folder scans/ or scans_test/ in {root}, found neither")
    scans: dict[str, Path] = {}
    for parent in filter(Path.is_dir, parents):
        for scan in filter(Path.is_dir, parent.iterdir()):
            if scan.name.startswith("."):  # of a file manager or a notebook
                continue
            if scan.name in scans:
                raise ScanError(f"{scan.name} is in scans/ and in scans_test/ under {root}")
            scans[scan.name] = scan
    return [scans[name] for name in sorted(scans)]


def scan_files(folder: Path) -> dict[str, Path]:
    r"""The files of a scan that are there, by their keys in :data:`FILES`; with them the table."""
    paths = {key: folder / f"{folder.name}{ending}" for key, ending in FILES.items()}
    paths["table"] = folder.absolute().parent.parent / TABLE_NAME
    return {key: path for key, path in paths.items() if path.is_file()}


def read_scan(path: str | Path, unit: str = "m", up: str = "z") -> Scan:
    r"""Read a scan of the release or of one's own.

    The truth is that of segments, aggregation and label table; ``labels.ply`` where one of them is
    not there. Ids and categories that are no class are left unannotated and named. Normals are the
    file's own, else those of the faces, else estimated.

    Args:
        path: Folder of a scan, ``<root>/scans/<scene>``, or any file that
            :func:`~latentgraph.scannet.points.read_points` reads. The mesh of a scan stands for
            its folder.
        unit: Unit of the file: ``"m"``, ``"cm"``, ``"mm"``, ``"ft"`` or ``"in"``.
        up: The axis that goes up in it.

    Returns:
        Positions, colors, normals, and the truth where it is known, all of V vertices.

    Raises:
        ScanError: If a file is missing or damaged, files of different meshes are mixed, there are
            no points, or positions are not finite.
        ValueError: If there is no such unit or axis, or a folder has others than meters and z.
        ImportError: If a package that is needed for this is not installed.
    """
    path = Path(path)
    if path.name in ("", ".."):  # the working folder and the one above have a name as well
        path = path.resolve()
    if path.name == f"{path.absolute().parent.name}{MESH}":
        path = path.absolute().parent
    if not path.is_dir():
        return _read_file(path, unit, up)
    if (unit, up) != ("m", "z"):
        raise ValueError(
            f"{path} is a scan of the release, in meters with z up, got unit {unit} with {up} up"
        )

    files = scan_files(path)
    if "mesh" not in files and (found := [*path.glob("scans*/*/")]):
        raise ScanError(f"{path}: expected one scan, got the root of {len(found)}: {min(found)}?")
    scan = _scan(path.name, read_points(path / f"{path.name}{MESH}"))
    _add_truth(scan, files)
    if "rooms" in files:
        scan.room = _read_rooms(files["rooms"], len(scan.pos))
    if "info" in files:
        _add_info(scan, files["info"])
    return scan


def _read_file(path: Path, unit: str, up: str) -> Scan:
    points = in_meters(read_points(path), unit, up)
    scan = _scan(path.stem, points)
    if points.label is not None:
        scan.nyu40 = _nyu40(points.label, path.name, scan.unknown)
    return scan


def _scan(name: str, points: Points) -> Scan:
    remarks = list(points.remarks)
    pos, origin = near_zero(points.pos)
    if origin.any():
        moved = ", ".join(f"{meters:.0f}" for meters in origin)
        remarks.append(f"coordinates far from zero: counted from {moved} m")
    if (step := spacing(pos)) > COARSEST:
        remarks.append(
            f"coordinates so far from zero that they are rounded to {step:g} m: move them to zero"
        )
    color, normal = points.color, points.normal
    if color is None:
        remarks.append("no colors: gray is taken")
        color = np.full((len(points), 3), 128, dtype=np.uint8)
    if normal is None and points.faces is not None:
        normal = vertex_normals(pos, points.faces)
    elif normal is None:
        remarks.append("no normals and no faces: normals are estimated")
        normal = estimate_normals(pos)
    return Scan(name, pos, color, normal, points.faces, origin=origin, remarks=remarks)


def _add_truth(scan: Scan, files: dict[str, Path]) -> None:
    lacking = [key for key in ("segs", "aggregation", "table") if key not in files]
    if not lacking:
        table = read_label_table(files["table"])
        truth = read_truth(files["segs"], files["aggregation"], table, len(scan.pos))
        scan.nyu40, scan.category, scan.instance = truth.nyu40, truth.category, truth.instance
        scan.unknown += truth.unknown
        scan.remarks += truth.remarks
    if "labels" not in files:
        return
    path = files["labels"]
    label = read_points(path).label
    if label is None:
        raise ScanError(f"{path}: expected a vertex property 'label'")
    if len(label) != len(scan.pos):
        raise ScanError(
            f"{path}: expected {len(scan.pos)} vertices, as many as the mesh has, got {len(label)};"
            " is one of them of the high-resolution mesh _vh_clean?"
        )
    shown = _nyu40(label, "labels.ply", scan.unknown)
    if scan.nyu40 is None:
        scan.remarks.append(f"labels are those of labels.ply, for want of {' and '.join(lacking)}")
        scan.nyu40 = shown
    elif different := int((shown != scan.nyu40).sum()):
        scan.remarks.append(
            f"labels.ply differs from the aggregation on {different} of {len(shown)} vertices: "
            "the aggregation counts"
        )


def _nyu40(label: NDArray[np.int64], source: str, unknown: list[str]) -> NDArray[np.int16]:
    foreign = (label < 0) | (label > NUM_NYU40)
    for value, count in zip(*np.unique(label[foreign], return_counts=True), strict=True):
        unknown.append(f"id {value} on {count} vertices of {source} is no NYU40 class")
    return np.where(foreign, 0, label).astype(np.int16)


def _read_rooms(path: Path, num_vertices: int) -> NDArray[np.int64]:
    try:
        room = np.lib.format.read_array(io.BytesIO(path.read_bytes()), allow_pickle=False)
    except Exception as error:  # numpy has no exception of its own for a damaged file
        reason = " ".join(str(error).split())
        raise ScanError(f"{path}: damaged or cut off: {reason}") from error
    if room.shape != (num_vertices,) or room.dtype.kind not in "iu":
        raise ScanError(
            f"{path}: expected {num_vertices} integers, got {room.dtype} of shape {room.shape}"
        )
    return np.asarray(room, dtype=np.int64)


def _add_info(scan: Scan, path: Path) -> None:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ScanError(f"{path}: {error.strerror}") from error
    facts = dict(re.findall(r"^[ \t]*(\w+)[ \t]*=(.*)$", text, re.MULTILINE))
    scan.generated = facts.get("generator", "").strip() == "latentgraph rooms"
    if "axisAlignment" not in facts:
        return
    try:
        matrix = np.array([float(number) for number in facts["axisAlignment"].split()])
        matrix = matrix.reshape(4, 4)
        if not np.isfinite(matrix).all():
            raise ValueError
    except ValueError:
        scan.remarks.append(f"axisAlignment in {path.name} is not 16 numbers: left out")
        return
    matrix[:3, 3] += matrix[:3, :3] @ scan.origin
    scan.alignment = matrix
