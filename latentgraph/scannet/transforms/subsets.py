r"""Some of the vertices of a scene."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from latentgraph.scannet.transforms.checks import happens, probability, rows


def subset(data: Data, index: Tensor) -> Data:
    r"""The scene of some vertices: everything that has a row for each is cut to these.

    Args:
        data: A scene, as :class:`~latentgraph.scannet.ScanNet` has it.
        index: (v,) int64, the vertices to keep.
    """
    count = data.pos.size(0)
    values = {
        key: value[index]
        if isinstance(value, Tensor) and value.dim() > 0 and value.size(0) == count
        else value
        for key, value in data.to_dict().items()
    }
    return Data(**values)


class RandomDropout(BaseTransform):
    r"""Leave out a share of the vertices.

    Args:
        ratio: The share, below 1.
        p: Probability that it happens.

    Raises:
        ValueError: If the share or the probability cannot be.
    """

    def __init__(self, ratio: float = 0.2, p: float = 0.2) -> None:
        if not 0.0 <= ratio < 1.0:
            raise ValueError(f"ratio must be from 0 to below 1, got {ratio}")
        self.ratio, self.p = ratio, probability(p)

    def forward(self, data: Data) -> Data:
        count = rows(data, "pos").size(0)
        if not happens(self.p):
            return data
        keep = torch.randperm(count)[: count - int(count * self.ratio)]
        return subset(data, keep.sort().values)


class RandomCrop(BaseTransform):
    r"""Of a larger scene, keep the vertices that lie nearest to a random one.

    Args:
        max_points: Number of vertices to keep.

    Raises:
        TypeError: If that is no int.
        ValueError: If it is below 1.
    """

    def __init__(self, max_points: int = 100_000) -> None:
        if type(max_points) is not int:
            raise TypeError(f"max_points must be an int, got {max_points!r}")
        if max_points < 1:
            raise ValueError(f"max_points must be at least 1, got {max_points}")
        self.max_points = max_points

    def forward(self, data: Data) -> Data:
        pos = rows(data, "pos")
        count = pos.size(0)
        middle = int(torch.rand((), dtype=torch.float64) * count)
        if count <= self.max_points:
            return data
        distance = (pos - pos[middle]).square().sum(dim=1)
        nearest = distance.topk(self.max_points, largest=False).indices
        return subset(data, nearest.sort().values)
