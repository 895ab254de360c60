import pytest
import torch
from samples import nodes, randomized
from torch import Tensor, nn

from latentgraph.inspection import record
from latentgraph.nn import GlobalContext, LatentGNN, NonLocal, OnGrid, SimplifiedNonLocal
from latentgraph.plug import insert


class Pyramid(nn.Module):
    r"""Blocks on maps and on nodes; what follows writes into what they returned."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5))
        self.dense = OnGrid(NonLocal(5), pool=2)
        self.late = nn.ModuleList([GlobalContext(5, ratio=1 / 2), NonLocal(5, reduction=1)])
        self.unused = LatentGNN(5, latent_dims=(3,), reduction=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dense(self.stem(x)).mul_(0)
        tokens = x.flatten(2).mT
        for block in self.late:
            tokens = block(tokens)
        return tokens


@pytest.fixture
def pyramid() -> nn.Module:
    return randomized(Pyramid(), torch.float32).train()


MAPS = torch.linspace(-1, 1, 2 * 3 * 7 * 11).view(2, 3, 7, 11)


def test_calls_come_in_the_order_of_the_run(pyramid) -> None:
    calls = record(pyramid, MAPS)
    assert [call.name for call in calls] == ["dense.block", "late.0", "late.1"]
    assert [call.spatial for call in calls] == [(7, 11), None, None]
    assert [tuple(call.x.shape) for call in calls] == [(2, 77, 5)] * 3
    assert "dense.block" in repr(calls[0])


@pytest.mark.parametrize(
    ("at", "names"),
    [
        ("dense.block", ["dense.block"]),
        ("dense", ["dense.block"]),
        ("late", ["late.0", "late.1"]),
        (NonLocal, ["dense.block", "late.1"]),
        (GlobalContext, ["late.0"]),
    ],
)
def test_blocks_are_found_by_name_or_type(pyramid, at, names) -> None:
    assert [call.name for call in record(pyramid, MAPS, at=at)] == names


def test_what_was_recorded_is_what_the_block_saw(pyramid) -> None:
    pyramid.eval()
    [call] = record(pyramid, MAPS, at="dense")
    with torch.no_grad():
        x = pyramid.stem(MAPS)
        out = pyramid.dense(x)
    torch.testing.assert_close(call.x, x.flatten(2).mT)
    torch.testing.assert_close(call.output, out.flatten(2).mT)
    assert call.output.abs().max() > 0.1  # although the network zeroed it afterwards


def test_the_network_stays_as_it_was(pyramid) -> None:
    pyramid.late.eval()
    flags = [module.training for module in pyramid.modules()]
    before = {key: value.clone() for key, value in pyramid.state_dict().items()}
    record(pyramid, MAPS)
    with pytest.raises(RuntimeError, match="channels"):
        record(pyramid, MAPS[:, :2])
    assert [module.training for module in pyramid.modules()] == flags
    for key, value in pyramid.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in pyramid.modules())


def test_a_block_alone_and_its_graphs() -> None:
    x, batch, batch_size = nodes(channels=5)
    block = randomized(LatentGNN(5, latent_dims=(3,), reduction=1))
    [call] = record(block, x, batch=batch, batch_size=batch_size)
    assert (call.name, call.block, call.spatial) == ("", block, None)
    assert torch.equal(call.arguments["batch"], batch)
    [kept] = record(block, x, batch, batch_size, return_affinity=True)
    assert torch.equal(kept.output, call.output)


def test_blocks_that_were_inserted() -> None:
    model = nn.Sequential(nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5), nn.ReLU())
    insert(model, "0", lambda c: NonLocal(c))
    insert(model, "1", lambda c: OnGrid(NonLocal(c), pool=2))
    first, second = record(model, MAPS, at=NonLocal)
    assert (first.name, first.spatial) == ("0.context.block", (7, 11))
    assert (second.name, second.spatial) == ("1.context.block.block", (7, 11))
    assert "pool" in second.arguments


def test_missing_blocks_are_named(pyramid) -> None:
    with pytest.raises(ValueError, match=r"a block at 'dens' in Pyramid, which has 'dense\.block'"):
        record(pyramid, MAPS, at="dens")
    with pytest.raises(ValueError, match="SimplifiedNonLocal in Pyramid, which has 'dense"):
        record(pyramid, MAPS, at=SimplifiedNonLocal)
    with pytest.raises(ValueError, match="expected a run of 'unused', which did not run"):
        record(pyramid, MAPS, at="unused")
    with pytest.raises(ValueError, match="a block in Linear, which has no block"):
        record(nn.Linear(3, 5), torch.ones(2, 3))
