import sys
from pathlib import Path

import pytest
import torch
from blocks import context_block, non_local, run_context_block, run_non_local
from foreign import StateDict, apply_batch_norm, batch_norm, conv, under
from properties import assert_equal
from torch import Tensor
from torch.nn import functional as F

from latentgraph.convert import from_context_block, load
from latentgraph.nn import GlobalContext, NonLocal

torchvision = pytest.importorskip("torchvision")

DEPTHS = (1, 2, 1, 1)
GROUPS, OF_GROUP = 3, 2


def resnet(bottlenecks: bool = True) -> StateDict:
    r"""The keys of a ResNet; bottlenecks with three groups, of two channels in the first stage."""
    weights, before = conv("conv1", 64, 3, bias=False, size=7) | batch_norm("bn1", 64), 64
    for stage, depth in enumerate(DEPTHS):
        planes = after = 64 * 2**stage
        sizes = [(planes, before, 3), (planes, planes, 3)]
        if bottlenecks:
            width, after = planes * OF_GROUP * GROUPS // 64, 4 * planes
        for number in range(depth):
            name = f"layer{stage + 1}.{number}"
            sizes = [(planes, before, 3), (planes, planes, 3)]
            if bottlenecks:
                sizes = [(width, before, 1), (width, width // GROUPS, 3), (after, width, 1)]
            for n, (out, into, size) in enumerate(sizes, 1):
                weights |= conv(f"{name}.conv{n}", out, into, bias=False, size=size)
                weights |= batch_norm(f"{name}.bn{n}", out)
            if number == 0 and before != after:
                weights |= conv(f"{name}.downsample.0", after, before, bias=False)
                weights |= batch_norm(f"{name}.downsample.1", after)
            before = after
    return weights


def part(weights: StateDict, name: str) -> StateDict:
    return {k.removeprefix(f"{name}."): w for k, w in weights.items() if k.startswith(f"{name}.")}


def run_resnet(weights: StateDict, x: Tensor, style: str = "pytorch") -> Tensor:
    r"""Pooled features, with context and sub-sampled non-local blocks where there are some."""

    def layer(name: str, n: str, x: Tensor, stride: int = 1, before: str = "") -> Tensor:
        kernel = weights[before or f"{name}{n.replace('bn', 'conv')}.weight"]
        groups = x.size(1) // kernel.size(1)
        x = F.conv2d(x, kernel, stride=stride, padding=kernel.size(2) // 2, groups=groups)
        return apply_batch_norm(weights, name + n, x)

    x = F.max_pool2d(layer("", "bn1", x, 2).relu(), 3, 2, 1)
    for stage, depth in enumerate(DEPTHS):
        for number in range(depth):
            name, y = f"layer{stage + 1}.{number}.", x
            stride = 2 if stage > 0 and number == 0 else 1
            count = 3 if f"{name}conv3.weight" in weights else 2
            strided = 2 if count == 3 and style == "pytorch" else 1
            for n in range(1, count + 1):
                y = y if n == 1 else y.relu()
                y = layer(name, f"bn{n}", y, stride if n == strided else 1)
            if found := part(weights, f"{name}context_block"):
                y = run_context_block(found, y)
            if found := part(weights, f"{name}nonlocal_block"):
                y = run_non_local(found, y, "embedded_gaussian", "gcnet", "projected")
            if f"{name}downsample.0.weight" in weights:
                x = layer(name, "downsample.1", x, stride, f"{name}downsample.0.weight")
            x = (x + y).relu()
    return x.mean((2, 3))


def with_blocks() -> StateDict:
    weights = resnet()
    weights |= under("layer2.0.context_block", context_block(("add",), True, 3, 512))
    weights |= under("layer2.1.context_block", context_block(("add", "mul"), False, 5, 512))
    weights |= under("layer3.0.nonlocal_block", non_local("", True, True, channels=1024, width=2))
    return weights


def save(path: Path, weights: StateDict) -> Path:
    r"""As mmdet does, with heads."""
    heads = {"neck.fpn.bias": torch.ones(3), "rpn_head.conv.weight": torch.ones(2, 3, 1, 1)}
    weights = under("module.backbone", weights) | under("module", heads)
    torch.save({"meta": {"epoch": 12, "CLASSES": ("chair",)}, "state_dict": weights}, path)
    return path


def images() -> Tensor:
    return torch.randn(2, 3, 65, 49).double()


@pytest.mark.parametrize("style", ["pytorch", "caffe"])
def test_backbone_and_blocks_equal_the_formulas(style, tmp_path) -> None:
    weights, x = with_blocks(), images()
    path = save(tmp_path / "detector.pth", weights)
    model, report = load(path, style=style, scale="gcnet")
    assert isinstance(model, torchvision.models.ResNet)
    assert_equal(model(x), run_resnet(weights, x, style))
    assert not any(module.training for module in model.modules())

    assert set(report.used) == set(under("backbone", weights))
    assert report.outside == ("neck.fpn.bias", "rpn_head.conv.weight")
    state = model.state_dict()
    for key, name in report.used.items():
        weight = weights[key.removeprefix("backbone.")]
        assert torch.equal(state[name].flatten(), weight.flatten())
    assert set(state) - set(report.used.values()) == set(report.filled) - {"fc"}
    blocks = {n: m for n, m in model.named_modules() if isinstance(m, GlobalContext | NonLocal)}
    assert [name.partition(".context")[0] for name in blocks] == [
        "layer2.0.bn3",
        "layer2.1.bn3",
        "layer3.0.bn3",
    ]
    assert report.settings["style"] == style
    assert report.settings["layer3.0.bn3.context.block.block.scale"] == "gcnet"


def test_a_classifier_keeps_its_last_layer(tmp_path) -> None:
    weights, x = resnet(bottlenecks=False), images()
    weights |= conv("fc", 5, 512)
    weights["fc.weight"] = weights["fc.weight"].flatten(1)
    torch.save(weights, tmp_path / "classifier.pth")
    model, report = load(tmp_path / "classifier.pth")
    expected = run_resnet(weights, x) @ weights["fc.weight"].T + weights["fc.bias"]
    assert_equal(model(x), expected)
    assert (report.outside, report.filled) == ((), {})


def light(weights: StateDict) -> StateDict:
    r"""No numbers are looked at: all of one tensor share one."""
    return {k: w.new_zeros(()).expand(w.shape) for k, w in weights.items()}


MISFITS = {
    "every other key": (
        lambda w: dict(list(w.items())[::2]),
        r"missing: bn1\.weight, .* and \d+ more; left over: none",
    ),
    "first half": (
        lambda w: dict(list(w.items())[: len(w) // 2]),
        r"missing: layer3\.0\..* and \d+ more; left over: none",
    ),
    "deformable convolution": (
        lambda w: w | conv("layer2.0.conv2_offset", 18, 12, size=3),
        r"missing: none; left over: layer2\.0\.conv2_offset\.weight",
    ),
    "part of a block": (
        lambda w: {k: v for k, v in w.items() if "block.channel_add_conv.0" not in k},
        r"under 'backbone\.layer2\.0\.context_block\.'; missing: channel_add_conv\.0\.weight",
    ),
    "block at another place of a bottleneck": (
        lambda w: w | under("layer4.0.context_block", context_block(("add",), True, 3, 128)),
        r"of 2048 channels at 'layer4\.0\.context_block', .* 'layer4\.0\.bn3', got 128",
    ),
    "block of no bottleneck": (
        lambda w: w | under("layer4.7.context_block", context_block(("add",), True, 3, 128)),
        r"bottlenecks, got 'layer4\.7\.context_block' without 'layer4\.7\.bn3'",
    ),
    "another width": (
        lambda w: w | conv("layer3.0.conv2", 5, 5, bias=False, size=3),
        r"'backbone\.layer3\.0\.conv2\.weight' of shape \(24, 8, 3, 3\), .* got \(5, 5, 3, 3\)",
    ),
    "another stem": (
        lambda w: {k.replace("conv1.", "stem.0.", 1): v for k, v in w.items()},
        r"expected one ResNet, .* got none; there are backbone\.stem\.0\.weight",
    ),
    "two backbones": (
        lambda w: under("student", w) | under("teacher", w),
        r"several, under backbone\.student\., backbone\.teacher\.; give prefix=",
    ),
    "two dtypes": (
        lambda w: w | {"bn1.bias": torch.zeros(64)},
        r"one floating-point dtype, got torch\.float32, torch\.float64",
    ),
}


@pytest.mark.parametrize(("change", "message"), MISFITS.values(), ids=MISFITS)
def test_what_does_not_fit_is_named(change, message, tmp_path) -> None:
    path = save(tmp_path / "detector.pth", change(light(with_blocks())))
    with pytest.raises(ValueError, match=message):
        load(path)


def test_options_that_do_not_fit_are_named(tmp_path) -> None:
    path = save(tmp_path / "detector.pth", light(with_blocks()))
    with pytest.raises(ValueError, match=r"near are .*backbone"):
        load(path, prefix="backbones")
    with pytest.raises(ValueError, match="style 'pytorch' or 'caffe', got 'tf'"):
        load(path, style="tf")
    with pytest.raises(TypeError, match="scales"):
        load(path, scales=True)
    path = save(tmp_path / "plain.pth", light(resnet()))
    with pytest.raises(TypeError, match=r"non-local blocks for scale=, got none in .*plain\.pth"):
        load(path, scale="gcnet")


def test_blocks_stand_in_bottlenecks_only(tmp_path) -> None:
    block = under("layer2.0.context_block", context_block(("add",), True, 3, 128))
    path = save(tmp_path / "basic.pth", light(resnet(bottlenecks=False) | block))
    with pytest.raises(ValueError, match=r"without 'layer2\.0\.bn3'"):
        load(path)


def test_torchvision_is_named_where_it_is_missing(tmp_path, monkeypatch) -> None:
    path = save(tmp_path / "detector.pth", light(resnet()))
    monkeypatch.setitem(sys.modules, "torchvision.models.resnet", None)
    with pytest.raises(ImportError, match=r"pip install 'latentgraph\[vision\]'"):
        load(path)


def test_a_prefix_chooses_among_several_backbones(tmp_path) -> None:
    weights, x = with_blocks(), images()
    torch.save(
        {**under("student", light(resnet())), **under("teacher", weights)}, tmp_path / "w.pth"
    )
    model, report = load(tmp_path / "w.pth", prefix="teacher", scale="gcnet")
    assert_equal(model(x), run_resnet(weights, x))
    assert all(key.startswith("student.") for key in report.outside)
    assert len(report.outside) == len(resnet())


def test_a_block_is_that_of_its_converter(tmp_path) -> None:
    weights = with_blocks()
    model, _ = load(save(tmp_path / "detector.pth", weights))
    block, _ = from_context_block(weights, "layer2.0.context_block")
    x = torch.randn(7, 512).double()
    assert_equal(model.layer2[0].bn3.context.block(x), block(x))
