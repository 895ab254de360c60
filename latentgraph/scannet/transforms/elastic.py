r"""Random smooth bending of a scene."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from latentgraph.scannet.transforms.checks import happens, probability, rows


class ElasticDistortion(BaseTransform):
    r"""Move vertices along smooth random fields, one after the other.

    A field is normal noise at the corners of a grid, averaged twice over 3 x 3 x 3 corners and
    interpolated between them, times its magnitude. A normal n becomes
    :math:`J^{-\top} n / \lVert J^{-\top} n \rVert`, where J is the derivative of the new positions
    by the old ones, so that normals stay at right angles to their surface.

    Args:
        granularity: Edge of the grid of each field, meters.
        magnitude: Standard deviation of its noise before it is averaged, meters.
        p: Probability that it happens.

    Raises:
        ValueError: If a number cannot be, there are more of one than of the other, or a scene has
            positions that are not finite.
    """

    def __init__(
        self,
        granularity: Sequence[float] = (0.2, 0.8),
        magnitude: Sequence[float] = (0.4, 1.6),
        p: float = 0.95,
    ) -> None:
        if len(granularity) != len(magnitude):
            raise ValueError(
                "expected a granularity and a magnitude for each field, got "
                f"{tuple(granularity)} and {tuple(magnitude)}"
            )
        if not all(g > 0.0 for g in granularity) or not all(m >= 0.0 for m in magnitude):
            raise ValueError(
                "expected granularity above 0 and magnitude from 0, got "
                f"{tuple(granularity)} and {tuple(magnitude)}"
            )
        self.granularity, self.magnitude = tuple(granularity), tuple(magnitude)
        self.p = probability(p)

    def forward(self, data: Data) -> Data:
        pos = rows(data, "pos")
        if not bool(pos.isfinite().all()):
            raise ValueError("expected a scene with pos of finite numbers, got NaN or infinity")
        if not happens(self.p) or not len(pos):
            return data
        for granularity, magnitude in zip(self.granularity, self.magnitude, strict=True):
            low = pos.amin(dim=0) - granularity
            place = (pos - low) / granularity
            # A margin at both ends, since what is averaged fades out there.
            sizes = [int(size) + 3 for size in place.amax(dim=0).tolist()]
            noise = magnitude * torch.randn(3, *sizes, dtype=pos.dtype)
            for _ in range(2):
                noise = F.avg_pool3d(noise[None], 3, stride=1, padding=1)[0]
            moved, slopes = interpolate(noise.to(pos.device), place)
            data.pos = pos = pos + moved
            if "normal" in data:
                data.normal = _bent(data.normal, slopes / granularity)
        return data


def interpolate(grid: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    r"""Values between the corners of a grid, linear along each axis, and how they change.

    Args:
        grid: (C, X, Y, Z) values at whole places.
        place: (n, 3) places from 0 to below the last corner.

    Returns:
        (n, C) values, and (n, 3, C) their derivatives along x, y and z.
    """
    cell = place.floor().long()
    share = place - cell
    values = grid.flatten(1).T
    strides = torch.tensor([grid.stride(1), grid.stride(2), grid.stride(3)], device=grid.device)
    total = place.new_zeros(place.size(0), grid.size(0))
    slopes = place.new_zeros(place.size(0), 3, grid.size(0))
    for corner in product((0, 1), repeat=3):
        at = torch.tensor(corner, device=grid.device)
        value = values[((cell + at) * strides).sum(dim=1)]
        weight = torch.where(at == 1, share, 1.0 - share)
        total += weight.prod(dim=1, keepdim=True) * value
        for axis in range(3):
            one, two = weight[:, (axis + 1) % 3], weight[:, (axis + 2) % 3]
            sign = 1.0 if corner[axis] else -1.0
            slopes[:, axis] += (sign * one * two).unsqueeze(1) * value
    return total, slopes


def _bent(normal: Tensor, slopes: Tensor) -> Tensor:
    r"""Normals after a motion with these derivatives; 0 stays 0."""
    x, y, z = (slopes + torch.eye(3, dtype=slopes.dtype, device=slopes.device)).unbind(dim=1)
    yz = torch.linalg.cross(y, z)
    cofactor = torch.stack([yz, torch.linalg.cross(z, x), torch.linalg.cross(x, y)], dim=1)
    # The sign of the determinant keeps the front in front where the motion folds space.
    front = (x * yz).sum(dim=1, keepdim=True).sign()
    return F.normalize(front * torch.einsum("na,nac->nc", normal, cofactor), dim=1)
