r"""Layers that are called on sharded nodes: as ``layer(x, batch, batch_size)``, from channels."""

from collections.abc import Callable
from functools import partial
from typing import Any

from samples import BLOCKS
from torch import Tensor, nn

from latentgraph.nn import LatentAggregation, LatentGNN, position_features


class WithPositions(nn.Module):
    r"""LatentGNN whose affinities see the positions of nodes: three further exchanges."""

    def __init__(self, channels: int, reduction: int = 2, **options: Any) -> None:
        super().__init__()
        self.block = LatentGNN(channels, (5, 3), reduction, affinity_channels=4, **options)

    def forward(self, x: Tensor, batch: Tensor | None, batch_size: int | None) -> Tensor:
        return self.block(x, batch, batch_size, position_features(x[:, :3], batch, batch_size))


class Aggregated(nn.Module):
    r"""One row for each graph, which every rank has."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.aggregation = LatentAggregation(channels, num_latents=5)

    def forward(self, x: Tensor, batch: Tensor | None, batch_size: int | None) -> Tensor:
        y: Tensor = self.aggregation(x, batch, dim_size=batch_size)
        return y


class TwoInOne(nn.Module):
    r"""Blocks behind and beside each other, whose exchanges must not be mixed up."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = (BLOCKS["latent_gnn"](channels) for _ in range(2))
        self.third = BLOCKS["global_context"](channels)

    def forward(self, x: Tensor, batch: Tensor | None, batch_size: int | None) -> Tensor:
        x = self.first(x, batch, batch_size)
        return self.second(x, batch, batch_size) * self.third(x, batch, batch_size).tanh()


NORMED = {
    f"batch_norm_{mode}": partial(
        LatentGNN, latent_dims=(5, 3), reduction=2, mode=mode, norm="batch_norm", graph_conv=True
    )
    for mode in ("asymmetric", "symmetric")
}
LAYERS: dict[str, Callable[[int], nn.Module]] = {
    **BLOCKS,
    **NORMED,
    "positions": WithPositions,
    "windows": partial(WithPositions, windows=True, mode="symmetric"),
    "votes": partial(WithPositions, windows=True, votes=True),
    "apartments": partial(
        WithPositions, reduction=1, mode="symmetric", mixing="none", windows=True, votes=True
    ),
    "two": TwoInOne,
    "aggregation": Aggregated,
}
SEES_POSITIONS = ("positions", "windows", "votes", "apartments")
# Graphs as a whole, not nodes, come out of these.
POOLS = ("aggregation",)
