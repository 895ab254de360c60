r"""Thousands of shards in one process, one after another."""

import copy

import pytest
import torch
from cases import deviation
from properties import assert_all_equal, run, run_sharded
from samples import BLOCKS, CHANNELS, Nodes, nodes, randomized
from torch import Tensor, nn

from latentgraph.nn import LatentGNN

SIZES = (5_003, 0, 1_009, 1)


def check(block: nn.Module, sizes: tuple[int, ...], num_shards: int) -> int:
    r"""Equality with one process; returns the number of exchanges.

    In float64: what float32 loses in one process too is below.
    """
    torch.manual_seed(0)
    randomized(block)
    sample = nodes(sizes)
    weight = torch.randn_like(sample.x)
    many, exchanges = run_sharded(block, *sample, weight, num_shards)
    assert_all_equal(in_three(*many), in_three(*run(block, *sample, weight)), 1e-11)
    return exchanges


def in_three(out: Tensor, grad_x: Tensor, grads: list[Tensor]) -> tuple[Tensor, ...]:
    r"""Gradients of parameters in one: that of a score's bias is zero but for their rounding."""
    return out, grad_x, torch.cat([grad.flatten() for grad in grads])


@pytest.mark.parametrize("name", ["latent_gnn_symmetric", "global_context"])
def test_shards_equal_one_process(name) -> None:
    assert check(BLOCKS[name](CHANNELS), (53, 0, 31, 1, 103), 7) == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize(
    ("sizes", "num_shards"), [(SIZES, 64), (SIZES, 512), ((503, 0, 109, 1), 4_096)]
)
def test_many_shards_equal_one_process(name, sizes, num_shards) -> None:
    assert check(BLOCKS[name](CHANNELS), sizes, num_shards) == 2


def test_batch_norm_of_many_shards() -> None:
    block = LatentGNN(CHANNELS, (5,), 2, norm="batch_norm")
    assert check(block, (53, 0, 31, 1, 103), 5) == 2 * (1 + 5)


def rounding(block: nn.Module, sample: Nodes, num_shards: int) -> tuple[float, float]:
    r"""How far shards are from one process, and how far that is from float64."""
    weight = torch.randn_like(sample.x)
    exact = run(copy.deepcopy(block).double(), sample.x.double(), *sample[1:], weight)
    one = run(block, *sample, weight)
    many, _ = run_sharded(block, *sample, weight, num_shards)
    many, one, exact = (in_three(*each) for each in (many, one, exact))
    return max(map(deviation, many, one)), max(map(deviation, one, exact))


def affine(block: LatentGNN, x: Tensor, batch: Tensor) -> Tensor:
    r"""(N, d), to which latent nodes each node has an affinity."""
    _, kernels = block(x, batch, return_affinity=True)
    return torch.cat([kernel.latent_to_visible > 0 for kernel in kernels], 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "num_shards"),
    [("latent_gnn_symmetric", 64), ("latent_gnn_symmetric", 512), ("latent_gnn_top_k", 64)],
)
def test_shards_are_no_less_exact_than_one_process(name, num_shards) -> None:
    block = BLOCKS[name](CHANNELS)
    torch.manual_seed(0)
    randomized(block, torch.float32)
    sample = nodes(SIZES, dtype=torch.float32)
    shards, one = rounding(block, sample, num_shards)
    print(f"\n{name}: {num_shards} shards are {shards:.0e} from one, that {one:.0e} from float64")
    assert shards < 10 * one
    # It is not that near ties choose others.
    exact, (x, batch, _) = copy.deepcopy(block).double(), sample
    assert affine(block, x, batch).equal(affine(exact, x.double(), batch))
