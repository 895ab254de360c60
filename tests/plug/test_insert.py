import warnings
from functools import partial

import pytest
import torch
from networks import CHANGE, IDENTITY, PLACES, ConvNet, images, outputs
from properties import assert_equal
from torch import Tensor, nn

from latentgraph.nn import OnGrid, grid_to_nodes, nodes_to_grid
from latentgraph.plug import insert

places = pytest.mark.parametrize("at", PLACES)


def state(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def assert_same_state(model: nn.Module, before: dict[str, Tensor]) -> None:
    now = model.state_dict()
    assert list(now) == list(before)
    assert all(torch.equal(now[key], before[key]) for key in before)


@places
def test_the_block_runs_once_on_what_the_module_puts_out(at) -> None:
    model, x = ConvNet().eval(), images()
    before = outputs(model, at, x)
    handle = insert(model, at, CHANGE)
    (block,) = handle.blocks.values()
    calls = []
    block.register_forward_hook(lambda *call: calls.append(call))
    nodes, batch = grid_to_nodes(before)
    after = outputs(model, at, x)
    assert len(calls) == 1
    assert_equal(after, nodes_to_grid(block(nodes, batch), before.shape[2:]))
    assert not torch.equal(after, before)


@places
def test_insert_remove_and_insert_again(at) -> None:
    model, x = ConvNet().eval(), images()
    before, out = state(model), model(x)
    for _ in range(2):
        handle = insert(model, at, IDENTITY)
        assert handle.identity
        assert torch.equal(model(x), out)
        own = {key: value for key, value in state(model).items() if ".context." not in key}
        assert list(own) == list(before)
        added = [key for key in model.state_dict() if key not in before]
        assert added
        assert all(key.startswith(f"{at}.context.") for key in added)
        handle.remove()
        assert_same_state(model, before)
        assert torch.equal(model(x), out)
        assert not any(module._forward_hooks for module in model.modules())


def test_a_pattern_stands_for_parts_between_dots_and_the_factory_is_called_once_a_place() -> None:
    model, asked = ConvNet(), []

    def factory(channels: int) -> nn.Module:
        asked.append(channels)
        return IDENTITY(channels)

    handle = insert(model, "[bd]*.[01b]*", factory)
    names = ["branch.bn", "body.0", "body.1", "doubling.0", "doubling.1"]
    assert list(handle.blocks) == names
    assert asked == [11, 13, 13, 13, 13]
    assert str(handle) == f"Inserted({', '.join(names)})"
    assert insert(model, "[bd]*", factory).places == ["branch", "body", "doubling"]


def test_a_module_of_two_names_gets_one_block() -> None:
    layer = nn.Conv2d(3, 3, 1)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    handle = insert(model, "[02]", partial(CHANGE, reduction=1))
    assert list(handle.blocks) == ["0"]


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (5, 1)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_map_keeps_its_strides(size, memory_format) -> None:
    model = nn.Sequential(nn.Sequential(nn.Identity()))
    x = torch.randn(2, 11, *size).contiguous(memory_format=memory_format)
    for factory in (IDENTITY, lambda c: OnGrid(IDENTITY(c))):
        handle = insert(model, "0", factory, channels=11, layout="grid")
        assert model(x).stride() == x.stride()
        handle.remove()


def test_weights_load_before_and_after() -> None:
    weights, x = state(ConvNet()), images()
    before, after = ConvNet(), ConvNet()
    before.load_state_dict(weights)
    insert(before, "b*", IDENTITY)
    insert(after, "b*", IDENTITY)
    missed = after.load_state_dict(weights, strict=False)
    assert not missed.unexpected_keys
    assert missed.missing_keys
    assert all(".context." in key for key in missed.missing_keys)
    assert torch.equal(before.eval()(x), after.eval()(x))
    after.load_state_dict(before.state_dict())
    with pytest.raises(RuntimeError, match=r"body\.context"):
        after.load_state_dict(weights)


def test_a_block_follows_the_module_to_its_dtype_and_mode() -> None:
    model = ConvNet().double().eval()
    (block,) = insert(model, "body", IDENTITY).blocks.values()
    assert {parameter.dtype for parameter in block.parameters()} == {torch.float64}
    assert not block.training
    assert block.train(model.train().training).training
    assert model(images().double()).dtype == torch.float64


def test_gradients_reach_the_blocks_and_the_network() -> None:
    model = ConvNet()
    handle = insert(model, "b*", CHANGE)
    model(images()).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert any(parameter.grad.any() for parameter in handle.parameters())


class Rng(nn.Module):
    r"""Changes all that a run can change, in evaluation mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("last", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.last = x.sum()
        return x + torch.rand_like(x)


def test_an_example_tells_channels_and_changes_nothing() -> None:
    model = nn.ModuleDict({"net": ConvNet(), "rng": Rng()})
    model.forward = lambda x: model["rng"](model["net"].body(x))
    model["net"].head.eval()
    before, flags = state(model), [module.training for module in model.modules()]
    x, random, asked = torch.randn(2, 11, 7, 5), torch.get_rng_state(), []

    def factory(channels: int) -> nn.Module:
        asked.append(channels)
        return nn.Identity()

    handle = insert(model, "rng", factory, layout="grid", example=x)
    assert asked == [13]
    assert torch.equal(torch.get_rng_state(), random)
    handle.remove()
    assert [module.training for module in model.modules()] == flags
    assert_same_state(model, before)
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("example", [(images(),), {"x": images()}], ids=["tuple", "dict"])
def test_examples_of_several_arguments(example) -> None:
    assert insert(ConvNet(), "body", IDENTITY, example=example).identity


def test_an_example_tells_maps_from_tokens_where_types_do_not() -> None:
    class LastNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 11, 1), nn.LayerNorm(11)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.conv(x).movedim(1, -1))

    model, x = nn.Sequential(LastNorm()), images()
    with pytest.raises(ValueError, match="agree on a layout, found none or several"):
        insert(model, "0", CHANGE)
    before = model(x)
    (block,) = insert(model, "0", CHANGE, example=x).blocks.values()
    assert_equal(model(x), block(before.flatten(1, 2)).view_as(before))


class Branches(nn.Module):
    r"""Puts the outputs of two layers side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Conv2d(3, 7, 1), nn.Conv2d(3, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.wide(x), self.narrow(x)], 1)


def test_channels_that_the_last_layer_contradicts_are_taken_where_an_example_shows_them() -> None:
    model, x = nn.Sequential(Branches()), images()
    with pytest.raises(ValueError, match=r"channels=5 at '0', .* got 12; give example="):
        insert(model, "0", CHANGE, channels=12)
    (block,) = insert(model, "0", CHANGE, channels=12, example=x).blocks.values()
    assert block(torch.rand(13, 12)).shape == (13, 12)


CASES = {
    "no such name": ("bodi", {}, "got 'bodi'; near are body"),
    "no such pattern": ("branch.*.conv", {}, r"got 'branch.\*.conv'; near are branch.conv"),
    "no name": ("", {}, "expected the name of a module"),
    "channels of a layer": ("body.1", {"channels": 11}, "channels=13 at 'body.1', got 11"),
    "channels of the last layer": (
        "body",
        {"channels": 7},
        "channels=13 at 'body', those of its last layer, got 7; give example=",
    ),
    "channels in the example": (
        "body",
        {"channels": 7, "example": images()},
        r"\(B, 7, \*spatial\) from 'body', got \(2, 13, 5, 3\)",
    ),
    "layout in the example": (
        "head",
        {"layout": "grid", "example": images()},
        r"\(B, 5, \*spatial\) from 'head', got \(2, 5\); give .*'tokens' or 'nodes'",
    ),
    "unknown layout": ("body", {"layout": "map"}, "expected layout from .* got 'map'"),
    "no layout": ("body.2", {}, "inside 'body.2' that agree on a layout, found none"),
    "no channels": ("body.2", {"layout": "grid"}, "has channels inside 'body.2', a ReLU"),
    "another block": ("b*", {"block": lambda c: CHANGE(13)}, "of 11 channels at 'branch', got 13"),
    "block for maps": ("head", {"block": lambda c: OnGrid(CHANGE(c))}, "on tokens .* got OnGrid"),
    "not run": ("unused", {"example": images()}, "an example that runs 'unused'"),
    "list": ("parts", {}, "is called at 'parts', which is a ModuleList"),
    "failing factory": ("b*", {"block": lambda c: CHANGE(c, reduction=c)}, "width"),
}
TYPES = {
    "tuple in the example": ("pair", {"example": images()}, "Tensor from 'pair', got tuple"),
    "tuple by type": ("unused", {}, "returns a Tensor at 'unused', which is a MultiheadAttention"),
    "scripted": ("scripted", {}, "in Python at 'scripted', got one that torch.jit has compiled"),
    "no module": ("body", {"block": lambda c: c}, "to make a Module, got int"),
}


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


class Strange(ConvNet):
    r"""With modules that can take no block."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.MultiheadAttention(11, 1)
        self.parts = nn.ModuleList([nn.Conv2d(3, 3, 1)])
        self.pair = Pair()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self.scripted = torch.jit.script(nn.Conv2d(3, 3, 1))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.pair(x)[0])


@pytest.mark.parametrize("case", [*CASES, *TYPES])
def test_a_refused_insertion_changes_nothing(case) -> None:
    at, options, message = {**CASES, **TYPES}[case]
    model = Strange()
    if case == "not run":
        model.unused = nn.Conv2d(3, 3, 1)
    if case == "tuple in the example":
        options = {**options, "layout": "grid", "channels": 3}
    before = state(model)
    options = {"block": CHANGE, **options}
    with pytest.raises(ValueError if case in CASES else TypeError, match=message):
        insert(model, at, **options)
    assert_same_state(model, before)
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    "third", [lambda: CHANGE(7), lambda: nn.Linear(7, 7).weight, lambda: 1 // 0]
)
def test_the_third_of_several_places_fails_and_nothing_has_changed(third) -> None:
    model, asked, x = ConvNet(), [], images()
    out, before = model(x), state(model)  # after the run, which is one of training

    def factory(channels: int) -> nn.Module:
        asked.append(channels)
        return third() if len(asked) == 3 else CHANGE(channels)

    with pytest.raises((ValueError, TypeError, ZeroDivisionError)):
        insert(model, "[bd]*.[01]", factory)
    assert len(asked) == 3
    assert_same_state(model, before)
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(model(x), out)


def test_a_second_block_in_one_place_is_refused() -> None:
    model = ConvNet()
    insert(model, "body", IDENTITY)
    before = state(model)
    with pytest.raises(ValueError, match="without 'context' at 'body', which has one"):
        insert(model, "b*", IDENTITY)
    assert_same_state(model, before)


FITS = {"layout": "grid", "block": lambda c: nn.Identity()}


@pytest.mark.parametrize(
    ("at", "options", "error", "message"),
    [
        ("pair", {**FITS, "channels": 3}, TypeError, "Tensor from 'pair', got tuple"),
        ("body", {"layout": "tokens"}, ValueError, r"\(B, \*n, 13\) .* got \(2, 13, 5, 3\)"),
        ("head", {}, ValueError, r"\(B, \*n, 5\) .* got \(2, 5\); give .*'grid' or 'nodes'"),
        (
            "body",
            {"block": lambda c: nn.Linear(c, 3)},
            ValueError,
            r"block at 'body' to keep the shape \(2, 15, 13\), got \(2, 15, 3\)",
        ),
    ],
)
def test_what_only_a_run_can_show_is_one_clear_error(at, options, error, message) -> None:
    model, x = Strange().eval(), images()
    out = model(x)
    handle = insert(model, at, **{"block": CHANGE, **options})
    with pytest.raises(error, match=message):
        model(x)
    handle.remove()
    assert torch.equal(model(x), out)
