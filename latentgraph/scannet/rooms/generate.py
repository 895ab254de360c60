r"""From a seed to a scene."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import numpy as np

from latentgraph.scannet.rooms.floor_plan import floor_plan
from latentgraph.scannet.rooms.furnishing import furnish
from latentgraph.scannet.rooms.mesh import build_mesh
from latentgraph.scannet.rooms.room_types import ROOM_TYPES
from latentgraph.scannet.rooms.scan import scan
from latentgraph.scannet.rooms.scene import Scene

KINDS = ("rooms", "apartments")
EDGE = {"rooms": 0.065, "apartments": 0.09}
"""Length of mesh edges in metres, such that nearly every scene has 15,000 to 40,000 vertices."""
MOST = 40_000
"""Vertices of a scene; a larger one gets longer edges."""


def make_scene(
    seed: int | Sequence[int],
    kind: str = "rooms",
    types: Sequence[str] | None = None,
    edge: float | None = None,
) -> Scene:
    r"""Generates a scene; equal arguments give equal scenes.

    Args:
        seed: Non-negative integer, or several.
        kind: ``"rooms"``, a single large room, or ``"apartments"``, three or four smaller rooms of
            different types with doorways between them.
        types: Types of the rooms, one to four keys of :data:`ROOM_TYPES` (default: random, one
            for rooms, three or four for apartments).
        edge: Length of the mesh edges in metres (default: 0.065 for rooms, 0.09 for apartments,
            more where a scene would have over 40,000 vertices).

    Returns:
        The scene, with what a network is told and what it is asked.

    Raises:
        ValueError: For an unknown kind or type, or an edge outside 0.01 to 0.5 m.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be 'rooms' or 'apartments', got {kind!r}")
    rng = np.random.default_rng(seed)
    if types is None:
        number = 1 if kind == "rooms" else int(rng.integers(3, 5))
        types = [str(name) for name in rng.permutation(list(ROOM_TYPES))[:number]]
    if not 1 <= len(types) <= 4 or not set(types) <= set(ROOM_TYPES):
        raise ValueError(f"types must be one to four of {list(ROOM_TYPES)}, got {list(types)}")
    if edge is not None and not 0.01 <= edge <= 0.5:
        raise ValueError(f"edge must be from 0.01 to 0.5 metres, got {edge}")
    rooms = floor_plan(types, kind == "rooms", rng)
    furniture = [furnish(room, rng) for room in rooms]
    paint = np.array([225.0, 220.0, 208.0]) * rng.uniform(0.85, 1.08, 3)
    ground = np.array([150.0, 125.0, 100.0]) * rng.uniform(0.6, 1.3) * rng.uniform(0.9, 1.1, 3)

    def sampled(edge: float) -> Scene:
        mesh = build_mesh(rooms, furniture, paint, ground, edge)
        return scan(mesh, tuple(types), deepcopy(rng))

    scene = sampled(EDGE[kind] if edge is None else edge)
    if edge is None and (vertices := len(scene.pos)) > MOST:
        scene = sampled(1.02 * EDGE[kind] * (vertices / MOST) ** 0.5)
    return scene
