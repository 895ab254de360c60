r"""What tables of figures share: the spread of a figure, and where they are written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

RESULTS = Path(__file__).parent / "results"


def with_spread(values: Sequence[float], digits: int) -> str:
    r"""Median (least to most)."""
    middle, least, most = (
        f"{value:.{digits}f}" for value in (median(values), min(values), max(values))
    )
    return f"{middle} ({least} to {most})"


def publish(table: str, folder: Path, name: str) -> None:
    r"""Print a table, and write it to a file in a folder, made if need be."""
    print(table)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(table, encoding="utf-8")
