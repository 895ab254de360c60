r"""A scene in its colors, true and predicted labels, on one HTML page that needs no network."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentgraph.needs import need
from latentgraph.scannet.into_place import into_place
from latentgraph.scannet.labels import IGNORE_INDEX, LabelSet

MAX_POINTS = 200_000
"""Points that a page shows at most; more make browsers slow and files large."""

UNLABELED = "#c4c8d0"


def write_page(
    path: Path,
    title: str,
    pos: NDArray[np.float32],
    color: NDArray[np.uint8],
    predicted: NDArray[np.int64],
    truth: NDArray[np.int64] | None,
    labels: LabelSet,
    notes: Sequence[str] = (),
    warning: str | None = None,
    max_points: int = MAX_POINTS,
) -> None:
    r"""Write the page of one scene.

    Args:
        path: File to write.
        title: Heading, usually the name of the scene.
        pos: (V, 3), meters, z up.
        color: (V, 3), red, green, blue.
        predicted: (V,) class indices.
        truth: (V,) class indices, -1 where unlabeled; None where nothing is known.
        labels: The classes.
        notes: Sentences under the heading.
        warning: Sentence that stands out.
        max_points: Vertices that are shown, an even choice at random where there are more.

    Raises:
        ImportError: Without plotly, which is part of the extra ``scannet``.
    """
    plotly = need("plotly.offline", "to write pages", "scannet")
    shown = np.arange(len(pos))
    if len(pos) > max_points:
        shown = np.sort(np.random.default_rng(0).choice(len(pos), max_points, replace=False))
        notes = [*notes, f"Shown are {max_points:,} of the {len(pos):,} vertices."]

    panels = [("Colors", None), ("True labels", truth), ("Predicted labels", predicted)]
    if truth is None:
        del panels[1]
    used = set(np.unique(predicted if truth is None else np.concatenate([predicted, truth])))
    palette = [
        {"name": name, "color": "#{:02x}{:02x}{:02x}".format(*rgb)}
        for name, rgb in zip(labels.names, labels.colors, strict=True)
    ] + [{"name": "unlabeled", "color": UNLABELED}]
    scene = {
        "pos": [_encode(axis, "<f4") for axis in pos[shown].T],
        "color": [_encode(channel, "u1") for channel in color[shown].T],
        "palette": palette,
        "panels": [
            {
                "title": name,
                # Index -1 becomes the last entry of the palette.
                "labels": None if index is None else _encode(index[shown] % len(palette), "u1"),
            }
            for name, index in panels
        ],
    }
    parts = {
        "TITLE": html.escape(title),
        "NOTES": "\n".join(
            ([f'<p class="warning">{html.escape(warning)}</p>'] if warning else [])
            + [f"<p>{html.escape(note)}</p>" for note in notes]
        ),
        "LEGEND": "".join(
            f'<li><span style="background:{palette[i]["color"]}"></span>'
            f"{html.escape(palette[i]['name'])}</li>"
            for i in (*range(labels.num_classes), IGNORE_INDEX)
            if i in used
        ),
        "PLOTLY": plotly.get_plotlyjs(),
        "SCENE": json.dumps(scene).replace("<", "\\u003c"),
    }
    page = resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    page = re.sub("@([A-Z]+)@", lambda place: parts[place[1]], page)
    with into_place(path) as part:
        part.write_text(page, encoding="utf-8")


def _encode(values: NDArray[Any], dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=dtype).tobytes()).decode("ascii")
