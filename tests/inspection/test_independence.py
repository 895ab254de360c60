import math
from itertools import product

import pytest
import torch
from samples import nodes, randomized
from torch import Tensor, nn
from torch.nn.functional import one_hot

from latentgraph.inspection import Distance, query_independence, record
from latentgraph.inspection.independence import distance
from latentgraph.nn import LatentGNN, NonLocal, OnGrid, SimplifiedNonLocal


def by_pairs(rows: Tensor) -> Distance:
    found = {
        (i, j): 1 - float(a @ b / (a.norm() * b.norm()))
        for (i, a), (j, b) in product(enumerate(rows), repeat=2)
    }
    distinct = [d for (i, j), d in found.items() if i != j]
    return Distance(sum(distinct) / len(distinct), sum(found.values()) / len(found))


@pytest.mark.parametrize("shape", [(2, 3), (7, 5), (13, 1)])
def test_distance_is_the_mean_over_pairs(shape) -> None:
    rows = torch.randn(shape, dtype=torch.float64)
    assert distance(rows) == pytest.approx(by_pairs(rows), abs=1e-12)
    assert distance(rows * 1e-200) == pytest.approx(by_pairs(rows), abs=1e-12)


def test_rows_without_direction_are_left_out() -> None:
    rows = torch.tensor([[0.0, 0], [3, 4], [0, 0], [4, -3]], dtype=torch.float64)
    assert distance(rows) == pytest.approx((1, 0.5))
    assert all(map(math.isnan, distance(rows[:2])))
    assert all(map(math.isnan, distance(rows[:0])))


def test_the_same_attention_for_every_query_is_0_apart() -> None:
    block = randomized(NonLocal(5, reduction=1), torch.float32)
    nn.init.zeros_(block.theta.weight)
    found = query_independence(record(block, torch.randn(3, 17, 5))[0])
    assert found.attention.distinct == pytest.approx(0, abs=1e-12)
    assert found.attention.all == pytest.approx(0, abs=1e-12)
    assert found.input.distinct > 0.5


def test_attention_to_oneself_alone_is_1_apart() -> None:
    block = NonLocal(11, reduction=1)
    for embedding in (block.theta, block.phi):
        nn.init.eye_(embedding.weight)
        nn.init.zeros_(embedding.bias)
    found = query_independence(record(block, 100 * one_hot(torch.arange(11)).float())[0])
    assert found.attention.distinct == pytest.approx(1, abs=1e-12)
    assert found.attention.all == pytest.approx(10 / 11, abs=1e-12)


def test_means_over_ragged_graphs() -> None:
    x, batch, batch_size = nodes((7, 0, 3, 1))
    block = randomized(NonLocal(23))
    found = query_independence(record(block, x, batch, batch_size)[0])
    rows: list[list[Tensor]] = [[], [], []]
    for graph in (0, 2):
        alone = x[batch == graph]
        score = block.theta(alone) @ block.phi(alone).T / math.sqrt(11)
        parts = (alone, score.softmax(1), block(alone) - alone)
        for kept, part in zip(rows, parts, strict=True):
            kept.append(part.detach())
    for name, graphs in zip(found._fields, rows, strict=True):
        pairs = [by_pairs(values) for values in graphs]
        expected = tuple(sum(p[i] for p in pairs) / 2 for i in (0, 1))
        assert getattr(found, name) == pytest.approx(expected, abs=1e-10), name


@pytest.mark.parametrize("pairwise", ["embedded_gaussian", "gaussian", "dot_product"])
def test_a_block_inside_a_network_is_asked_as_if_alone(pairwise) -> None:
    block = randomized(NonLocal(3, reduction=1, pairwise=pairwise), torch.float32)
    network = nn.Sequential(nn.Conv2d(2, 3, 1), OnGrid(block, pool=2, pool_at="projected"))
    image = torch.randn(2, 2, 7, 5)
    [call] = record(network, image, at=NonLocal)
    maps = network[0](image).detach()
    both = torch.cat([maps if block.phi is None else mapped(block.phi, maps)], 1)
    keys = nn.functional.max_pool2d(both, 2).flatten(2).mT.double()
    queries = (maps if block.theta is None else mapped(block.theta, maps)).flatten(2).mT.double()
    score = queries @ keys.mT
    weight = score / keys.size(1)
    if pairwise != "dot_product":
        root = math.sqrt(3) if pairwise == "embedded_gaussian" else 1
        weight = (score / root).softmax(-1)
    pairs = [by_pairs(rows.detach()) for rows in weight]
    expected = sum(p.distinct for p in pairs) / 2
    assert query_independence(call).attention.distinct == pytest.approx(expected, rel=1e-4)


def mapped(linear: nn.Linear, maps: Tensor) -> Tensor:
    return linear(maps.movedim(1, -1)).movedim(-1, 1)


def test_small_additions_are_told_apart() -> None:
    block = randomized(NonLocal(5), torch.float32)
    nn.init.zeros_(block.out.bias)
    x = torch.randn(13, 5)
    found = query_independence(record(block, x)[0])
    block.out.weight.data *= 1e-9  # lost in float32 beside x
    again = query_independence(record(block, x)[0])
    assert again.output == pytest.approx(found.output, abs=1e-4)
    assert found.output.distinct > 1e-3


def test_other_blocks_can_be_asked() -> None:
    x = torch.randn(13, 5)
    simplified = randomized(SimplifiedNonLocal(5), torch.float32)
    assert query_independence(record(simplified, x)[0]).attention.distinct < 1e-12
    latent = randomized(LatentGNN(5, (3, 2), reduction=1), torch.float32)
    assert 1e-3 < query_independence(record(latent, x)[0]).attention.distinct < 1


def test_a_block_at_its_start_adds_nothing() -> None:
    found = query_independence(record(NonLocal(5), torch.randn(7, 5))[0])
    assert math.isnan(found.output.distinct)
    empty = query_independence(record(NonLocal(5), torch.randn(0, 5))[0])
    assert math.isnan(empty.input.distinct)
