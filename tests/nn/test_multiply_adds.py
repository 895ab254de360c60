r"""Torch's counter finds the multiply-adds that the docstrings of the blocks state."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from latentgraph.functional import Ragged, sum_nodes, to_nodes
from latentgraph.functional.attention import attention
from latentgraph.nn import (
    GlobalContext,
    LatentAggregation,
    LatentGNN,
    LatentToLatentConv,
    LatentToVisibleConv,
    NonLocal,
    OnGrid,
    SimplifiedNonLocal,
    SqueezeExcitation,
    VisibleToLatentConv,
)

# Sizes of the graphs of a batch: one, several with an empty one, some that share a bucket.
SIZES = {"one": (41,), "several": (13, 0, 31, 1), "alike": (7, 7, 7, 5, 53)}


def counted(function, *arguments) -> int:
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        function(*arguments)
    assert counter.get_total_flops() % 2 == 0
    return counter.get_total_flops() // 2


def ragged(sizes: tuple[int, ...], channels: int) -> tuple[Tensor, Tensor]:
    batch = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    batch = batch[torch.randperm(len(batch))]
    return torch.randn(len(batch), channels), batch


def of_latent_gnn(block: LatentGNN, n: int, graphs: int) -> int:
    big, c = block.channels, block.channels // block.reduction
    dims, a, kernels = block.latent_dims, block.affinity_channels, len(block.latent_dims)
    d = sum(dims)
    moved = 0 if block.votes is None else n * big * (a - 1)
    seen = 2 * n * big * c + 2 * n * (c + a) * d + 2 * moved
    if block.mode == "symmetric" and block.training and block.visible.needs_all_rows:
        seen //= 2
    mixing = 0 if block.mixing == "none" else 2 * graphs * c * sum(k * k for k in dims)
    back = n * d * c + n * kernels * c * big
    if block.kernels[0].conv is not None:
        back += n * kernels * c * c
    elif 2 * d * big < d * c + kernels * c * big:
        back = n * d * big + graphs * d * c * big
    return seen + n * d * c + mixing + back


def of_one_node(block: nn.Module, n: int, graphs: int) -> int:
    if isinstance(block, SimplifiedNonLocal):
        return 2 * n * block.channels + graphs * block.channels**2
    hidden = int(block.channels * block.ratio)
    once = 1 if block.pool == "mean" else 2
    fused = len(block.fuse) if isinstance(block, GlobalContext) else 1
    return once * n * block.channels + 2 * fused * graphs * block.channels * hidden


def of_non_local(block: NonLocal, n: int, m: int, pairs: int, mapped: int | None = None) -> int:
    big, c = block.channels, block.channels // block.reduction
    maps = (n + (m if mapped is None else mapped)) * big * c
    return {
        "embedded_gaussian": 2 * maps + 2 * pairs * c,
        "gaussian": maps + pairs * (big + c),
        "dot_product": 2 * maps + (n + m) * c * c,
        "concatenation": 2 * maps + (n + m) * c,
    }[block.pairwise]


BLOCKS = {
    "published": lambda: LatentGNN(23, (5, 11), 3, norm="batch_norm", graph_conv=True),
    "defaults": lambda: LatentGNN(29, (3,)),
    "folded": lambda: LatentGNN(29, (2, 3), 2, mixing="residual", temperature="learned"),
    "unfolded": lambda: LatentGNN(17, (13, 7), 8, mixing="none", norm=None),
    "symmetric": lambda: LatentGNN(19, (7,), 2, mode="symmetric"),
    "few of the scores": lambda: LatentGNN(19, (7, 5), 2, top_k=3, residual=False),
    "one latent node": lambda: LatentGNN(19, (1, 1), 19, norm=None),
    "gc": lambda: GlobalContext(37, ratio=1 / 4),
    "gc gate": lambda: GlobalContext(31, 1 / 7, fuse=("mul",)),
    "gc mean, both": lambda: GlobalContext(31, 1 / 5, pool="mean", fuse=("add", "mul")),
    "snl": lambda: SimplifiedNonLocal(23),
    "se": lambda: SqueezeExcitation(43, 1 / 6),
}


@pytest.mark.parametrize("needs_grad", [True, False], ids=["grad", "no_grad"])
@pytest.mark.parametrize("chunk_size", [None, 19], ids=["whole", "chunks"])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("make", BLOCKS.values(), ids=BLOCKS)
def test_blocks_of_two_passes(make, sizes, chunk_size, needs_grad) -> None:
    block = make().eval().requires_grad_(needs_grad)
    block.chunk_size = chunk_size
    formula = of_latent_gnn if isinstance(block, LatentGNN) else of_one_node
    x, batch = ragged(sizes, block.channels)
    assert counted(block, x, batch, len(sizes)) == formula(block, len(x), len(sizes))
    assert counted(block, x) == formula(block, len(x), 1)
    stacked = torch.randn(3, 13, block.channels)
    assert counted(block, stacked) == formula(block, 3 * 13, 3)


@pytest.mark.parametrize("mode", ["asymmetric", "symmetric"])
def test_batch_norm_in_training_and_affinity_channels(mode) -> None:
    for training in (True, False):
        for votes in (True, False):
            options = {"affinity_channels": 4, "votes": votes}
            block = LatentGNN(23, (5,), 3, mode, "batch_norm", **options).train(training)
            x, batch = ragged(SIZES["several"], 23)
            positions = torch.randn(len(x), 4)
            assert counted(block, x, batch, 4, positions) == of_latent_gnn(block, len(x), 4)


@pytest.mark.parametrize("needs_grad", [True, False], ids=["grad", "no_grad"])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize(
    "pairwise", ["embedded_gaussian", "gaussian", "dot_product", "concatenation"]
)
def test_non_local(pairwise, sizes, needs_grad) -> None:
    block = NonLocal(23, 3, pairwise).requires_grad_(needs_grad)
    x, batch = ragged(sizes, 23)
    n, pairs = len(x), sum(size * size for size in sizes)
    assert counted(block, x, batch, len(sizes)) == of_non_local(block, n, n, pairs)
    assert counted(block, x) == of_non_local(block, n, n, n * n)
    stacked = torch.randn(3, 13, 23)
    assert counted(block, stacked) == of_non_local(block, 39, 39, 3 * 13 * 13)

    maps = torch.randn(2, 23, 7, 5)
    n, m = 2 * 7 * 5, 2 * 3 * 2
    early, late = OnGrid(block, pool=2), OnGrid(block, pool=2, pool_at="projected")
    assert counted(early, maps) == of_non_local(block, n, m, n * m // 2)
    assert counted(late, maps) == of_non_local(block, n, m, n * m // 2, mapped=n)


def test_fewer_senders_in_a_batch() -> None:
    block = NonLocal(23, 3)
    x, batch = ragged((13, 0, 8), 23)
    kept = (batch == 0).nonzero().squeeze(1)[:5]
    pool = lambda x, batch: (x[kept], batch[kept])  # noqa: E731
    assert counted(block, x, batch, 3, pool) == of_non_local(block, 21, 5, 13 * 5)


@pytest.mark.parametrize("needs_grad", [True, False], ids=["grad", "no_grad"])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_aggregation_and_layers(sizes, needs_grad) -> None:
    n, c, d, graphs = sum(sizes), 11, 3, len(sizes)
    x, batch = ragged(sizes, c)
    aggregation = LatentAggregation(c, d).requires_grad_(needs_grad)
    assert counted(lambda: aggregation(x, batch, dim_size=graphs)) == 2 * n * c * d
    assert counted(aggregation, x) == 2 * n * c * d

    x.requires_grad_(needs_grad)
    weight, z = torch.randn(n, d), torch.randn(graphs * d, c)
    assert counted(VisibleToLatentConv(), x, None, weight, batch, graphs) == n * d * c
    assert counted(LatentToVisibleConv(), z, None, weight, batch, graphs) == n * d * c
    mix = LatentToLatentConv()
    assert counted(lambda: mix(z, batch_size=graphs)) == 2 * graphs * d * d * c
    assert counted(mix, z, None, torch.randn(graphs, d, d), None, graphs) == graphs * d * d * c


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_gradients_of_the_operators(sizes) -> None:
    x, batch = ragged(sizes, 11)
    n, weight, z = len(x), torch.randn(len(x), 3), torch.randn(len(sizes) * 3, 11)
    x, weight, z = (t.requires_grad_() for t in (x, weight, z))
    graphs = Ragged(batch, len(sizes))
    there = VisibleToLatentConv()(x, None, weight, graphs)
    back = LatentToVisibleConv()(z, None, weight, graphs)
    for out in (there, back):
        assert counted(out.sum().backward) == 2 * n * 3 * 11

    query, key, value = (torch.randn(n, c, requires_grad=True) for c in (5, 5, 7))
    out = attention(query, key, value, 1.0, graphs, graphs)
    assert counted(out.sum().backward) == sum(s * s for s in sizes) * (3 * 5 + 2 * 7)


def test_sums_and_copies_are_no_products() -> None:
    x, batch = ragged(SIZES["several"], 5)
    graphs = Ragged(batch, 4)
    x.requires_grad_()
    assert counted(lambda: to_nodes(sum_nodes(x, graphs), graphs).sum().backward()) == 0


@pytest.mark.parametrize("make", [*BLOCKS.values(), lambda: NonLocal(23, 3)])
def test_counted_without_memory(make) -> None:
    block = make().eval()
    maps = torch.randn(2, block.channels, 7, 5)
    expected = counted(OnGrid(block), maps)
    assert counted(OnGrid(block.to("meta")), maps.to("meta")) == expected > 0
