r"""Whether what a layer says of a graph depends on the other graphs of its batch: python -m
benchmarks.batches

Random parameters, float64, evaluation mode. A graph of 17 nodes is computed alone and beside one of
101; then the nodes of both are shuffled, with their ``batch``. The result is a table of the largest
difference over the largest value.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch_geometric.nn import GPSConv
from torch_geometric.nn.aggr.utils import InducedSetAttentionBlock
from torch_geometric.nn.attention import PerformerAttention, PolynormerAttention, SGFormerAttention

from benchmarks.machine import machine
from benchmarks.streaming.peers import Dense
from latentgraph.nn import GlobalContext, LatentGNN, NonLocal, SqueezeExcitation

RESULTS = Path(__file__).parent / "results" / "batches.md"
CHANNELS, SIZES = 32, (17, 101)


class WithoutEdges(nn.Module):
    r"""A layer that takes ``edge_index`` before ``batch``, on no edges."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, batch: Tensor) -> Tensor:
        out: Tensor = self.layer(x, torch.empty(2, 0, dtype=torch.int64), batch)
        return out


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "`LatentGNN`": lambda: LatentGNN(CHANNELS, latent_dims=(16,), gamma_init=1.0),
    "`GlobalContext`": lambda: GlobalContext(CHANNELS, ratio=1 / 4),
    "`SqueezeExcitation`": lambda: SqueezeExcitation(CHANNELS, ratio=1 / 4),
    "`NonLocal`": lambda: NonLocal(CHANNELS),
    "PyG `GPSConv`, multihead": lambda: WithoutEdges(GPSConv(CHANNELS, None)),
    "PyG `GPSConv`, performer": lambda: WithoutEdges(
        GPSConv(CHANNELS, None, attn_type="performer")
    ),
    "PyG `PerformerAttention`": lambda: Dense(PerformerAttention(CHANNELS, heads=1)),
    "PyG `SGFormerAttention`": lambda: Dense(SGFormerAttention(CHANNELS, heads=1)),
    "PyG `PolynormerAttention`": lambda: Dense(PolynormerAttention(CHANNELS, heads=1)),
    "PyG `InducedSetAttentionBlock`": lambda: Dense(InducedSetAttentionBlock(CHANNELS, 16)),
}


def distance(actual: Tensor, expected: Tensor) -> float:
    r"""Largest difference over the largest value."""
    return ((actual - expected).abs().max() / expected.abs().max()).item()


@torch.no_grad()
def changes(layer: nn.Module) -> tuple[str, str]:
    r"""By how much a graph's rows change beside another, and all rows where nodes are shuffled."""
    layer.eval()
    for parameter in layer.parameters():
        parameter.normal_(0.1, 0.4)
    x = torch.randn(sum(SIZES), CHANNELS)
    batch = torch.arange(2).repeat_interleave(torch.tensor(SIZES))
    alone = layer(x[: SIZES[0]], batch[: SIZES[0]])
    together = layer(x, batch)
    beside = f"{distance(together[: SIZES[0]], alone):.1e}"
    order = torch.randperm(len(x))
    try:
        shuffled = layer(x[order], batch[order])
    except (RuntimeError, IndexError) as error:
        return beside, type(error).__name__
    if len(shuffled) != len(x):
        return beside, f"{len(shuffled)} of {len(x)} rows"
    return beside, f"{distance(shuffled, together[order]):.1e}"


def table() -> str:
    torch.set_default_dtype(torch.float64)  # some make tensors of their own
    rows = []
    for name, make in LAYERS.items():
        torch.manual_seed(0)
        beside, shuffled = changes(make())
        rows.append(f"| {name} | {beside} | {shuffled} |")
    head = [
        f"`python -m benchmarks.batches`: {machine()}.",
        "",
        "| layer | beside a larger graph | nodes shuffled |",
        "| --- | ---: | ---: |",
    ]
    return "\n".join([*head, *rows]) + "\n"


if __name__ == "__main__":
    RESULTS.write_text(table())
    print(RESULTS.read_text())
