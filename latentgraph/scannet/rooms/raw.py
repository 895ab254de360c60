r"""Raw files: a scene in the layout of the ScanNet release, see :func:`write_scan`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from latentgraph.scannet.labels import SCANNET20, SCANNET200
from latentgraph.scannet.ply import write_ply
from latentgraph.scannet.rooms.furniture import NYU40
from latentgraph.scannet.rooms.scene import Scene

NYU40_CLASS = {
    **dict(zip(SCANNET20.ids, SCANNET20.names, strict=True)),
    24: "refridgerator",
    29: "box",
}
"""NYU40's names, with its spelling."""


def write_scan(scene: Scene, folder: Path, name: str, annotated: bool = True) -> None:
    r"""Writes the raw files of one scan into an existing folder.

    Args:
        scene: What to write.
        folder: Where the files go; for ScanNet it carries the name of the scan.
        name: Name of the scan, such as ``"scene0011_00"``.
        annotated: False leaves out what ScanNet's test scans do not have: labels, segments,
            aggregation and axis alignment.

    The files are those of the release, and with annotated scans ``<name>.rooms.npy``, (V,) int16,
    the room of each vertex, which ScanNet does not have.
    """
    write_ply(folder / f"{name}_vh_clean_2.ply", scene.pos, scene.color, scene.faces)
    facts = {"numRooms": str(len(scene.types)), "generator": "latentgraph rooms"}
    if annotated:
        facts["axisAlignment"] = " ".join(f"{number:.6f}" for number in scene.alignment.ravel())
        _write_annotation(scene, folder, name)
    lines = [f"{key} = {value}\n" for key, value in facts.items()]
    (folder / f"{name}.txt").write_text("".join(lines), encoding="utf-8")


def label_table() -> str:
    r"""The label table of the generated categories: the columns up to the NYU40 class."""
    columns = "id raw_category category count nyu40id eigen13id nyuClass nyu40class"
    rows = [columns.split(" ")]
    for category, nyu40 in NYU40.items():
        raw = SCANNET200.ids[SCANNET200.names.index(category)]
        rows.append([str(raw), category, category, "", str(nyu40), "", "", NYU40_CLASS[nyu40]])
    return "".join("\t".join(row) + "\n" for row in rows)


def _write_annotation(scene: Scene, folder: Path, name: str) -> None:
    # Annotated, but none of the 20 classes: gray. Not annotated: black.
    colors = np.array([*SCANNET20.colors, (128, 128, 128)], np.uint8)
    shown = colors[SCANNET20.encode(scene.nyu40)] * (scene.nyu40 > 0)[:, None]
    labels = folder / f"{name}_vh_clean_2.labels.ply"
    write_ply(labels, scene.pos, shown, scene.faces, scene.nyu40)

    segments = f"{name}_vh_clean_2.0.010000.segs.json"
    _write_json(folder / segments, {"sceneId": name, "segIndices": scene.segment.tolist()})
    pairs = np.unique(np.stack([scene.instance, scene.segment], axis=-1), axis=0)
    groups: list[dict[str, Any]] = []
    for instance in np.unique(pairs[pairs[:, 0] >= 0, 0]).tolist():
        groups.append(
            {
                "id": len(groups),
                "objectId": len(groups),
                "segments": pairs[pairs[:, 0] == instance, 1].tolist(),
                "label": scene.categories[instance],
            }
        )
    aggregation = {"sceneId": name, "segmentsFile": segments, "segGroups": groups}
    _write_json(folder / f"{name}.aggregation.json", aggregation)
    np.save(folder / f"{name}.rooms.npy", scene.room.astype(np.int16))


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")
