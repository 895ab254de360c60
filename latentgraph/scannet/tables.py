r"""Points as a table of text, a line for each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TEXT = "utf-8-sig"  # a byte order mark at the start is no part of the first number
_KINDS = {".xyzn": ("normal",), ".xyzrgb": ("color",)}


def read_table(path: Path) -> dict[str, NDArray[Any]]:
    r"""Read a file of type XYZ, XYZN or XYZRGB.

    Numbers stand between blanks or commas; a first line of names is passed over. Three columns are
    the position. Three more are the normal in XYZN, the color in XYZRGB, and in XYZ the normal
    where all have length 1, else the color; nine columns are position, color, normal. One more
    column after these is a label.

    Returns:
        ``pos`` and, where the table has them, ``color``, ``normal``, each (V, 3) float64, and
        ``label``, (V, 1).

    Raises:
        ValueError: If a line has no numbers, or more or fewer than the others, or there are none.
        OSError: If the file cannot be read.
    """
    with path.open(encoding=_TEXT, errors="replace") as file:
        lines = (line.strip() for line in file)
        first = next((line for line in lines if line and not line.startswith("#")), "")
    if not first:
        raise ValueError("the file has no points")
    comma = "," in first
    words = first.split("," if comma else None)
    named = not _is_number(words[0])
    # Blanks around commas are no matter; one line of names is skipped, and comments before it.
    table = np.loadtxt(
        _after_names(path, first) if named else path,
        delimiter="," if comma else None,
        ndmin=2,
        encoding=_TEXT,
    )
    if not len(table):
        raise ValueError("the file has no points")
    width = table.shape[1]
    if width not in (3, 4, 6, 7, 9, 10):
        raise ValueError(f"expected 3, 6 or 9 columns and perhaps a label, got {width}")
    found = {"pos": table[:, :3]}
    if width % 3 == 1:
        found["label"] = table[:, -1:]
    if width >= 9:
        found["color"], found["normal"] = table[:, 3:6], table[:, 6:9]
    elif width >= 6:
        (kind,) = _KINDS.get(path.suffix.lower(), (_kind(table[:, 3:6]),))
        found[kind] = table[:, 3:6]
    return found


def _kind(columns: NDArray[np.float64]) -> str:
    length = np.linalg.norm(columns, axis=1)
    return "normal" if (np.abs(length - 1) < 0.01).all() else "color"


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _after_names(path: Path, names: str) -> Any:
    with path.open(encoding=_TEXT, errors="replace") as file:
        for line in file:
            if line.strip() == names:
                break
        yield from file
