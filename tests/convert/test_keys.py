import re

import pytest
import torch
from blocks import context_block, latentgnn_v1, non_local, timm_context
from foreign import under
from torch import nn

from latentgraph.convert import from_context_block, from_latentgnn_v1, from_non_local, from_timm

CONVERTERS = {
    "context_block": (from_context_block, lambda: context_block(("add",), True)),
    "context_block both": (from_context_block, lambda: context_block(("add", "mul"), True)),
    "timm": (from_timm, lambda: timm_context(("scale",), True)),
    "latentgnn_v1": (from_latentgnn_v1, lambda: latentgnn_v1(False, (5, 3), True)),
    "latentgnn_v1 symmetric": (from_latentgnn_v1, lambda: latentgnn_v1(True, (5,), False)),
    "non_local": (from_non_local, non_local),
}

every_converter = pytest.mark.parametrize(
    ("convert", "make"), CONVERTERS.values(), ids=list(CONVERTERS)
)


@every_converter
@pytest.mark.parametrize("prefix", ["layer3.0.block", "layer3.0.block."])
def test_a_block_is_found_in_a_network(convert, make, prefix) -> None:
    weights = make()
    network = under("layer3.0.block", weights) | under("layer3.0.blocks", make())
    block, report = convert(network, prefix)
    expected = convert(weights)[0].state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in block.state_dict().items())
    assert set(report.used) == set(under("layer3.0.block", weights))
    assert not block.training


@every_converter
def test_weights_are_copies_in_their_dtype(convert, make) -> None:
    weights = {k: w.bfloat16() if w.is_floating_point() else w for k, w in make().items()}
    before = {key: value.clone() for key, value in weights.items()}
    block, _ = convert(weights)
    assert {p.dtype for p in block.parameters()} == {torch.bfloat16}
    assert all(p.requires_grad for p in block.parameters())
    with torch.no_grad():
        for value in (*block.parameters(), *block.buffers()):
            value.add_(1)
    assert all(torch.equal(weights[key], before[key]) for key in weights)


@every_converter
@pytest.mark.parametrize("part", [slice(0, None, 2), slice(1, None, 2), "first", "second"], ids=str)
def test_half_of_the_keys_missing(convert, make, part) -> None:
    weights = make()
    half = len(weights) // 2
    part = {"first": slice(half), "second": slice(half, None)}.get(str(part), part)
    kept = dict(list(weights.items())[part])
    with pytest.raises(ValueError, match=r"missing: \w.*left over: "):
        convert(kept)


@every_converter
def test_another_architecture(convert, make) -> None:
    other = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Linear(5, 2)).state_dict()
    with pytest.raises(ValueError, match=r"left over: 0\.weight, 0\.bias, .* and 3 more"):
        convert(other)
    with pytest.raises(ValueError, match="left over: w1"):
        convert(make() | {"w1": torch.ones(1)})


@every_converter
def test_a_wrong_prefix_names_those_that_are_near(convert, make) -> None:
    network = under("backbone.layer3.0.block", make())
    with pytest.raises(ValueError, match=r"under 'layer3\.0\.block'.* near are backbone\.layer3"):
        convert(network, "layer3.0.block")
    with pytest.raises(ValueError, match="near are none"):
        convert({})


@every_converter
def test_shapes_that_do_not_fit(convert, make) -> None:
    for key, value in make().items():
        if value.dim() == 0:
            continue
        weights = make() | {key: torch.cat([value, value])}
        with pytest.raises(ValueError, match=r"expected '[\w.]+' of shape \(.*got \("):
            convert(weights)
        if value.dim() > 1 and value.shape[-1] == 1:  # a 3 x 3 convolution
            weights = make() | {key: value.expand(*value.shape[:-2], 3, 3)}
            with pytest.raises(ValueError, match=rf"'{re.escape(key)}' of shape .*3, 3\)"):
                convert(weights)
        with pytest.raises(ValueError, match=r"expected '[\w.]+' of shape"):
            convert(make() | {key: value.sum()})


@every_converter
def test_what_is_no_state_dict_in_one_dtype(convert, make) -> None:
    weights = make()
    first = next(iter(weights))
    with pytest.raises(TypeError, match="expected a state dict, got list"):
        convert([weights])
    with pytest.raises(TypeError, match="expected a state dict of tensors, got dict at 'state_di"):
        convert({"state_dict": weights})
    with pytest.raises(ValueError, match=r"one floating-point dtype, got .*16, torch\.float64"):
        convert(weights | {first: weights[first].half()})
    with pytest.raises(ValueError, match=r"one floating-point dtype, got torch\.int64"):
        convert({key: value.long() for key, value in weights.items()})


def test_the_report_has_a_line_for_every_key() -> None:
    weights = under("block", non_local(with_norm=True))
    _, report = from_non_local(weights, "block")
    lines = str(report).splitlines()
    assert len(lines) == len(weights) + 1 + 4
    assert re.fullmatch(r"block\.g\.conv\.weight +-> g\.weight", lines[0])
    assert "scale = True, as no key tells" in lines
    assert re.fullmatch(r"out\.bias += +zeros", lines[len(weights)])
