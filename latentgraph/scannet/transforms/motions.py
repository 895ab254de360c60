r"""Random turns, mirrors, scales and noise of a scene, its normals along with it."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from latentgraph.scannet.transforms.checks import at_least_zero, happens, probability, rows


class RandomRotateZ(BaseTransform):
    r"""Turn a scene about the vertical axis, by an even draw from -degrees to degrees.

    Args:
        degrees: Largest angle.
        p: Probability that the scene is turned at all.
    """

    def __init__(self, degrees: float = 180.0, p: float = 1.0) -> None:
        self.degrees = at_least_zero(degrees, "degrees")
        self.p = probability(p)

    def forward(self, data: Data) -> Data:
        angle = _angle(self.degrees)
        return turned(data, angle, axis=2) if happens(self.p) else data


class RandomTilt(BaseTransform):
    r"""Turn a scene about x and then about y, each by an even draw from -degrees to degrees.

    Args:
        degrees: Largest angle.
        p: Probability of each of the two turns.
    """

    def __init__(self, degrees: float = 180.0 / 64, p: float = 0.5) -> None:
        self.degrees = at_least_zero(degrees, "degrees")
        self.p = probability(p)

    def forward(self, data: Data) -> Data:
        for axis in (0, 1):
            angle = _angle(self.degrees)
            if happens(self.p):
                data = turned(data, angle, axis)
        return data


class RandomFlip(BaseTransform):
    r"""Mirror a scene along x and along y.

    Args:
        p: Probability of each of the two.
    """

    def __init__(self, p: float = 0.5) -> None:
        self.p = probability(p)

    def forward(self, data: Data) -> Data:
        flip = torch.rand(2) < self.p
        return mirrored(data, bool(flip[0]), bool(flip[1]))


class RandomScale(BaseTransform):
    r"""Scale a scene by an even draw.

    Args:
        low: Least factor, above 0.
        high: Largest factor.

    Raises:
        ValueError: If ``high`` is below ``low``, or one of them cannot be.
    """

    def __init__(self, low: float = 0.9, high: float = 1.1) -> None:
        if not 0.0 < low <= high < math.inf:
            raise ValueError(f"expected 0 < low <= high, got {low} and {high}")
        self.low, self.high = low, high

    def forward(self, data: Data) -> Data:
        data.pos = rows(data, "pos") * float(self.low + (self.high - self.low) * torch.rand(()))
        return data


class RandomJitter(BaseTransform):
    r"""Move each vertex by normal noise, at most 4 sigma along an axis.

    Args:
        sigma: Deviation of the noise in meters.
    """

    def __init__(self, sigma: float = 0.005) -> None:
        self.sigma = at_least_zero(sigma, "sigma")

    def forward(self, data: Data) -> Data:
        pos = rows(data, "pos")
        data.pos = pos + self.sigma * torch.randn_like(pos).clamp(-4.0, 4.0)
        return data


def turned(data: Data, degrees: float, axis: int) -> Data:
    r"""The scene turned about an axis, 0 for x to 2 for z, counterclockwise seen from its tip."""
    sin, cos = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    matrix = torch.eye(3, dtype=torch.float64)
    one, two = (axis + 1) % 3, (axis + 2) % 3
    matrix[one, one] = matrix[two, two] = cos
    matrix[one, two], matrix[two, one] = -sin, sin
    return _mapped(data, matrix)


def mirrored(data: Data, x: bool = False, y: bool = False) -> Data:
    r"""The scene mirrored along x, along y, or both."""
    sign = torch.tensor([-1.0 if x else 1.0, -1.0 if y else 1.0, 1.0], dtype=torch.float64)
    return _mapped(data, sign.diag())


def _mapped(data: Data, matrix: Tensor) -> Data:
    r"""Positions and normals under an orthogonal matrix."""
    pos = rows(data, "pos")
    matrix = matrix.to(pos)
    data.pos = pos @ matrix.T
    if "normal" in data:
        data.normal = data.normal @ matrix.T
    return data


def _angle(degrees: float) -> float:
    return degrees * float(2.0 * torch.rand(()) - 1.0)
