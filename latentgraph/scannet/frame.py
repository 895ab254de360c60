r"""Units and axes of scans that are not in meters or have another axis up than z."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from latentgraph.scannet.points import Points

UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001, "ft": 0.3048, "in": 0.0254}
r"""Lengths in meters."""

AXES = ("x", "y", "z")

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
    normal = points.normal
    return replace(
        points,
        pos=np.roll(points.pos, turn, axis=1) * np.float32(UNITS[unit]),
        normal=None if normal is None else np.roll(normal, turn, axis=1),
    )


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
