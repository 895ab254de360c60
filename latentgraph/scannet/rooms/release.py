r"""Releases: a folder of generated scans, laid out and split like ScanNet's."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from tqdm import tqdm  # type: ignore[import-untyped]

from latentgraph.scannet.into_place import into_place
from latentgraph.scannet.rooms.generate import KINDS, make_scene
from latentgraph.scannet.rooms.raw import label_table, write_scan
from latentgraph.scannet.rooms.room_types import ROOM_TYPES
from latentgraph.scannet.splits import SPLITS, spaces, split_of
from latentgraph.scannet.truth import TABLE_NAME

SETTINGS = "rooms.json"
SCANS_OF_A_SPACE = 100
GENERATOR = 1
"""Counts the changes of the generator that change its scenes."""


def write_rooms(
    root: str | os.PathLike[str],
    num_train: int = 150,
    num_val: int = 40,
    num_test: int = 0,
    kind: str = "rooms",
    seed: int = 0,
    progress: bool = True,
) -> None:
    r"""Writes generated scans in ScanNet's raw layout, to where they are still missing.

    ``<root>/scans/<scene>/`` holds train and val scans, ``<root>/scans_test/<scene>/`` test scans
    without annotation, for the files see :func:`write_scan`; beside them lie the label table and
    ``rooms.json``, which tells how the scans were made. Scenes carry the names of spaces of the
    official split, and depend on their name, `kind` and `seed` alone: more scenes can be added
    later. A scan is renamed into place when it is whole, so a run that was stopped goes on where
    it stopped.

    Args:
        root: Folder to write to, created where it is missing.
        num_train: Number of scans to train on.
        num_val: Number of held-out scans.
        num_test: Number of scans without annotation.
        kind: ``"rooms"``, single rooms whose type goes round :data:`ROOM_TYPES`, or
            ``"apartments"``.
        seed: Non-negative integer.
        progress: Whether to show a progress bar, on a terminal.

    Raises:
        ValueError: For wrong arguments, or if `root` holds other scans than these.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be 'rooms' or 'apartments', got {kind!r}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    root = Path(root)
    names = [
        name
        for split, number in zip(SPLITS, (num_train, num_val, num_test), strict=True)
        for name in scene_names(split, number)
    ]
    _claim(root, {"generator": GENERATOR, "kind": kind, "seed": seed}, names)
    for name in tqdm(names, desc=kind, unit="scene", disable=None if progress else True):
        _write_scene(root, name, kind, seed)


def scene_names(split: str, number: int) -> list[str]:
    r"""The first `number` scenes of a split: one for each space, then the second of each, ..."""
    ids = spaces(split)
    if not 0 <= number <= SCANS_OF_A_SPACE * len(ids):
        raise ValueError(
            f"{split} can have 0 to {SCANS_OF_A_SPACE * len(ids)} scenes, got {number}"
        )
    return [f"scene{ids[i % len(ids)]:04d}_{i // len(ids):02d}" for i in range(number)]


def rooms_settings(root: str | os.PathLike[str]) -> dict[str, Any] | None:
    r"""What a folder of generated scans was made with: `generator`, `kind`, `seed`.

    Args:
        root: The folder.

    Returns:
        The settings, None for any other folder, the release of ScanNet among them.

    Raises:
        ValueError: If the file that tells is damaged.
    """
    path = Path(root) / SETTINGS
    if not path.is_file():
        return None
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} should be JSON with the settings of the rooms: {error}") from None
    if not isinstance(settings, dict):
        raise ValueError(f"{path} should hold a JSON object, got {settings!r}")
    return settings


def _claim(root: Path, settings: dict[str, Any], names: list[str]) -> None:
    r"""Makes sure that `root` holds nothing but scans of these names and settings."""
    if root.exists() and not root.is_dir():
        raise ValueError(f"{root} should be a folder, and is a file")
    there = rooms_settings(root)
    scans = sorted(scan.name for scan in root.glob("scans*/[!.]*"))
    if there is None and scans:
        raise ValueError(f"{root} holds scans that were not generated here; choose another folder")
    if there is not None and there != settings:
        raise ValueError(
            f"{root} holds rooms made with {there}, and these would be made with {settings}; "
            f"choose another folder"
        )
    surplus = sorted(set(scans) - set(names))
    if surplus:
        raise ValueError(
            f"{root} holds {len(surplus)} scans beyond those asked for, such as {surplus[0]}; ask "
            f"for as many as there are, or choose another folder"
        )
    for name, text in ((TABLE_NAME, label_table()), (SETTINGS, json.dumps(settings) + "\n")):
        with into_place(root / name) as part:
            part.write_text(text, encoding="utf-8")


def _write_scene(root: Path, name: str, kind: str, seed: int) -> None:
    r"""Writes one scan, unless it is there."""
    split = split_of(name)
    space, number = int(name[5:9]), int(name[10:])
    folder = root / ("scans_test" if split == "test" else "scans") / name
    if folder.exists():
        return
    types = None
    if kind == "rooms":
        # Each type is as frequent as the others in every split.
        order = spaces(split).index(space) + number * len(spaces(split))
        types = [list(ROOM_TYPES)[order % len(ROOM_TYPES)]]
    scene = make_scene((seed, space, number), kind, types)
    part = root / f".{name}.part"
    shutil.rmtree(part, ignore_errors=True)  # of a run that was killed
    part.mkdir()
    try:
        write_scan(scene, part, name, annotated=split != "test")
        folder.parent.mkdir(exist_ok=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
