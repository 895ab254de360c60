r"""Furniture: what stands in a room, in a frame of its own.

x runs along the wall, y out of the wall into the room, z up, in metres. Four shapes are shared by
several classes (:func:`slab`, :func:`tall_box`, :func:`hanging`, :func:`panel`): size and color
are drawn without looking at the class, so that only the rest of the room can tell it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latentgraph.scannet.rooms.sheets import (
    Floats,
    Point,
    Sheet,
    basin,
    box,
    disk,
    rectangle,
    tube,
    turned,
    wave,
)

NYU40 = {
    "wall": 1,
    "floor": 2,
    "cabinet": 3,
    "bed": 4,
    "office chair": 5,
    "couch": 6,
    "table": 7,
    "door": 8,
    "window": 9,
    "bookshelf": 10,
    "picture": 11,
    "counter": 12,
    "desk": 14,
    "curtain": 16,
    "refrigerator": 24,
    "shower curtain": 28,
    "box": 29,
    "toilet": 33,
    "sink": 34,
    "bathtub": 36,
    "stove": 39,
}
"""NYU40 id of every raw category that is generated. A box is none of the 20 classes."""

CERAMIC = np.array([236.0, 236.0, 230.0])
STEEL = np.array([176.0, 178.0, 180.0])
DARK = np.array([38.0, 38.0, 42.0])
SURFACES = np.array(
    [[150, 105, 65], [205, 170, 120], [95, 65, 45], [228, 226, 220], [125, 125, 128], [70, 80, 95]]
)
FABRICS = np.array(
    [[155, 60, 55], [65, 85, 140], [95, 125, 85], [200, 185, 155], [120, 95, 130], [105, 105, 110]]
)


@dataclass(frozen=True)
class Item:
    r"""One object.

    Args:
        category: Raw category, a key of :data:`NYU40`.
        sheets: Its surfaces.
        low, high: Corners of its bounding box.
        solid: Whether it hides the wall and the floor inside its bounding box.
    """

    category: str
    sheets: list[Sheet]
    low: Point
    high: Point
    solid: bool = True


def _pick(rng: np.random.Generator, palette: Floats) -> Floats:
    r"""A color of the palette, lighter or darker."""
    return np.asarray(np.clip(rng.choice(palette) * rng.uniform(0.8, 1.15), 0.0, 255.0))


def slab(category: str, rng: np.random.Generator) -> Item:
    r"""A board on two side panels: counter, desk or table."""
    w, d, h = rng.uniform(1.2, 1.55), rng.uniform(0.55, 0.7), rng.uniform(0.74, 0.88)
    top, side = _pick(rng, SURFACES), _pick(rng, SURFACES)
    sheets = box((0, 0, h - 0.05), (w, d, 0.05), top)
    for x in (0.03, w - 0.07):
        sheets += box((x, 0.03, 0), (0.04, d - 0.06, h - 0.05), side, "front left right")
    return Item(category, sheets, (0, 0, 0), (w, d, h), solid=False)


def tall_box(category: str, rng: np.random.Generator) -> Item:
    r"""A box with an upper and a lower front: cabinet, refrigerator or bookshelf."""
    w, d, h = rng.uniform(0.65, 0.95), rng.uniform(0.5, 0.65), rng.uniform(1.55, 1.95)
    body, split = _pick(rng, SURFACES), rng.uniform(0.4, 0.6) * h
    front = body * rng.uniform(0.85, 1.0)
    sheets = box((0, 0, 0), (w, d, h), body, "left right top")
    sheets += box((0, 0, 0), (w, d, split), front, "front")
    sheets += box((0, 0, split), (w, d, h - split), body, "front")
    return Item(category, sheets, (0, 0, 0), (w, d, h))


def hanging(category: str, rng: np.random.Generator) -> Item:
    r"""A sheet in folds before the wall: curtain or shower curtain."""
    w, low, high = rng.uniform(1.1, 1.5), rng.uniform(0.05, 0.2), rng.uniform(2.0, 2.2)
    period = rng.uniform(0.28, 0.4)
    sheets = [wave((0, 0.15, low), w, high - low, period, _pick(rng, FABRICS))]
    return Item(category, sheets, (0, 0, low), (w, 0.25, high))


def panel(category: str, rng: np.random.Generator) -> Item:
    r"""A framed pane on the wall: window or picture."""
    w, low, high = rng.uniform(0.9, 1.3), rng.uniform(1.05, 1.2), rng.uniform(1.8, 2.05)
    frame, pane = _pick(rng, SURFACES), _pick(rng, np.concatenate([SURFACES, FABRICS]))
    h, border = high - low, 0.08
    sheets = box((0, 0, low), (w, 0.05, h), frame, "left right top")
    for x, z, width, height in (
        (0.0, low, w, border),
        (0.0, high - border, w, border),
        (0.0, low + border, border, h - 2 * border),
        (w - border, low + border, border, h - 2 * border),
    ):
        sheets += box((x, 0, z), (width, 0.05, height), frame, "front")
    inside = (w - 2 * border, 0.04, h - 2 * border)
    sheets += box((border, 0, low + border), inside, pane, "front")
    return Item(category, sheets, (0, 0, low), (w, 0.05, high))


def clutter(rng: np.random.Generator) -> Item:
    r"""A small box, which lies on slabs of every kind and has no class."""
    w, d, h = rng.uniform(0.18, 0.35), rng.uniform(0.15, 0.3), rng.uniform(0.1, 0.25)
    sheets = box((0, 0, 0), (w, d, h), _pick(rng, FABRICS), "front back left right top")
    return Item("box", sheets, (0, 0, 0), (w, d, h), solid=False)


def bathtub(rng: np.random.Generator) -> Item:
    w, d, h = rng.uniform(1.5, 1.7), rng.uniform(0.72, 0.8), rng.uniform(0.5, 0.58)
    return Item("bathtub", basin((0, 0, 0), (w, d, h), 0.09, CERAMIC), (0, 0, 0), (w, d, h))


def toilet(rng: np.random.Generator) -> Item:
    w, seat = 0.42, rng.uniform(0.4, 0.45)
    sheets = box((0.0, 0.0, seat - 0.05), (w, 0.2, 0.42), CERAMIC)
    sheets += [
        tube((w / 2, 0.42, 0), (0.13, 0.21), seat, CERAMIC),
        disk((w / 2, 0.42, seat), 0.21, CERAMIC * 0.95),
    ]
    sheets += box((w / 2 - 0.1, 0, 0), (0.2, 0.3, seat - 0.05), CERAMIC, "left right")
    return Item("toilet", sheets, (0, 0, 0), (w, 0.65, seat + 0.37))


def sink(rng: np.random.Generator) -> Item:
    w, d, h = rng.uniform(0.55, 0.7), rng.uniform(0.45, 0.52), rng.uniform(0.8, 0.88)
    sheets = basin((0, 0, h - 0.22), (w, d, 0.22), 0.07, CERAMIC)
    sheets += [tube((w / 2, d / 2, 0), (0.12, 0.09), h - 0.22, CERAMIC)]
    return Item("sink", sheets, (0, 0, 0), (w, d, h))


def stove(rng: np.random.Generator) -> Item:
    r"""A stove with four plates and a hood above it."""
    w, d, h = rng.uniform(0.75, 0.95), rng.uniform(0.6, 0.66), rng.uniform(0.86, 0.92)
    body = STEEL * rng.uniform(0.8, 1.2)
    sheets = box((0, 0, 0), (w, d, h), body)
    sheets += box((0.12, d, 0.25), (w - 0.24, 0.01, 0.35), DARK, "front")
    for x in (0.27, 0.73):
        for y in (0.3, 0.72):
            sheets.append(disk((x * w, y * d, h + 0.01), 0.1, DARK))
    sheets += box((0, 0, 1.6), (w, 0.5, 0.15), body)
    sheets += box((w / 2 - 0.15, 0, 1.75), (0.3, 0.3, 0.45), body, "front left right")
    return Item("stove", sheets, (0, 0, 0), (w, d, 2.2))


def bed(rng: np.random.Generator) -> Item:
    w, d, h = rng.uniform(1.95, 2.1), rng.uniform(1.3, 1.45), rng.uniform(0.42, 0.52)
    frame, cover = _pick(rng, SURFACES), _pick(rng, FABRICS)
    sheets = box((0, 0, 0), (0.06, d, h + 0.4), frame, "front left right top")
    sheets += box((0.06, 0, 0), (w - 0.06, d, 0.2), frame, "front right")
    sheets += box((0.06, 0, 0.2), (w - 0.06, d, h - 0.2), cover, "front right top")
    pillow = (0.42, 0.64, 0.13)
    sheets += box((0.12, d / 2 - 0.32, h), pillow, CERAMIC, "front back left right top")
    return Item("bed", sheets, (0, 0, 0), (w, d, h + 0.4))


def couch(rng: np.random.Generator) -> Item:
    return _couch(rng.uniform(1.7, 2.0), rng)


def loveseat(rng: np.random.Generator) -> Item:
    r"""A couch for two."""
    return _couch(rng.uniform(1.1, 1.3), rng)


def _couch(w: float, rng: np.random.Generator) -> Item:
    d, seat, arm, color = rng.uniform(0.85, 0.95), rng.uniform(0.4, 0.46), 0.2, _pick(rng, FABRICS)
    sheets = box((0, 0, 0), (w, 0.24, 0.82), color, "front left right top")
    sheets += box((arm, 0.24, 0), (w - 2 * arm, d - 0.24, seat), color, "front top")
    for x in (0.0, w - arm):
        sheets += box((x, 0.24, 0), (arm, d - 0.24, 0.62), color)
    return Item("couch", sheets, (0, 0, 0), (w, d, 0.82))


def office_chair(rng: np.random.Generator) -> Item:
    r"""A chair on a star base, turned anyhow, up to 80 cm from the wall."""
    radius, seat, wall = 0.33, rng.uniform(0.44, 0.5), rng.uniform(0.0, 0.8)
    x, y, color = radius, wall + radius, _pick(rng, FABRICS) * 0.6
    every = "front back left right top"
    sheets = [
        disk((x, y, 0.07), 0.28, DARK),
        tube((x, y, 0.07), (0.035, 0.035), seat - 0.15, DARK),
    ]
    sheets += box((x - 0.23, y - 0.22, seat - 0.08), (0.46, 0.46, 0.08), color, every)
    sheets += box((x - 0.21, y - 0.27, seat + 0.05), (0.42, 0.06, 0.5), color, every)
    sheets = turned(sheets, rng.uniform(0.0, 2 * np.pi), (x, y))
    high = (2 * radius, wall + 2 * radius, seat + 0.55)
    return Item("office chair", sheets, (0, wall, 0), high, solid=False)


def closed_door(width: float, rng: np.random.Generator) -> Item:
    sheets = box((0, 0, 0), (width, 0.05, 2.02), _pick(rng, SURFACES))
    return Item("door", sheets, (0, 0, 0), (width, 0.05, 2.02))


def doorway(width: float, thickness: float, leaf: bool, rng: np.random.Generator) -> Item:
    r"""This room's half of an opening through a wall: the frame and, it may be, the open leaf."""
    color, high, deep = _pick(rng, SURFACES), 2.02, thickness / 2
    out, up = (0.0, deep, 0.0), (0.0, 0.0, high)
    sheets = [
        rectangle((0, -deep, 0), out, up, color),
        rectangle((width, 0, 0), (0.0, -deep, 0.0), up, color),
        rectangle((0, -deep, high), out, (width, 0.0, 0.0), color),
        rectangle((0, -deep, 0), (width, 0.0, 0.0), out, color),
    ]
    if leaf:
        size = (0.05, width - 0.08, high - 0.04)
        sheets += box((0, 0.02, 0), size, color, "front left right top")
    return Item("door", sheets, (0, -deep, 0), (width, 0.05, high))
