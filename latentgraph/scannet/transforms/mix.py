r"""Two scenes in one place."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch_geometric.data import Data

from latentgraph.scannet.transforms.checks import rows


def mix(scenes: Sequence[Data]) -> Data:
    r"""Scenes put into each other, so that a network cannot lean on what usually stands around.

    `Mix3D: Out-of-Context Data Augmentation for 3D Scenes <https://arxiv.org/abs/2110.02210>`_
    (3DV 2021). The middles of their floors come to lie on each other, at the origin.

    Args:
        scenes: One or more scenes. What is not in all of them is left out.

    Returns:
        The scene of all their vertices. ``room`` is counted on from scene to scene, and ``name``
        joins theirs with ``"+"``. A scene alone is returned as it is.

    Raises:
        ValueError: If there is no scene, or one of several has no ``pos``.
    """
    if not scenes:
        raise ValueError("expected one or more scenes, got none")
    if len(scenes) == 1:
        return scenes[0]
    for scene in scenes:
        rows(scene, "pos")
    mixed = Data()
    for key in scenes[0].keys():  # noqa: SIM118
        if all(key in scene for scene in scenes):
            values = [scene[key] for scene in scenes]
            if key == "pos":
                values = [_centered(pos) for pos in values]
            if key in ("room", "instance"):
                values = _counted_on(values)
            mixed[key] = "+".join(values) if key == "name" else torch.cat(values)
    return mixed


def _centered(pos: Tensor) -> Tensor:
    if not len(pos):
        return pos
    low, high = pos.aminmax(dim=0)
    return pos - torch.stack([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])


def _counted_on(values: Sequence[Tensor]) -> list[Tensor]:
    r"""Numbers of one scene after those of the one before; -1 stays."""
    counted, start = [], 0
    for value in values:
        counted.append(torch.where(value >= 0, value + start, value))
        start += int(value.max()) + 1 if len(value) else 0
    return counted
