r"""Thousands of shards in one process, one after another."""

import pytest
import torch
from properties import assert_sharding_free
from samples import BLOCKS, CHANNELS, nodes, randomized
from torch import nn

from latentgraph.nn import LatentGNN


def check(block: nn.Module, sizes: tuple[int, ...], num_shards: int) -> int:
    r"""Equality with one process; returns the number of exchanges.

    In float64: among thousands of nodes some enlarge the rounding of float32, in one process too.
    """
    torch.manual_seed(0)
    return assert_sharding_free(randomized(block), *nodes(sizes), num_shards, 1e-11)


@pytest.mark.parametrize("name", ["latent_gnn_symmetric", "global_context"])
def test_shards_equal_one_process(name) -> None:
    assert check(BLOCKS[name](CHANNELS), (53, 0, 31, 1, 103), 7) == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("num_shards", [64, 512, 4_096])
def test_many_shards_equal_one_process(name, num_shards) -> None:
    assert check(BLOCKS[name](CHANNELS), (5_003, 0, 1_009, 1), num_shards) == 2


def test_batch_norm_of_many_shards() -> None:
    block = LatentGNN(CHANNELS, (5,), 2, norm="batch_norm")
    assert check(block, (53, 0, 31, 1, 103), 5) == 2 * (1 + 5)
