r"""The voxels of a scene."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform
from torch_geometric.utils import scatter

from latentgraph.scannet.labels import IGNORE_INDEX
from latentgraph.scannet.transforms.checks import rows
from latentgraph.voxel.grid import COORDINATE_BITS

_INPUTS = ("color", "normal")


class Voxelize(BaseTransform):
    r"""Average the vertices of a scene over the cells of a grid.

    From a scene of V vertices, as :class:`~latentgraph.scannet.ScanNet` has it, to its n voxels:

    * ``x``: inputs of a network, (n, 6) float32: mean color, in ``color_range``, and mean normal.
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
        color_range: What black and white become in ``x``.
        single: Take ``x``, ``pos``, ``y`` and ``room`` of one vertex of each voxel, drawn at random
            from the global generator of torch, in place of the mean or the most frequent of all.

    Raises:
        ValueError: If an argument cannot be, or a scene has more cells along an axis than 2^16, or
            colors or normals of other vertices.
    """

    def __init__(
        self,
        voxel_size: float,
        inputs: tuple[str, ...] = _INPUTS,
        color_range: tuple[float, float] = (-1.0, 1.0),
        single: bool = False,
    ) -> None:
        if not (voxel_size > 0 and math.isfinite(voxel_size)):
            raise ValueError(f"voxel_size must be a positive length in meters, got {voxel_size}")
        if not inputs or not set(inputs) <= set(_INPUTS):
            raise ValueError(f"inputs must be of {_INPUTS}, got {tuple(inputs)}")
        self.voxel_size = voxel_size
        self.inputs = tuple(inputs)
        self.color_range = color_range
        self.single = single

    @property
    def num_features(self) -> int:
        r"""Width of ``x``."""
        return 3 * len(self.inputs)

    def forward(self, data: Data) -> Data:
        pos = rows(data, "pos")
        coord, voxel_index = _grid(pos, self.voxel_size)
        size = len(coord)
        low, high = self.color_range
        values = [rows(data, name, len(pos)) for name in self.inputs]
        x = torch.cat(
            [
                low + (high - low) * value if name == "color" else value
                for name, value in zip(self.inputs, values, strict=True)
            ],
            dim=1,
        )
        chosen = _one_of_each(voxel_index, size) if self.single else None

        def mean(values: Tensor) -> Tensor:
            if chosen is not None:
                return values[chosen]
            total: Tensor = scatter(values, voxel_index, dim_size=size, reduce="mean")
            return total

        def most_frequent(label: Tensor) -> Tensor:
            if chosen is not None:
                return label[chosen]
            return _most_frequent(label, voxel_index, size)

        voxels = Data(x=mean(x), pos=mean(pos), coord=coord, voxel_index=voxel_index)
        if "y" in data:
            voxels.y = most_frequent(data.y)
            voxels.vertex_y = data.y
        if "room" in data:
            voxels.room = most_frequent(data.room)
        if "name" in data:
            voxels.name = data.name
        return voxels

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.voxel_size}, inputs={self.inputs}, "
            f"color_range={self.color_range}, single={self.single})"
        )


def members(voxel_index: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    r"""The vertices voxel after voxel, how many each has, and where they start."""
    count = torch.bincount(voxel_index, minlength=size)
    return voxel_index.argsort(stable=True), count, count.cumsum(0) - count


def _one_of_each(voxel_index: Tensor, size: int) -> Tensor:
    order, count, start = members(voxel_index, size)
    drawn = (torch.rand(size, dtype=torch.float64) * count.cpu()).long().to(count.device)
    return order[start + drawn]


def _grid(pos: Tensor, voxel_size: float) -> tuple[Tensor, Tensor]:
    r"""Places of the occupied cells, (n, 3), and the cell of each position, (V,)."""
    cell = torch.floor(pos.double() / voxel_size)
    if len(cell):
        cell -= cell.amin(dim=0)
        if not cell.amax() < 1 << COORDINATE_BITS:
            raise ValueError(
                f"a scene of {(pos.amax(dim=0) - pos.amin(dim=0)).tolist()} meters is too large "
                f"for voxels of {voxel_size} meters: at most 2^{COORDINATE_BITS} along an axis; "
                "is it in another unit?"
            )
    x, y, z = cell.long().unbind(dim=1)
    bits, mask = COORDINATE_BITS, (1 << COORDINATE_BITS) - 1
    key, voxel_index = torch.unique(x << 2 * bits | y << bits | z, return_inverse=True)
    return torch.stack([key >> 2 * bits, key >> bits & mask, key & mask], dim=1), voxel_index


def _most_frequent(label: Tensor, voxel_index: Tensor, size: int) -> Tensor:
    r"""Most frequent label of each voxel, the smallest of equals; labels below 0 do not count."""
    counted = label >= 0
    base = max(int(label.max()), 0) + 1 if label.numel() else 1
    pair, count = torch.unique(voxel_index[counted] * base + label[counted], return_counts=True)
    winner = torch.full((size,), -1, dtype=torch.long, device=label.device)
    rank = count * base + (base - 1 - pair % base)
    winner.scatter_reduce_(0, pair // base, rank, reduce="amax")
    return torch.where(winner >= 0, base - 1 - winner % base, IGNORE_INDEX)
