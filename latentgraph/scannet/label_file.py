r"""Predictions as the benchmark takes them: a text file with the id of a vertex on each line."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from latentgraph.scannet.labels import IGNORE_INDEX, LabelSet

_INTEGER = re.compile(rb"[ \t]*[+-]?\d{1,18}[ \t]*")
_NAMED = 7


def write_ids(ids: Iterable[int]) -> bytes:
    r"""A line for each vertex."""
    return "".join(f"{number}\n" for number in ids).encode("ascii")


def read_ids(content: bytes, num_vertices: int, name: str) -> NDArray[np.int64]:
    r"""The id of each vertex.

    Args:
        content: A line for each vertex, ended as on any system; the last one need not end. Signs
            and blanks around a number are read, as the benchmark reads them.
        num_vertices: How many there are to be.
        name: Of the file, for errors.

    Returns:
        (V,) int64.

    Raises:
        ValueError: If a line is no integer, or there are more or fewer lines.
    """
    lines = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    if not lines[-1]:
        lines.pop()
    value_of = {line: int(line) for line in set(lines) if _INTEGER.fullmatch(line)}
    if len(value_of) < len(set(lines)):
        number, line = next((i, line) for i, line in enumerate(lines, 1) if line not in value_of)
        shown = repr(line[:40].strip())[1:]  # without the b of bytes
        if line.startswith(codecs.BOM_UTF8):
            shown = "a byte order mark before it, which the benchmark does not read"
        raise ValueError(f"{name}: expected an integer on line {number}, got {shown}")
    if len(lines) != num_vertices:
        raise ValueError(
            f"{name}: expected {num_vertices:,} lines, one for each vertex, got {len(lines):,}"
        )
    return np.array([value_of[line] for line in lines], dtype=np.int64)


def foreign_ids(ids: NDArray[np.int64], labels: LabelSet) -> Counter[int]:
    r"""How many vertices have each id that is no class."""
    foreign = ids[labels.encode(ids) == IGNORE_INDEX]
    values, counts = np.unique(foreign, return_counts=True)
    return Counter(dict(zip(values.tolist(), counts.tolist(), strict=True)))


def describe_foreign(foreign: Counter[int], labels: LabelSet) -> str:
    r"""What :func:`foreign_ids` found, in one line, the most frequent ids first."""
    named = [f"{number} on {count:,}" for number, count in foreign.most_common(_NAMED)]
    more = f" and {len(foreign) - _NAMED:,} more ids" if len(foreign) > _NAMED else ""
    return (
        f"ids that are no class of {labels.name}, each vertex a miss: {', '.join(named)}{more} "
        f"({foreign.total():,} vertices in all)"
    )
