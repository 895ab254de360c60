r"""What others do with networks: copies, conversions, feature extraction, compilers."""

import copy
import io
import pickle

import pytest
import torch
from networks import CHANGE, PLACES, ConvNet, images
from properties import assert_equal
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from latentgraph.plug import Context, insert

# Dynamo instantiates the autograd functions that it meets, and torch warns that nobody should.
pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
places = pytest.mark.parametrize("at", PLACES)


def contexts(model: nn.Module) -> list[Context]:
    return [module for module in model.modules() if isinstance(module, Context)]


def pickled(model: nn.Module) -> nn.Module:
    return pickle.loads(pickle.dumps(model))  # noqa: S301


def saved(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@places
@pytest.mark.parametrize("duplicate", [copy.deepcopy, pickled, saved, AveragedModel])
def test_a_copy_runs_its_own_blocks(duplicate, at) -> None:
    model, x = ConvNet().eval(), images()
    insert(model, at, CHANGE)
    out = model(x)
    twin = duplicate(model).eval()
    assert torch.equal(twin(x), out)
    (context,) = contexts(twin)
    with torch.no_grad():
        context.block.gamma.fill_(7)
    assert not torch.equal(twin(x), out)
    assert torch.equal(model(x), out)


@places
@pytest.mark.parametrize("norm", ["layer_norm", "batch_norm"])
def test_conversion_to_synchronized_batch_norm_keeps_the_block(norm, at) -> None:
    model, x = ConvNet(), images()
    handle = insert(model, at, lambda channels: CHANGE(channels, norm=norm))
    model(x)  # so that running statistics are not those of the start
    keys, out = list(model.state_dict()), model.eval()(x)
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert not any(type(module) is nn.BatchNorm2d for module in converted.modules())
    assert list(converted.state_dict()) == keys
    calls = []
    (block,) = handle.blocks.values()
    block.register_forward_hook(lambda *call: calls.append(call))
    assert_equal(converted(x), out)
    assert len(calls) == 1
    handle.remove()
    assert not any(module._forward_hooks for module in model.modules())
    assert not any(".context." in key for key in model.state_dict())


@pytest.mark.parametrize("at", ["branch.bn", "body"])
def test_compiled_in_one_graph(at) -> None:
    torch.compiler.reset()
    model = ConvNet().eval()
    insert(model, at, CHANGE)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    for num_samples in (2, 3):
        x = images(num_samples)
        assert_equal(compiled(x), model(x), 1e-5)


@pytest.mark.parametrize("at", ["branch.bn", "body"])
def test_exported_with_any_number_of_samples(at) -> None:
    model = ConvNet().eval()
    insert(model, at, CHANGE)
    samples = torch.export.Dim("samples", min=2)
    program = torch.export.export(model, (images(),), dynamic_shapes=({0: samples},))
    x = images(5)
    assert_equal(program.module()(x), model(x), 1e-5)
    assert any(".context." in key for key in program.state_dict)


class PointNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(7, 11)

    def forward(self, x: Tensor, batch: Tensor | None, batch_size: int | None = None) -> Tensor:
        return self.linear(x).relu()


def test_networks_on_nodes_copied_and_compiled() -> None:
    torch.compiler.reset()
    model = PointNet().eval()
    insert(model, "linear", CHANGE)
    x, batch = torch.randn(5, 7), torch.tensor([0, 0, 0, 1, 1])
    out = model(x, batch)
    assert_equal(out, torch.cat([model(x[:3], None), model(x[3:], None)]))
    assert torch.equal(pickled(model)(x, batch), out)
    assert torch.equal(copy.deepcopy(model)(x, batch), out)
    assert_equal(torch.compile(model, backend="eager", fullgraph=True)(x, batch, 2), out)


def test_others_that_take_over_a_child_leave_it_where_it_was() -> None:
    model, x = ConvNet().eval(), images()
    insert(model, "branch", CHANGE)
    out = model(x)
    other = nn.Module()
    other.context = model.branch.context
    assert torch.equal(model(x), out)
