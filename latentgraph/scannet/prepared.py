r"""The file of one prepared scene: raw facts as tensors, mapped into memory when it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch_geometric.data import Data

from latentgraph.scannet.into_place import save
from latentgraph.scannet.labels import SCANNET200, LabelSet
from latentgraph.scannet.points import ScanError
from latentgraph.scannet.reader import Scan

FORMAT = 2
_ARRAYS = ("pos", "color", "normal", "nyu40", "category", "instance", "room", "alignment")


def pack(scan: Scan, source: dict[str, list[int]] | None = None) -> dict[str, Any]:
    r"""The content of the file of a scene.

    Args:
        scan: The scan, as :func:`~latentgraph.scannet.reader.read_scan` gives it.
        source: What :func:`fingerprint` says about its raw files.
    """
    content: dict[str, Any] = {
        key: torch.from_numpy(array) for key in _ARRAYS if (array := getattr(scan, key)) is not None
    }
    return content | {
        "format": FORMAT,
        "name": scan.name,
        "unknown": scan.unknown,
        "remarks": scan.remarks,
        "source": source or {},
    }


def fingerprint(files: dict[str, Path]) -> dict[str, list[int]]:
    r"""Size and time of each raw file, by which a prepared scene knows that it is up to date."""
    stats = {key: path.stat() for key, path in files.items()}
    return {key: [stat.st_size, stat.st_mtime_ns] for key, stat in stats.items()}


def write(content: dict[str, Any], path: Path) -> None:
    r"""Write the file of a scene, which takes its place when it is whole."""
    save(content, path)


def read(path: Path) -> dict[str, Any]:
    r"""Read the file of a scene, its tensors mapped into memory.

    Raises:
        ScanError: If the file is missing, damaged, or of another version.
    """
    try:
        content = torch.load(path, mmap=True, weights_only=True)
    except Exception as error:  # torch has no exception of its own for a damaged file
        reason = str(error).strip().partition("\n")[0]
        raise ScanError(f"{path}: no prepared scene: {reason}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ScanError(f"{path}: prepared by another version: prepare it again")
    return content


def has_other_labels(content: dict[str, Any], labels: LabelSet) -> bool:
    r"""Whether a scene has labels, and none of this set."""
    return "nyu40" in content and _source(labels) not in content


def _source(labels: LabelSet) -> str:
    return "category" if labels.name == SCANNET200.name else "nyu40"


def to_data(content: dict[str, Any], labels: LabelSet, align: bool = False) -> Data:
    r"""A scene as a graph without edges.

    Args:
        content: What :func:`pack` or :func:`read` returns.
        labels: The classes of ``y``.
        align: Whether to turn and move the scene to the axes of its room.

    Returns:
        The scene, as :class:`~latentgraph.scannet.dataset.ScanNet` documents it.

    Raises:
        ScanError: If the scene cannot be aligned, or has no labels of this set though it has some.
    """
    pos, normal = content["pos"], content["normal"]
    if align:
        if "alignment" not in content:
            raise ScanError(
                f"{content['name']} has no axis alignment, as no test scan has: leave align off"
            )
        matrix = content["alignment"].to(pos.dtype)
        pos = pos @ matrix[:3, :3].T + matrix[:3, 3]
        normal = normal @ matrix[:3, :3].T
    data = Data(pos=pos, color=content["color"].float() / 255.0, normal=normal)
    if has_other_labels(content, labels):
        raise ScanError(
            f"{content['name']}: labels of {labels.name} need segs, aggregation and label table"
        )
    if _source(labels) in content:
        data.y = labels.encode(content[_source(labels)])
    for key in ("instance", "room"):
        if key in content:
            data[key] = content[key].long()
    data.name = content["name"]
    return data
