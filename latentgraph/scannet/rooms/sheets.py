r"""Sheets: the curved rectangles that every surface of a generated scene is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Point = tuple[float, float, float]


@dataclass(frozen=True)
class Sheet:
    r"""A surface with two parameters, measured in metres.

    Args:
        width: Range of the first parameter `s`, from 0.
        height: Range of the second parameter `t`, from 0.
        at: Maps `s` and `t`, both (n,), to positions (n, 3). The visible side is the one that
            `d at/ds × d at/dt` points to.
        color: Red, green, blue from 0 to 255.
    """

    width: float
    height: float
    at: Callable[[Floats, Floats], Floats]
    color: Floats


def rectangle(corner: Point, u: Point, v: Point, color: Floats) -> Sheet:
    r"""The parallelogram from `corner` along `u` and `v`, seen from the side of `u × v`."""
    origin, along_u, along_v = np.array(corner), np.array(u), np.array(v)
    width, height = float(np.linalg.norm(along_u)), float(np.linalg.norm(along_v))

    def at(s: Floats, t: Floats) -> Floats:
        return origin + np.outer(s / width, along_u) + np.outer(t / height, along_v)

    return Sheet(width, height, at, color)


def box(
    corner: Point, size: Point, color: Floats, sides: str = "front left right top"
) -> list[Sheet]:
    r"""Sides of a box, seen from outside. The front looks along +y, the right side along +x."""
    x, y, z = corner
    w, d, h = size
    every = {
        "front": ((x + w, y + d, z), (-w, 0.0, 0.0), (0.0, 0.0, h)),
        "back": ((x, y, z), (w, 0.0, 0.0), (0.0, 0.0, h)),
        "left": ((x, y + d, z), (0.0, -d, 0.0), (0.0, 0.0, h)),
        "right": ((x + w, y, z), (0.0, d, 0.0), (0.0, 0.0, h)),
        "top": ((x, y, z + h), (w, 0.0, 0.0), (0.0, d, 0.0)),
    }
    return [rectangle(*every[side], color) for side in sides.split()]


def basin(corner: Point, size: Point, rim: float, color: Floats) -> list[Sheet]:
    r"""A box with a rim and a hollow two thirds as deep as it is high: tubs and sinks."""
    x, y, z = corner
    w, d, h = size
    floor, top = z + h / 3, z + h
    inner_w, inner_d = w - 2 * rim, d - 2 * rim
    across, along, up = (inner_w, 0.0, 0.0), (0.0, inner_d, 0.0), (0.0, 0.0, top - floor)
    left, right, near, far = x + rim, x + w - rim, y + rim, y + d - rim
    rims = [
        ((x, y, top), (w, 0.0, 0.0), (0.0, rim, 0.0)),
        ((x, far, top), (w, 0.0, 0.0), (0.0, rim, 0.0)),
        ((x, near, top), (rim, 0.0, 0.0), along),
        ((right, near, top), (rim, 0.0, 0.0), along),
    ]
    hollow = [
        ((left, near, floor), across, along),
        ((right, near, floor), (-inner_w, 0.0, 0.0), up),
        ((left, far, floor), across, up),
        ((left, near, floor), along, up),
        ((right, far, floor), (0.0, -inner_d, 0.0), up),
    ]
    return box(corner, size, color, "front left right") + [
        rectangle(*side, color) for side in rims + hollow
    ]


def tube(center: Point, radii: tuple[float, float], height: float, color: Floats) -> Sheet:
    r"""The outside of an upright tube, or of a cone, with one radius below and one above."""
    below, above = radii
    width = 2 * np.pi * max(radii)

    def at(s: Floats, t: Floats) -> Floats:
        angle, radius = 2 * np.pi * s / width, below + (above - below) * t / height
        ring = np.stack([radius * np.cos(angle), radius * np.sin(angle), t], axis=-1)
        return np.asarray(np.array(center) + ring)

    return Sheet(width, height, at, color)


def disk(center: Point, radius: float, color: Floats) -> Sheet:
    r"""A level disk, seen from above."""
    width = 2 * np.pi * radius

    def at(s: Floats, t: Floats) -> Floats:
        angle = 2 * np.pi * s / width
        ring = np.stack([np.cos(angle), np.sin(angle), np.zeros_like(s)], axis=-1)
        return np.asarray(np.array(center) + (radius - t)[:, None] * ring)

    return Sheet(width, radius, at, color)


def wave(corner: Point, width: float, height: float, period: float, color: Floats) -> Sheet:
    r"""A sheet hanging in folds of 5 cm, seen along +y."""
    x, y, z = corner

    def at(s: Floats, t: Floats) -> Floats:
        fold = 0.05 * np.sin(2 * np.pi * s / period)
        return np.stack([x + width - s, y + fold, z + t], axis=-1)

    return Sheet(width, height, at, color)


def turned(sheets: list[Sheet], angle: float, center: tuple[float, float]) -> list[Sheet]:
    r"""The sheets turned about an upright axis through `center` by `angle` radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    rotation = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    axis = np.array([*center, 0.0])

    def turn(sheet: Sheet) -> Sheet:
        def at(s: Floats, t: Floats) -> Floats:
            return np.asarray((sheet.at(s, t) - axis) @ rotation.T + axis)

        return Sheet(sheet.width, sheet.height, at, sheet.color)

    return [turn(sheet) for sheet in sheets]
