r"""Thousands of shards in one process, one after another: what every rank runs, but no network."""

import copy

import pytest
import torch
from cases import gradient, step
from properties import assert_all_equal
from samples import BLOCKS, CHANNELS, nodes, randomized
from torch import Tensor, nn

from latentgraph.functional.shards import using
from latentgraph.nn import LatentGNN

TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-5}


class NotYet(Exception):  # noqa: N818
    r"""The other ranks have not yet given what a rank asks for."""


class OneAfterAnother:
    r"""Ranks that run in turn, each until it asks for what the others have not given yet.

    Then all begin anew, and find it. After one round more than there are exchanges, all are done.
    """

    def __init__(self) -> None:
        self.known: list[Tensor] = []
        self.given: list[Tensor] = []
        self.asked = 0

    def next_rank(self) -> None:
        self.asked = 0

    def next_round(self, gathers: bool) -> None:
        parts = torch.stack(self.given)
        self.known.append(parts if gathers else parts.sum(0))
        self.given = []

    def agree(self, sums: Tensor) -> None:
        pass

    def sum(self, message: Tensor) -> Tensor:
        return self._exchange(message)

    def gather(self, message: Tensor) -> Tensor:
        return self._exchange(message)

    def _exchange(self, message: Tensor) -> Tensor:
        self.asked += 1
        if self.asked <= len(self.known):
            return self.known[self.asked - 1].clone()
        self.given.append(message.clone())
        raise NotYet


def check(block: nn.Module, sizes: tuple[int, ...], num_shards: int, dtype: torch.dtype) -> int:
    r"""Equality with one process; returns the number of exchanges."""
    torch.manual_seed(0)
    randomized(block, dtype)
    x, batch, batch_size = nodes(sizes, dtype=dtype)
    weight = torch.randn_like(x)
    single = copy.deepcopy(block)
    whole = step(single, x, batch, batch_size, weight)
    order = torch.randint(num_shards, (len(x),)).sort()
    shards = order.indices.split(order.values.bincount(minlength=num_shards).tolist())
    ranks, out, grad_x = OneAfterAnother(), torch.empty_like(x), torch.empty_like(x)
    done = False
    while not done:
        block.zero_grad()
        for mine in shards:
            ranks.next_rank()
            try:
                with using(ranks):
                    own = step(block, x[mine], batch[mine], batch_size, weight[mine])
                out[mine], grad_x[mine] = own
                done = True
            except NotYet:
                assert not done
        if not done:
            gathers = not ranks.known and getattr(block, "pool", "") == "attention"
            ranks.next_round(gathers)
    assert_all_equal([out, grad_x, gradient(block)], [*whole, gradient(single)], TOLERANCE[dtype])
    return len(ranks.known)


@pytest.mark.parametrize("name", ["latent_gnn_symmetric", "global_context"])
def test_shards_equal_one_process(name) -> None:
    assert check(BLOCKS[name](CHANNELS), (53, 0, 31, 1, 103), 7, torch.float64) == 2


@pytest.mark.slow
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("num_shards", [64, 512, 4_096])
def test_many_shards_equal_one_process(name, num_shards, dtype) -> None:
    assert check(BLOCKS[name](CHANNELS), (5_003, 0, 1_009, 1), num_shards, dtype) == 2


def test_batch_norm_of_many_shards() -> None:
    block = LatentGNN(CHANNELS, (5,), 2, norm="batch_norm")
    assert check(block, (53, 0, 31, 1, 103), 5, torch.float64) == 2 * (1 + 5)
