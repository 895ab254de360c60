r"""Scans: what a hand-held scanner and an annotator leave of a clean mesh."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from latentgraph.scannet.rooms.furniture import NYU40
from latentgraph.scannet.rooms.mesh import Mesh
from latentgraph.scannet.rooms.scene import Scene
from latentgraph.scannet.rooms.sheets import Floats

NOISE = 0.006
"""Standard deviation of the position noise, in metres."""
DROPPED = 0.03
"""Share of vertices that a scan loses one by one."""
UNANNOTATED = 0.02
"""Share of vertices, in whole segments, that nobody annotated."""
HOLES_PER_ROOM = 5
HOLE_RADIUS = (0.12, 0.35)


def scan(mesh: Mesh, types: tuple[str, ...], rng: np.random.Generator) -> Scene:
    r"""Light, noise, holes and missing labels, and a random heading."""
    color = _light(mesh, rng)
    keep = mesh.seen & ~_holes(mesh, rng) & (rng.random(len(mesh.pos)) >= DROPPED)
    index = np.cumsum(keep) - 1
    faces = index[mesh.faces[keep[mesh.faces].all(axis=1)]]
    instance = np.where(_unannotated(mesh.segment, rng), -1, mesh.instance)[keep]
    # As in ScanNet, a segment carries the number of one of its vertices.
    _, first, number = np.unique(mesh.segment[keep], return_index=True, return_inverse=True)
    nyu40 = np.array([*(NYU40[category] for category in mesh.categories), 0])
    pos, alignment = _turn(mesh.pos[keep] + rng.normal(0.0, NOISE, (int(keep.sum()), 3)), rng)
    return Scene(
        pos=pos.astype(np.float32),
        color=color[keep],
        faces=faces.astype(np.int32),
        nyu40=nyu40[instance],
        instance=instance,
        segment=first[number],
        room=mesh.room[keep],
        categories=mesh.categories,
        types=types,
        alignment=alignment,
    )


def _light(mesh: Mesh, rng: np.random.Generator) -> NDArray[np.uint8]:
    r"""Shades by the angle to one light; exposure, tint and noise as of a cheap camera."""
    light = rng.normal(size=3) + np.array([0.0, 0.0, 1.5])
    light /= np.linalg.norm(light)
    shade = 0.72 + 0.28 * np.abs(_normals(mesh) @ light)
    exposure = rng.uniform(0.85, 1.1) * rng.uniform(0.96, 1.04, 3)
    color = mesh.color * shade[:, None] * exposure + rng.normal(0.0, 7.0, mesh.color.shape)
    return np.asarray(np.clip(color.round(), 0, 255), np.uint8)


def _normals(mesh: Mesh) -> Floats:
    a, b, c = (mesh.pos[mesh.faces[:, corner]] for corner in range(3))
    normal = np.cross(b - a, c - a)
    corners, size = mesh.faces.T.ravel(), len(mesh.pos)
    total = np.stack(
        [np.bincount(corners, np.tile(normal[:, axis], 3), size) for axis in range(3)], axis=-1
    )
    length = np.linalg.norm(total, axis=-1, keepdims=True)
    return np.asarray(total / np.maximum(length, 1e-12))


def _holes(mesh: Mesh, rng: np.random.Generator) -> NDArray[np.bool_]:
    r"""Balls in which nothing was seen, centered on random vertices."""
    hole = np.zeros(len(mesh.pos), bool)
    for _ in range(HOLES_PER_ROOM * (int(mesh.room[-1]) + 1)):
        offset = mesh.pos - mesh.pos[rng.integers(len(mesh.pos))]
        hole |= np.einsum("vi,vi->v", offset, offset) < rng.uniform(*HOLE_RADIUS) ** 2
    return hole


def _unannotated(segment: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.bool_]:
    r"""Vertices of random segments, up to the share that stays without a label."""
    sizes = np.bincount(segment)
    order = rng.permutation(len(sizes))
    left_out = np.zeros(len(sizes), bool)
    left_out[order] = np.cumsum(sizes[order]) <= UNANNOTATED * len(segment)
    return left_out[segment]


def _turn(pos: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    r"""Turns the scene about z and moves it, and gives the matrix that undoes it.

    The matrix puts the middle of the scene at the origin, as ScanNet's alignments do.
    """
    middle = (pos.min(axis=0) + pos.max(axis=0)) / 2 * np.array([1.0, 1.0, 0.0])
    angle = rng.uniform(0.0, 2 * np.pi)
    cos, sin = np.cos(angle), np.sin(angle)
    rotation = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    turned = (pos - middle) @ rotation.T
    shift = rng.uniform(0.0, 0.1, 3) - turned.min(axis=0)
    alignment = np.eye(4)
    alignment[:3, :3] = rotation.T
    alignment[:3, 3] = -rotation.T @ shift
    return turned + shift, alignment
