r"""What is measured: blocks of this library and their peers, each as a module of ``(x, batch)``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from benchmarks.streaming import peers
from benchmarks.streaming.cases import Case
from benchmarks.streaming.composition import (
    BatchNorm,
    ChannelLayerNorm,
    Composition,
    random_running_statistics,
)
from latentgraph.nn import GlobalContext, LatentGNN, OnGrid
from latentgraph.nn.linear_norm import LinearNorm


@dataclass(frozen=True)
class Entry:
    r"""Something that is measured.

    Attributes:
        make: builds it, with random weights.
        channel_first: whether it takes maps (B, C, H, W) for graphs too.
        training: whether its batch norms take their statistics from the nodes.
        max_nodes: size from which a call takes minutes.
        composition: the composition that has the same weights, which tells the exact results;
            None: the entry itself in float64 does.
    """

    make: Callable[[Case], nn.Module]
    channel_first: bool = False
    training: bool = False
    max_nodes: float = float("inf")
    composition: Callable[[Case], Composition] | None = None


class OnNodes(nn.Module):
    r"""A block on graphs, or on maps where the case has them."""

    def __init__(self, block: nn.Module, case: Case) -> None:
        super().__init__()
        self.block = OnGrid(block) if case.is_map else block
        self.is_map = case.is_map

    def forward(self, x: Tensor, batch: Tensor | None) -> Tensor:
        out: Tensor = self.block(x) if self.is_map else self.block(x, batch)
        return out


class OnMaps(nn.Module):
    r"""A block of maps, graph by graph where these differ in size."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor, batch: Tensor | None) -> Tensor:
        out: Tensor = self.block(x)
        return out


def composition(norm: Callable[[int], nn.Module], case: Case) -> Composition:
    module = Composition(case, norm)
    random_running_statistics(module)
    return module


batch_norm_composition = partial(composition, BatchNorm)
layer_norm_composition = partial(composition, ChannelLayerNorm)


def latent_gnn(norm: str, case: Case) -> nn.Module:
    r"""LatentGNN with the weights of the composition."""
    source = (batch_norm_composition if norm == "batch_norm" else layer_norm_composition)(case)
    block = LatentGNN(case.channels, case.latent_dims, case.reduction, norm=norm)
    pairs = [
        (block.visible, source.visible),
        (block.latent, source.latent),
        *zip((k.psi_v2l for k in block.kernels), source.psi_v2l, strict=True),
        *zip((k.psi_l2v for k in block.kernels), source.psi_l2v, strict=True),
        (block.up, source.up),
    ]
    for ours, theirs in pairs:
        copy_weights(ours, theirs)
    block.gamma.data.copy_(source.gamma.data)
    return OnNodes(block, case)


def copy_weights(ours: LinearNorm, theirs: nn.Sequential) -> None:
    r"""A linear map and its norm from a convolution and its norm."""
    conv, norm = theirs
    ours.linear.weight.data.copy_(conv.weight.data.flatten(1))
    ours.norm.load_state_dict(norm.state_dict())


def global_context(case: Case) -> nn.Module:
    block = GlobalContext(case.channels)
    nn.init.normal_(block.add.last.weight, std=0.1)
    return OnNodes(block, case)


OURS = "LatentGNN"
OURS_BN = "LatentGNN, batch norm in eval"
OURS_BN_TRAINING = "LatentGNN, batch norm in training"
AUTHORS = "authors' composition"
AUTHORS_TRAINING = "authors' composition in training"
CONTEXT = "GlobalContext"
PRODUCTS = "matrix products"
COPY = "one read and one write of x"

PERFORMER, SGFORMER = "PerformerAttention", "SGFormerAttention"
INDUCED = "InducedSetAttentionBlock"
GPS_PERFORMER, GPS_MULTIHEAD = "GPSConv, performer", "GPSConv, multihead"
DENSE = "scaled_dot_product_attention"
AGGREGATION = "AttentionalAggregation, MLP, broadcast"
MMCV = "mmcv's way of the context block"

RAGGED_PEERS = (PERFORMER, SGFORMER, INDUCED, GPS_PERFORMER, GPS_MULTIHEAD)
LATENT_PEERS = (*RAGGED_PEERS, DENSE)
CONTEXT_PEERS = (AGGREGATION, MMCV)

ENTRIES: dict[str, Entry] = {
    OURS: Entry(partial(latent_gnn, "layer_norm"), composition=layer_norm_composition),
    OURS_BN: Entry(partial(latent_gnn, "batch_norm"), composition=batch_norm_composition),
    OURS_BN_TRAINING: Entry(partial(latent_gnn, "batch_norm"), training=True),
    AUTHORS: Entry(
        lambda case: OnMaps(batch_norm_composition(case)), True, composition=batch_norm_composition
    ),
    AUTHORS_TRAINING: Entry(lambda case: OnMaps(batch_norm_composition(case)), True, training=True),
    PERFORMER: Entry(peers.performer),
    SGFORMER: Entry(peers.sgformer),
    INDUCED: Entry(peers.induced_set_attention),
    GPS_PERFORMER: Entry(partial(peers.gps, "performer")),
    GPS_MULTIHEAD: Entry(partial(peers.gps, "multihead"), max_nodes=20_000),
    DENSE: Entry(peers.ScaledDotProduct, max_nodes=50_000),
    PRODUCTS: Entry(peers.Products),
    COPY: Entry(peers.Copy),
    CONTEXT: Entry(global_context),
    AGGREGATION: Entry(peers.AggregatedContext),
    MMCV: Entry(lambda case: OnMaps(peers.MapContext(case)), channel_first=True),
}
