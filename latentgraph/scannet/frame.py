r"""Units, axes and origins: scans not in meters, with another axis up than z, far from zero."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentgraph.scannet.points import Points

UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001, "ft": 0.3048, "in": 0.0254}
r"""Lengths in meters."""

AXES = ("x", "y", "z")

COARSEST = 1e-3
r"""What positions may be rounded to, meters."""

LOW, HIGH = 1.5, 6.0
r"""Between these heights, in meters, unit and axis of a scan of rooms are probably right."""


def in_meters(points: Points, unit: str = "m", up: str = "z") -> Points:
    r"""The points in meters, with z up: the axes in their cyclic order, so that left stays left.

    Args:
        points: Points.
        unit: Unit of their positions, of :data:`UNITS`.
        up: The axis that goes up.

    Raises:
        ValueError: If there is no such unit or axis.
    """
    if unit not in UNITS:
        raise ValueError(f"expected a unit of {', '.join(UNITS)}, got {unit!r}")
    if up not in AXES:
        raise ValueError(f"expected x, y or z as the axis that goes up, got {up!r}")
    turn = 2 - AXES.index(up)
    pos, normal = points.pos, points.normal
    return replace(
        points,
        pos=np.roll(pos, turn, axis=1) * pos.dtype.type(UNITS[unit]),
        normal=None if normal is None else np.roll(normal, turn, axis=1),
    )


def near_zero(pos: NDArray[np.floating[Any]]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    r"""Positions in single precision, and where they are zero: (0, 0, 0) unless that rounds them.

    Args:
        pos: (V, 3), meters. Float32 is rounded already and stays where it is.

    Returns:
        (V, 3), and their origin, (3,) whole meters.
    """
    origin = np.zeros(3)
    if pos.dtype != np.float32 and spacing(pos) > COARSEST:
        origin = np.floor(np.median(pos, axis=0))
    return (pos - origin if origin.any() else pos).astype(np.float32, copy=False), origin


def spacing(pos: NDArray[np.floating[Any]]) -> float:
    r"""From one number of single precision to the next, in meters, where they lie widest apart."""
    return float(np.spacing(np.float32(np.abs(pos).max(initial=0))))


def height(pos: NDArray[np.float32]) -> float:
    r"""From the lowest to the highest of the positions (V, 3), V at least 1, in meters."""
    return float(np.ptp(pos[:, 2]))


def doubt(pos: NDArray[np.float32]) -> str | None:
    r"""What is odd about the height of a scan, if anything."""
    meters = height(pos)
    if LOW <= meters <= HIGH:
        return None
    return (
        f"{meters:.3g} m high, a room has {LOW:g} to {HIGH:g} m: check the unit (--unit) and the "
        "axis that goes up (--up)"
    )
