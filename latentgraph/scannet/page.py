r"""A scene to turn about, colored in several ways, on one HTML page that needs no network."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentgraph.scannet.colorings import Coloring, packed, ramp
from latentgraph.scannet.into_place import into_place

MAX_POINTS = 200_000
"""Points that a page shows at most; more make browsers slow and files large."""

MAX_BYTES = 19_000_000
"""What the data of a page take at most."""


def write_page(
    path: Path,
    title: str,
    pos: NDArray[np.float32],
    colorings: Sequence[Coloring],
    notes: Sequence[str] = (),
    warning: str | None = None,
    beside: str | None = None,
    max_points: int = MAX_POINTS,
    max_bytes: int = MAX_BYTES,
) -> None:
    r"""Write the page of one scene.

    Args:
        path: File to write.
        title: Heading, usually the name of the scene.
        pos: (V, 3), meters, z up.
        colorings: Ways to color the vertices, at least one.
        notes: Sentences under the heading.
        warning: Sentence that stands out.
        beside: Title of the coloring that stands beside the first when the page opens; by default
            the last.
        max_points: Vertices that are shown, an even choice at random where there are more.
        max_bytes: Of data; affinities with latent nodes that do not fit are left out, the largest
            first, and a note says so.
    """
    shown = np.arange(len(pos))
    if len(pos) > max_points:
        shown = np.sort(np.random.default_rng(0).choice(len(pos), max_points, replace=False))
        notes = [*notes, f"Shown are {max_points:,} of the {len(pos):,} vertices."]
    views = [coloring.encode(shown) for coloring in colorings]
    # Moved to the middle before they lose digits.
    middle = (pos.min(axis=0).astype(np.float64) + pos.max(axis=0)) / 2
    titles = [coloring.title for coloring in colorings]
    scene = {
        "beside": titles.index(beside) if beside in titles else len(titles) - 1,
        "pos": packed((pos[shown] - middle).astype(np.float32)),
        "spacing": _spacing(pos[shown]),
        "ramp": packed(ramp()),
        "views": views,
    }
    notes = [*notes, *_fit(scene, max_bytes)]
    parts = {
        "TITLE": html.escape(title),
        "NOTES": "\n".join(
            ([f'<p class="warning">{html.escape(warning)}</p>'] if warning else [])
            + [f"<p>{html.escape(note)}</p>" for note in notes]
        ),
        "SCENE": _json(scene),
        "SCRIPT": _resource("page.js"),
    }
    page = re.sub("@([A-Z]+)@", lambda place: parts[place[1]], _resource("page.html"))
    with into_place(path) as part:
        part.write_text(page, encoding="utf-8")


def _fit(scene: dict[str, Any], max_bytes: int) -> list[str]:
    r"""Take the largest maps out until the scene is small enough, with a note for each."""
    notes = []
    while (size := len(_json(scene))) > max_bytes:
        largest = max(scene["views"], key=lambda view: len(view.get("maps", {}).get("bytes", "")))
        if "maps" not in largest:
            raise ValueError(f"a page of {size:,} bytes, of which {max_bytes:,} are allowed")
        megabytes = len(largest.pop("maps")["bytes"]) / 1e6
        notes.append(
            f"The affinities of {largest['title']} are left out, {megabytes:.1f} MB are too many: "
            "ask for this block alone, or for fewer."
        )
    return notes


def _spacing(pos: NDArray[np.float32]) -> float:
    r"""About how far apart points are on their surfaces, in meters."""
    size = float(np.ptp(pos, axis=0).max(initial=0)) or 1.0
    cell = size / 100
    cells = np.unique(((pos - pos.min(axis=0)) / cell).astype(np.int64), axis=0)
    return cell * float(np.sqrt(len(cells) / len(pos)))


def _json(content: object) -> str:
    return json.dumps(content).replace("<", "\\u003c")


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
