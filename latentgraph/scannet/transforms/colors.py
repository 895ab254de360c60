r"""Random changes to the colors of a scene, and colors and normals taken away."""

from __future__ import annotations

import torch
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from latentgraph.scannet.transforms.checks import at_least_zero, happens, probability, rows

GRAY = 0.5


class ColorAutoContrast(BaseTransform):
    r"""Stretch each color channel of a scene to the whole range, and blend with what it was.

    Args:
        p: Probability that it happens.
        blend: Share of the stretched colors; by default an even draw from 0 to 1.

    Raises:
        ValueError: If one of them is outside 0 to 1.
    """

    def __init__(self, p: float = 0.2, blend: float | None = None) -> None:
        self.p = probability(p)
        if blend is not None and not 0.0 <= blend <= 1.0:
            raise ValueError(f"blend must be from 0 to 1, got {blend}")
        self.blend = blend

    def forward(self, data: Data) -> Data:
        drawn = float(torch.rand(()))
        color = rows(data, "color")
        if happens(self.p) and len(color):
            low, high = color.aminmax(dim=0)
            # A channel of one value has nothing to stretch.
            span = torch.where(high > low, high - low, 1.0)
            low = torch.where(high > low, low, 0.0)
            blend = drawn if self.blend is None else self.blend
            data.color = blend * (color - low) / span + (1.0 - blend) * color
        return data


class ColorShift(BaseTransform):
    r"""Shift each color channel of a scene by an even draw; cut to [0, 1].

    Args:
        shift: Largest shift.
        p: Probability that it happens.
    """

    def __init__(self, shift: float = 0.05, p: float = 0.95) -> None:
        self.shift = at_least_zero(shift, "shift")
        self.p = probability(p)

    def forward(self, data: Data) -> Data:
        shift = self.shift * (2.0 * torch.rand(3) - 1.0)
        color = rows(data, "color")
        if happens(self.p):
            data.color = (color + shift.to(color)).clamp(0.0, 1.0)
        return data


class ColorJitter(BaseTransform):
    r"""Shift each color by itself, by normal noise; cut to [0, 1].

    Args:
        sigma: Standard deviation.
        p: Probability that it happens.
    """

    def __init__(self, sigma: float = 0.05, p: float = 0.95) -> None:
        self.sigma = at_least_zero(sigma, "sigma")
        self.p = probability(p)

    def forward(self, data: Data) -> Data:
        color = rows(data, "color")
        if happens(self.p):
            noise = self.sigma * torch.randn_like(color)
            data.color = (color + noise).clamp(0.0, 1.0)
        return data


class ColorDrop(BaseTransform):
    r"""Make a whole scene gray.

    Args:
        p: Probability that it happens.
    """

    def __init__(self, p: float = 0.2) -> None:
        self.p = probability(p)

    def forward(self, data: Data) -> Data:
        color = rows(data, "color")
        if happens(self.p):
            data.color = torch.full_like(color, GRAY)
        return data


class NormalDrop(BaseTransform):
    r"""Set all normals of a scene to 0, as where there is no face.

    Args:
        p: Probability that it happens.
    """

    def __init__(self, p: float = 0.2) -> None:
        self.p = probability(p)

    def forward(self, data: Data) -> Data:
        if happens(self.p) and "normal" in data:
            data.normal = torch.zeros_like(data.normal)
        return data
