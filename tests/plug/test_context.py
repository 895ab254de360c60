r"""What others do with networks: copies, conversions, feature extraction, compilers."""

import copy
import io
import pickle
import subprocess
import sys

import pytest
import torch
from networks import CHANGE, PLACES, ConvNet, images
from properties import assert_equal
from torch import nn
from torch.optim.swa_utils import AveragedModel

from latentgraph.plug import Context, insert

# Dynamo instantiates the autograd functions that it meets, and torch warns that nobody should.
pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
places = pytest.mark.parametrize("at", PLACES)
slow = pytest.mark.slow
hook_and_child = pytest.mark.parametrize("at", ["branch.bn", pytest.param("body", marks=slow)])


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


@hook_and_child
def test_compiled_in_one_graph(at) -> None:
    torch.compiler.reset()
    model = ConvNet().eval()
    insert(model, at, CHANGE)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    for num_samples in (2, 3):
        x = images(num_samples)
        assert_equal(compiled(x), model(x), 1e-5)


@hook_and_child
def test_exported_with_any_number_of_samples(at) -> None:
    model = ConvNet().eval()
    insert(model, at, CHANGE)
    samples = torch.export.Dim("samples", min=2)
    program = torch.export.export(model, (images(),), dynamic_shapes=({0: samples},))
    x = images(5)
    assert_equal(program.module()(x), model(x), 1e-5)
    assert any(".context." in key for key in program.state_dict)


def test_others_that_take_over_a_child_leave_it_where_it_was() -> None:
    model, x = ConvNet().eval(), images()
    insert(model, "branch", CHANGE)
    out = model(x)
    other = nn.Module()
    other.context = model.branch.context
    assert torch.equal(model(x), out)


def test_registration_adds_no_hook_for_anything_else() -> None:
    model = ConvNet()
    insert(model, "branch", CHANGE)
    insert(model, "body", CHANGE)
    other = nn.Module()
    other.context = nn.Conv2d(3, 3, 1)  # not a block of ours
    other.another = model.branch.context  # not a place that runs blocks
    in_sequence = nn.Module()
    in_sequence.context = model.body.context  # a Sequential ran this one itself
    assert not other._forward_hooks
    assert not in_sequence._forward_hooks
    other.context = model.branch.context
    other.context = other.context
    assert len(other._forward_hooks) == 1


LOAD_AND_CONVERT = """
import sys
import torch

model, x, out = torch.load(sys.argv[1], weights_only=False)
assert torch.equal(model(x), out)
converted = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
assert type(converted[1]) is torch.nn.SyncBatchNorm
assert torch.allclose(converted(x), out, rtol=1e-5, atol=1e-6)
converted[1].context.block.gamma.data.fill_(7)
assert not torch.allclose(converted(x), out, rtol=1e-2, atol=1e-2)
"""


def test_a_new_process_loads_blocks_and_converts_around_them(tmp_path) -> None:
    model, x = nn.Sequential(nn.Conv2d(3, 11, 3), nn.BatchNorm2d(11)).eval(), images()
    insert(model, "1", CHANGE)
    torch.save((model, x, model(x)), tmp_path / "model.pt")
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", LOAD_AND_CONVERT, tmp_path / "model.pt"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_an_average_of_weights_follows_the_blocks() -> None:
    model, x = ConvNet().eval(), images()
    handle = insert(model, "b*", CHANGE)
    average = AveragedModel(model, avg_fn=lambda old, new, count: new)
    with torch.no_grad():
        for parameter in handle.parameters():
            parameter.normal_()
    assert not torch.equal(average(x), model(x))
    average.update_parameters(model)
    assert torch.equal(average(x), model(x))
