r"""The rows of the table: blocks of the library by name, and controls that are only here."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.compare import POSITIONS
from latentgraph.functional import Ragged
from latentgraph.nn import GlobalContext
from latentgraph.nn.position_features import SCALE

SHALLOW, DEEP = (16, 32, 64), (16, 32, 64, 128)
WINDOWS = POSITIONS | {"windows": True}
VOTES = WINDOWS | {"votes": True}
WIDE = VOTES | {"norm": "layer_norm", "reduction": 1, "latent_dims": [64]}
MIXED = WIDE | {"mixing": "cosine", "temperature": 0.02}
RESIDUAL = MIXED | {"mixing": "residual"}
MEAN = {"pool": "mean"}
PUBLISHED = {"latent_dims": [32], "norm": "batch_norm"}


class Row(NamedTuple):
    r"""A network: its block, its options, the widths of the levels, and the level of the block."""

    block: str | None
    options: dict[str, Any]
    channels: tuple[int, ...] = SHALLOW
    true_rooms: bool = False
    level: int = -1


ROWS = {
    "no context": Row(None, {}),
    "mean pooling, MLP": Row("GlobalContext", MEAN),
    "windows": Row("LatentGNN", WINDOWS),
    "windows, votes": Row("LatentGNN", VOTES),
    "windows, votes, wide": Row("LatentGNN", WIDE),
    "windows, votes, wide, mixing": Row("LatentGNN", MIXED),
    "windows, votes, wide, residual mixing": Row("LatentGNN", RESIDUAL),
    "oracle: mean over the true room, MLP": Row("GlobalContext", MEAN, true_rooms=True),
    "LatentGNN as published": Row("LatentGNN", PUBLISHED),
    "positions, random start": Row("LatentGNN", POSITIONS),
    "no context, deeper": Row(None, {}, DEEP),
    "windows, votes, wide, deeper": Row("LatentGNN", WIDE, DEEP),
    "windows, votes, wide, deeper, above the bottleneck": Row("LatentGNN", WIDE, DEEP, level=2),
    "means over a grid, MLP": Row("GridMeans", {}),
    "dense non-local with positions": Row("PlacedNonLocal", {}),
    "GlobalContext": Row("GlobalContext", {}),
}


def some_graphs(graphs: Ragged | None, x: Tensor) -> Ragged:
    r"""The graphs of the nodes, where None stands for one of all of them."""
    if graphs is not None:
        return graphs
    return Ragged(torch.zeros(len(x), dtype=torch.int64, device=x.device), 1)


class GridMeans(nn.Module):
    r"""Mean pooling over the cells of a grid whose edge is the rms radius of the scene, and MLP."""

    affinity_channels = 4

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.context = GlobalContext(channels, pool="mean")

    def weights(self, affinity_x: Tensor) -> Tensor:
        r"""(n, n), whether two nodes are of one cell."""
        cell = torch.floor(affinity_x[:, :2] / SCALE)
        return (cell.unsqueeze(0) == cell.unsqueeze(1)).all(2).float()

    def forward(self, x: Tensor, graphs: Ragged | None, affinity_x: Tensor) -> Tensor:
        cell = torch.floor(affinity_x[:, :2] / SCALE).long()
        key = torch.cat([some_graphs(graphs, x).batch.unsqueeze(1), cell], 1)
        out: Tensor = self.context(x, torch.unique(key, dim=0, return_inverse=True)[1])
        return out


class PlacedNonLocal(nn.Module):
    r"""Dense attention whose queries and keys see positions; batch norm with scale 0 at the end."""

    affinity_channels = 4

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 2
        self.theta, self.phi = (nn.Linear(channels + 4, inner) for _ in range(2))
        self.g, self.out = nn.Linear(channels, inner), nn.Linear(inner, channels)
        self.norm = nn.BatchNorm1d(channels)
        nn.init.zeros_(self.norm.weight)

    def weights(self, x: Tensor, affinity_x: Tensor) -> Tensor:
        r"""(n, n), [i, j] with which i hears from j."""
        seen = torch.cat([x, affinity_x], 1)
        theta, phi = self.theta(seen), self.phi(seen)
        return (theta @ phi.T / theta.size(1) ** 0.5).softmax(1)

    def forward(self, x: Tensor, graphs: Ragged | None, affinity_x: Tensor) -> Tensor:
        graphs = some_graphs(graphs, x)
        received = x.new_empty(x.size(0), self.g.out_features)
        for b in range(graphs.batch_size):
            own = graphs.batch == b
            received[own] = self.weights(x[own], affinity_x[own]) @ self.g(x[own])
        out: Tensor = x + self.norm(self.out(received))
        return out


CONTROLS = {"GridMeans": GridMeans, "PlacedNonLocal": PlacedNonLocal}
