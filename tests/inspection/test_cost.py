import pytest
import torch
from torch import nn

from latentgraph.inspection import Cost, costs
from latentgraph.nn import GlobalContext, NonLocal, OnGrid
from latentgraph.plug import insert

CONV = Cost(3 * 5 * 9 + 5, 2 * 3 * 5 * 9 * 77)
DENSE = Cost(4 * 5 * 5 + 20, 2 * (2 * (77 + 15) * 25 + 2 * 77 * 15 * 5))


def network() -> nn.Sequential:
    conv = nn.Conv2d(3, 5, 3, padding=1)
    return nn.Sequential(conv, OnGrid(NonLocal(5, reduction=1), pool=2), nn.BatchNorm2d(5))


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_each_block_and_the_rest(device) -> None:
    found = costs(network().to(device), torch.zeros(2, 3, 7, 11, device=device))
    assert found.blocks == {"1.block": DENSE}
    assert found.rest == Cost(CONV.parameters + 10, CONV.multiply_adds)
    assert found.total == Cost(
        DENSE.parameters + CONV.parameters + 10, DENSE.multiply_adds + CONV.multiply_adds
    )


def test_gaussian_values_are_not_padded() -> None:
    r"""Flash attention on the CPU wants values as wide as keys; the count is of the formula."""
    block = NonLocal(6, reduction=2, pairwise="gaussian")
    found = costs(block, torch.zeros(1, 13, 6))
    assert found.total.multiply_adds == 2 * 13 * 6 * 3 + 13 * 13 * (6 + 3)


def test_ragged_graphs_count_their_own_pairs() -> None:
    block = NonLocal(5, reduction=1)
    batch = torch.tensor([0, 1, 1, 0, 1, 1, 1])
    found = costs(block, torch.zeros(7, 5), batch=batch)
    assert found.total.multiply_adds == 4 * 7 * 25 + 2 * (2 * 2 + 5 * 5) * 5


def test_blocks_by_name_and_by_type() -> None:
    model = network()
    insert(model, "2", lambda c: GlobalContext(c, ratio=1 / 2))
    maps = torch.zeros(2, 3, 7, 11)
    assert list(costs(model, maps).blocks) == ["1.block", "2.context.block"]
    assert list(costs(model, maps, at="2").blocks) == ["2.context.block"]
    assert list(costs(model, maps, at=NonLocal).blocks) == ["1.block"]
    with pytest.raises(ValueError, match="a block at '3' in Sequential"):
        costs(model, maps, at="3")


def test_a_block_that_runs_twice_counts_twice_and_has_its_parameters_once() -> None:
    block = NonLocal(5, reduction=1)
    once, twice = (costs(m, torch.zeros(1, 7, 5)) for m in (block, nn.Sequential(block, block)))
    assert twice.total == Cost(once.total.parameters, 2 * once.total.multiply_adds)
    assert twice.blocks["0"] == twice.total
    assert twice.rest == Cost(0, 0)


def test_a_network_without_blocks() -> None:
    found = costs(nn.Linear(3, 5, bias=False), torch.zeros(7, 3))
    assert found == (Cost(15, 105), {})
    with pytest.raises(ValueError, match="NonLocal in Linear, which has no block"):
        costs(nn.Linear(3, 5), torch.zeros(7, 3), at=NonLocal)


def test_the_network_stays_as_it_was() -> None:
    model = network().train()
    before = model[2].running_mean.clone()
    costs(model, torch.randn(2, 3, 7, 11))
    assert model.training
    assert model[2].training
    assert torch.equal(model[2].running_mean, before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
