r"""Ways to color the vertices of a scene, for pages and for meshes alike."""

from __future__ import annotations

import base64
import colorsys
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentgraph.scannet.labels import LabelSet

REST = (196, 200, 208)
r"""Color of vertices that have no class."""

# From low to high, in even steps.
_STOPS = ((38, 24, 74), (52, 76, 140), (38, 130, 142), (94, 190, 108), (250, 228, 70))


def ramp() -> NDArray[np.uint8]:
    r"""(256, 3), the colors of values from low to high."""
    places = np.linspace(0, 255, len(_STOPS))
    channels = [np.interp(np.arange(256), places, stops) for stops in np.array(_STOPS).T]
    return _bytes(np.stack(channels, axis=1))


def distinct(count: int) -> NDArray[np.uint8]:
    r"""(count, 3) colors, neighbors in the list far apart: hues in steps of the golden section."""
    share = (5**0.5 - 1) / 2
    made = [
        colorsys.hsv_to_rgb(i * share % 1, (0.75, 0.5)[i % 2], (0.9, 0.65, 0.8)[i % 3])
        for i in range(count)
    ]
    return _bytes(255 * np.array(made).reshape(-1, 3))


@dataclass(frozen=True, eq=False)
class Colors:
    r"""The scene's own colors.

    Args:
        title: What to call it.
        color: (V, 3) uint8.
    """

    title: str
    color: NDArray[np.uint8]

    def rgb(self) -> NDArray[np.uint8]:
        r"""(V, 3), the color of each vertex."""
        return self.color

    def encode(self, shown: NDArray[np.int64]) -> dict[str, Any]:
        r"""What a page is told about the vertices :obj:`shown`."""
        return {"title": self.title, "kind": "colors", "data": packed(self.color[shown])}


@dataclass(frozen=True, eq=False)
class Classes:
    r"""A class for each vertex, in the color of the class.

    Args:
        title: What to call it.
        index: (V,) class of each vertex, -1 for none.
        names: Names of the classes.
        colors: (classes, 3) their colors.
        rest: What to call vertices of no class.
        legend: Colorings of one legend show and hide their classes together.
    """

    title: str
    index: NDArray[np.int64]
    names: tuple[str, ...]
    colors: NDArray[np.uint8]
    rest: str = "unlabeled"
    legend: str = "classes"

    @classmethod
    def of(cls, labels: LabelSet, title: str, index: NDArray[np.int64]) -> Classes:
        r"""The classes of a label set."""
        return cls(title, index, labels.names, cls.palette(*labels.colors))

    @staticmethod
    def palette(*colors: tuple[int, int, int]) -> NDArray[np.uint8]:
        r"""Colors as an array."""
        return np.array(colors, dtype=np.uint8).reshape(-1, 3)

    def rgb(self) -> NDArray[np.uint8]:
        r"""(V, 3), the color of each vertex."""
        return self._palette()[self.index]

    def encode(self, shown: NDArray[np.int64]) -> dict[str, Any]:
        r"""What a page is told about the vertices :obj:`shown`."""
        classes = len(self.names) + 1
        # Index -1 becomes the last entry of the palette.
        return {
            "title": self.title,
            "kind": "classes",
            "legend": self.legend,
            "names": [*self.names, self.rest],
            "colors": packed(self._palette()),
            "data": packed(smallest(self.index[shown] % classes)),
        }

    def _palette(self) -> NDArray[np.uint8]:
        return np.concatenate([self.colors, self.palette(REST)])


@dataclass(frozen=True, eq=False)
class Heat:
    r"""A value for each vertex, from dark to bright.

    Args:
        title: What to call it.
        values: (V,), finite.
        low: Value of the darkest color.
        high: Value of the brightest color.
    """

    title: str
    values: NDArray[np.floating[Any]]
    low: float = 0.0
    high: float = 1.0

    def rgb(self) -> NDArray[np.uint8]:
        r"""(V, 3), the color of each vertex."""
        return ramp()[self._steps()]

    def encode(self, shown: NDArray[np.int64]) -> dict[str, Any]:
        r"""What a page is told about the vertices :obj:`shown`."""
        about = {"title": self.title, "kind": "heat", "low": self.low, "high": self.high}
        return about | {"data": packed(self._steps()[shown])}

    def _steps(self) -> NDArray[np.uint8]:
        return in_steps(self.values, self.low, self.high)


@dataclass(frozen=True, eq=False)
class Latents:
    r"""The latent nodes that vertices hear from, through the node of a network that each lies in.

    Args:
        title: What to call it.
        node: (V,) the visible node of each vertex.
        affinity: (nodes, d) how strongly each of them hears from each latent node, at least 0.
    """

    title: str
    node: NDArray[np.int64]
    affinity: NDArray[np.floating[Any]]
    strongest: Classes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "strongest", self._strongest(self.node))

    def rgb(self) -> NDArray[np.uint8]:
        r"""(V, 3), each vertex in the color of its strongest latent node."""
        return self.strongest.rgb()

    def map(self, latent: int) -> Heat:
        r"""The affinity with one latent node; all of them share one scale."""
        title = f"{self.title}, latent {latent}"
        return Heat(title, self.affinity[self.node, latent], 0.0, self._high())

    def encode(self, shown: NDArray[np.int64]) -> dict[str, Any]:
        r"""What a page is told about the vertices :obj:`shown`.

        The affinities, ``maps``, are told of nodes, of which there are fewer than vertices.
        """
        nodes, place = np.unique(self.node[shown], return_inverse=True)
        maps = in_steps(self.affinity[nodes].T, 0.0, self._high())
        return self.strongest.encode(shown) | {
            "node": packed(smallest(place)),
            "nodes": len(nodes),
            "maps": packed(maps),
            "low": 0.0,
            "high": self._high(),
        }

    def _strongest(self, node: NDArray[np.int64]) -> Classes:
        count = self.affinity.shape[1]
        index = np.where(self.affinity.max(axis=1, initial=0) > 0, self.affinity.argmax(axis=1), -1)
        names = tuple(f"latent {k}" for k in range(count))
        return Classes(self.title, index[node], names, distinct(count), "none", self.title)

    def _high(self) -> float:
        return float(self.affinity.max(initial=0)) or 1.0


Coloring = Colors | Classes | Heat | Latents


def in_steps(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    r"""Values in 256 steps from low to high; what is beyond is cut."""
    share = np.clip((values - low) / (high - low), 0, 1)
    return _bytes(255 * share)


def smallest(values: NDArray[np.int64]) -> NDArray[Any]:
    r"""The same numbers, at least 0, in as few bytes as they fit into."""
    most = int(values.max(initial=0))
    return values.astype(np.uint8 if most < 1 << 8 else np.uint16 if most < 1 << 16 else np.uint32)


def packed(values: NDArray[Any]) -> dict[str, str]:
    r"""An array for a page: its type and its bytes, the first of a number the least."""
    little = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    return {
        "type": values.dtype.str[1:],
        "bytes": base64.b64encode(little.tobytes()).decode("ascii"),
    }


def _bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    whole: NDArray[np.uint8] = np.rint(values).astype(np.uint8)
    return whole
