r"""Voxels of a scene, and random changes to it: positions, colors and normals together.

The random ones draw from the global generator of torch alone, so that a seed repeats them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform
from torch_geometric.utils import scatter

from latentgraph.scannet.labels import IGNORE_INDEX

_INPUTS = ("color", "normal")


class Voxelize(BaseTransform):
    r"""Average the vertices of a scene over the cells of a grid.

    From a scene of V vertices, as :class:`~latentgraph.scannet.ScanNet` has it, to its n voxels:

    * ``x``: inputs of a network, (n, 6) float32: mean of ``2 * color - 1``, mean normal.
    * ``pos``: mean position of the vertices, (n, 3) float32, meters.
    * ``coord``: place in the grid, (n, 3) int64, from 0.
    * ``y``: most frequent class of the annotated vertices, the first of equals, (n,) int64; -1
      where none is annotated.
    * ``room``: most frequent room, (n,) int64.
    * ``voxel_index``: voxel of each vertex, (V,) int64.
    * ``vertex_y``: class of each vertex, (V,) int64.
    * ``name``: name of the scene.

    ``y`` with ``vertex_y``, ``room`` and ``name`` are there where the scene has them. Voxels are
    in the order of their places, whatever the order of the vertices.

    Args:
        voxel_size: Edge of a cell in meters.
        inputs: What ``x`` is made of, ``"color"``, ``"normal"`` or both.

    Raises:
        ValueError: If an argument cannot be, or a scene has more cells along an axis than 2^20.
    """

    def __init__(self, voxel_size: float, inputs: tuple[str, ...] = _INPUTS) -> None:
        if not (voxel_size > 0 and math.isfinite(voxel_size)):
            raise ValueError(f"voxel_size must be a positive length in meters, got {voxel_size}")
        if not inputs or not set(inputs) <= set(_INPUTS):
            raise ValueError(f"inputs must be of {_INPUTS}, got {tuple(inputs)}")
        self.voxel_size = voxel_size
        self.inputs = tuple(inputs)

    @property
    def num_features(self) -> int:
        r"""Width of ``x``."""
        return 3 * len(self.inputs)

    def forward(self, data: Data) -> Data:
        pos = _rows(data, "pos")
        coord, voxel_index = _grid(pos, self.voxel_size)
        size = len(coord)

        def mean(values: Tensor) -> Tensor:
            total: Tensor = scatter(values, voxel_index, dim_size=size, reduce="mean")
            return total

        rows = [_rows(data, name) for name in self.inputs]
        centered = [
            2.0 * r - 1.0 if name == "color" else r
            for name, r in zip(self.inputs, rows, strict=True)
        ]
        voxels = Data(
            x=mean(torch.cat(centered, dim=1)),
            pos=mean(pos),
            coord=coord,
            voxel_index=voxel_index,
        )
        if "y" in data:
            voxels.y = _most_frequent(data.y, voxel_index, size)
            voxels.vertex_y = data.y
        if "room" in data:
            voxels.room = _most_frequent(data.room, voxel_index, size)
        if "name" in data:
            voxels.name = data.name
        return voxels

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.voxel_size}, inputs={self.inputs})"


def _grid(pos: Tensor, voxel_size: float) -> tuple[Tensor, Tensor]:
    r"""Places of the occupied cells, (n, 3), and the cell of each position, (V,)."""
    cell = torch.floor(pos.double() / voxel_size)
    if len(cell):
        cell -= cell.amin(dim=0)
        if not cell.amax() < 1 << 20:
            raise ValueError(
                f"a scene of {(pos.amax(dim=0) - pos.amin(dim=0)).tolist()} meters is too large "
                f"for voxels of {voxel_size} meters: at most 2^20 along an axis"
            )
    x, y, z = cell.long().unbind(dim=1)
    key, voxel_index = torch.unique(x << 40 | y << 20 | z, return_inverse=True)
    mask = (1 << 20) - 1
    return torch.stack([key >> 40, key >> 20 & mask, key & mask], dim=1), voxel_index


def _most_frequent(label: Tensor, voxel_index: Tensor, size: int) -> Tensor:
    r"""Most frequent label of each voxel, the smallest of equals; labels below 0 do not count."""
    counted = label >= 0
    base = max(int(label.max()), 0) + 1 if label.numel() else 1
    pair, count = torch.unique(voxel_index[counted] * base + label[counted], return_counts=True)
    winner = torch.full((size,), -1, dtype=torch.long, device=label.device)
    rank = count * base + (base - 1 - pair % base)
    winner.scatter_reduce_(0, pair // base, rank, reduce="amax")
    return torch.where(winner >= 0, base - 1 - winner % base, IGNORE_INDEX)


class RandomRotateZ(BaseTransform):
    r"""Turn a scene about the vertical axis, by an even draw from -degrees to degrees."""

    def __init__(self, degrees: float = 180.0) -> None:
        self.degrees = _at_least_zero(degrees, "degrees")

    def forward(self, data: Data) -> Data:
        angle = math.radians(self.degrees) * float(2.0 * torch.rand(()) - 1.0)
        sin, cos = math.sin(angle), math.cos(angle)
        pos = _rows(data, "pos")
        turn = pos.new_tensor([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
        data.pos = pos @ turn.T
        if "normal" in data:
            data.normal = data.normal @ turn.T
        return data


class RandomFlip(BaseTransform):
    r"""Mirror a scene along x and along y, each with probability :obj:`p`."""

    def __init__(self, p: float = 0.5) -> None:
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"p must be a probability, got {p}")
        self.p = p

    def forward(self, data: Data) -> Data:
        flip = torch.rand(2) < self.p
        pos = _rows(data, "pos")
        sign = pos.new_tensor([-1.0 if flip[0] else 1.0, -1.0 if flip[1] else 1.0, 1.0])
        data.pos = pos * sign
        if "normal" in data:
            data.normal = data.normal * sign
        return data


class RandomScale(BaseTransform):
    r"""Scale a scene by an even draw from :obj:`low` to :obj:`high`."""

    def __init__(self, low: float = 0.9, high: float = 1.1) -> None:
        if not 0.0 < low <= high < math.inf:
            raise ValueError(f"expected 0 < low <= high, got {low} and {high}")
        self.low, self.high = low, high

    def forward(self, data: Data) -> Data:
        data.pos = _rows(data, "pos") * float(self.low + (self.high - self.low) * torch.rand(()))
        return data


class RandomJitter(BaseTransform):
    r"""Move each vertex by normal noise of :obj:`sigma` meters, at most 4 sigma along an axis."""

    def __init__(self, sigma: float = 0.005) -> None:
        self.sigma = _at_least_zero(sigma, "sigma")

    def forward(self, data: Data) -> Data:
        pos = _rows(data, "pos")
        data.pos = pos + self.sigma * torch.randn_like(pos).clamp(-4.0, 4.0)
        return data


class ColorJitter(BaseTransform):
    r"""Shift all colors of a scene alike, and each by itself, by normal noise; cut to [0, 1].

    Args:
        shift: Standard deviation of what a whole channel is shifted by.
        sigma: Standard deviation of what each color is shifted by.
    """

    def __init__(self, shift: float = 0.05, sigma: float = 0.02) -> None:
        self.shift = _at_least_zero(shift, "shift")
        self.sigma = _at_least_zero(sigma, "sigma")

    def forward(self, data: Data) -> Data:
        color = _rows(data, "color")
        noise = self.sigma * torch.randn_like(color)
        shift = self.shift * torch.randn(3, dtype=noise.dtype, device=noise.device)
        data.color = (color + shift + noise).clamp(0.0, 1.0)
        return data


def _rows(data: Data, name: str) -> Tensor:
    r"""(V, 3), one of the fields of a scene."""
    rows = data.get(name, None)
    if not isinstance(rows, Tensor) or rows.dim() != 2 or rows.size(1) != 3:
        got = tuple(rows.shape) if isinstance(rows, Tensor) else type(rows).__name__
        raise ValueError(f"expected a scene with {name} of shape (V, 3), got {got}")
    return rows


def _at_least_zero(value: float, name: str) -> float:
    if not 0.0 <= value < math.inf:
        raise ValueError(f"{name} must be at least 0, got {value}")
    return value
