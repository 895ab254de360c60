r"""Colors of the vertices of a mesh whose colors are pictures laid on its faces."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MATERIALS = "mtllib"
_BEFORE = re.compile("^[^A-Za-z#]+")
_PICTURES = ("map_", "bump", "disp", "decal", "refl", "norm")


def names_outside(path: Path) -> Iterator[str]:
    r"""Materials and pictures that an OBJ names beyond its own folder."""
    for library in _words_after(path, (_MATERIALS,)):
        if _leads_out(library):
            yield library
        else:
            yield from filter(_leads_out, _words_after(path.parent / library, _PICTURES))


def keywords(path: Path) -> Counter[str]:
    r"""How many lines of an OBJ begin with each word, ``v`` for vertices and ``f`` for faces."""
    with path.open(encoding="utf-8-sig", errors="replace") as lines:
        return Counter(word for line in lines for word in line.split(None, 1)[:1])


def _words_after(path: Path, keys: tuple[str, ...]) -> Iterator[str]:
    r"""Files and options in the lines that begin so, and all of each as a name that has spaces."""
    if path.is_file():
        with path.open(encoding="utf-8", errors="replace") as lines:
            # What Open3D reads past: a zero byte, and whatever stands before the first letter.
            for line in chain.from_iterable(line.split("\0") for line in lines):
                line = _BEFORE.sub("", line)
                if line.startswith(keys):
                    key, *words = line.split()
                    yield from words
                    yield line.strip().removeprefix(key).strip()


def _leads_out(name: str) -> bool:
    place = os.path.normpath(name.replace("\\", "/"))
    return os.path.isabs(place) or place.split("/")[0] == ".." or place[1:2] == ":"


def colors_of_pictures(
    num_vertices: int,
    faces: NDArray[np.int64],
    uv: NDArray[np.floating[Any]],
    material: NDArray[np.integer[Any]],
    pictures: Sequence[NDArray[np.uint8]],
) -> NDArray[np.uint8]:
    r"""The pixel under each vertex.

    Args:
        num_vertices: V.
        faces: Corners of the triangles, (F, 3).
        uv: Places of the corners on their picture, (3F, 2): along its columns and along its rows,
            0 to 1; beyond that the picture repeats.
        material: Picture of each triangle, (F,).
        pictures: (height, width, channels) each, the lowest row first, or empty.

    Returns:
        (V, 3), of several faces around a vertex from one; gray where no face has a picture.
    """
    color = np.full((num_vertices, 3), 128, dtype=np.uint8)
    for number, picture in enumerate(pictures):
        if picture.ndim != 3 or picture.shape[2] < 3:
            continue
        own = material == number
        at = uv.reshape(-1, 3, 2)[own].reshape(-1, 2) % 1.0
        size = np.array([picture.shape[1], picture.shape[0]])
        column, row = np.minimum((at * size).astype(np.int64), size - 1).T
        color[faces[own].reshape(-1)] = picture[row, column, :3]
    return color
