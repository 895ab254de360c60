r"""What hypothesis draws from: nodes of some graphs, and every block with any of its options.

Sizes and options are drawn; the numbers themselves come from torch, by a seed that is drawn.
"""

from collections.abc import Callable
from functools import partial

import torch
from hypothesis import strategies as st
from samples import LARGER, Nodes, nodes, randomized
from torch import Tensor, nn

from latentgraph.nn import (
    GlobalContext,
    LatentAggregation,
    LatentGNN,
    NonLocal,
    SimplifiedNonLocal,
    SqueezeExcitation,
    position_features,
)

CHANNELS = 11
RARELY = 60  # one of so many cases is larger

seeds = st.integers(0, 2**31)


def start_at(seed: int) -> None:
    r"""``torch.manual_seed`` for the CPU alone.

    For other devices it keeps a traceback of every call, which is an eighth of the time of a case.
    """
    torch.default_generator.manual_seed(seed)


class Aggregated(nn.Module):
    r"""A :class:`LatentAggregation` that hands :math:`\sum_k k Z_k` to each node of the graph."""

    def __init__(self, channels: int, **options: object) -> None:
        super().__init__()
        self.aggr = LatentAggregation(channels, **options)

    def forward(
        self, x: Tensor, batch: Tensor | None = None, batch_size: int | None = None
    ) -> Tensor:
        of_node = torch.zeros(len(x), dtype=torch.int64) if batch is None else batch
        latents = self.aggr(x, batch, dim_size=1 if batch_size is None else batch_size)
        number = torch.arange(self.aggr.num_latents, dtype=x.dtype)
        return torch.einsum("bkc,k->bc", latents.unflatten(1, (len(number), -1)), number)[of_node]


class Placed(nn.Module):
    r"""A :class:`LatentGNN` whose nodes lie where their first three features say."""

    def __init__(self, channels: int, **options: object) -> None:
        super().__init__()
        self.block = LatentGNN(channels, affinity_channels=4, **options)

    def forward(
        self, x: Tensor, batch: Tensor | None = None, batch_size: int | None = None
    ) -> Tensor:
        places = position_features(x[:, :3].detach(), batch, batch_size)
        return self.block(x, batch, batch_size, places)

    @property
    def chunk_size(self) -> int | None:
        return self.block.chunk_size

    @chunk_size.setter
    def chunk_size(self, chunk_size: int | None) -> None:
        self.block.chunk_size = chunk_size


def alike(x: Tensor) -> Tensor:
    return x[:1].expand_as(x).clone()


def twice(x: Tensor) -> Tensor:
    return torch.cat([x[: len(x) // 2], x[: len(x) - len(x) // 2]])


ROWS: dict[str, Callable[[Tensor], Tensor]] = {
    "random": lambda x: x,
    "zero": torch.zeros_like,
    "constant": torch.ones_like,
    "alike": alike,
    "twice": twice,
    "mostly zero": lambda x: x * (torch.rand(len(x), 1, dtype=x.dtype) < 0.3),
}


@st.composite
def graphs(
    draw: st.DrawFn,
    rows: tuple[str, ...] = tuple(ROWS),
    largest: int = 9,
    channels: int = CHANNELS,
    larger: tuple[tuple[int, ...], ...] = LARGER,
) -> Nodes:
    r"""Up to five graphs, each of up to ``largest`` nodes or of none, their nodes in any order.

    Now and then those of one of ``larger`` instead.
    """
    small = st.lists(st.integers(0, largest), max_size=5)
    sizes = draw(st.sampled_from([None] * RARELY + list(larger))) or draw(small)
    start_at(draw(seeds))
    x, batch, batch_size = nodes(sizes, channels, in_order=draw(st.booleans()))
    return Nodes(ROWS[draw(st.sampled_from(rows))](x), batch, batch_size)


def _options(kind: str, **narrower: st.SearchStrategy) -> st.SearchStrategy[dict[str, object]]:
    some = st.sampled_from
    latent_gnn = {
        "latent_dims": st.lists(st.integers(3, 7), min_size=1, max_size=3),
        "reduction": st.integers(1, 3),
        "mode": some(["asymmetric", "symmetric"]),
        "norm": some(["layer_norm", "batch_norm", None]),
        "graph_conv": st.booleans(),
        "mixing": some(["cosine", "residual", "none"]),
        "temperature": some([1.0, 0.3, "learned"]),
        "top_k": some([None, 1, 2, 3]),
        "residual": st.booleans(),
    }
    every: dict[str, dict[str, st.SearchStrategy]] = {
        "latent_gnn": latent_gnn,
        "placed": latent_gnn | {"windows": st.booleans(), "votes": st.booleans()},
        "global_context": {
            "ratio": some([1 / 5, 1 / 2, 1.0]),
            "pool": some(["attention", "mean"]),
            "fuse": some([("add",), ("mul",), ("add", "mul")]),
        },
        "simplified_non_local": {},
        "squeeze_excitation": {"ratio": some([1 / 11, 1 / 3, 2.0])},
        "non_local": {
            "reduction": st.integers(1, 5),
            "pairwise": some(["embedded_gaussian", "gaussian", "dot_product", "concatenation"]),
            "norm": some(["layer_norm", "batch_norm", None]),
        },
        "aggregation": {
            "num_latents": st.integers(3, 7),
            "norm": some(["layer_norm", "batch_norm", None]),
        },
    }
    options = every[kind]
    return st.fixed_dictionaries(
        options | {name: values for name, values in narrower.items() if name in options}
    )


KINDS: dict[str, Callable[..., nn.Module]] = {
    "latent_gnn": partial(LatentGNN, CHANNELS),
    "placed": partial(Placed, CHANNELS),
    "global_context": partial(GlobalContext, CHANNELS),
    "simplified_non_local": partial(SimplifiedNonLocal, CHANNELS),
    "squeeze_excitation": partial(SqueezeExcitation, CHANNELS),
    "non_local": partial(NonLocal, CHANNELS),
    "aggregation": partial(Aggregated, CHANNELS),
}


@st.composite
def blocks(draw: st.DrawFn, kind: str, **narrower: st.SearchStrategy) -> nn.Module:
    r"""A block of one of :data:`KINDS` with random parameters, in evaluation mode.

    Args:
        draw: hypothesis's.
        kind: which.
        narrower: options drawn from less than all of their values, if the block has them.
    """
    options = draw(_options(kind, **narrower))
    start_at(draw(seeds))
    block = randomized(KINDS[kind](**options)).eval()
    if options.get("windows"):
        for kernel in block.block.kernels:
            kernel.start_as_windows(affinity_channels=4)
    return block
