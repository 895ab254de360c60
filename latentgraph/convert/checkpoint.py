r"""Whole checkpoints of detectors and classifiers, as a ResNet of torchvision with blocks in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from latentgraph.convert.context_block import from_context_block
from latentgraph.convert.files import read_state_dict
from latentgraph.convert.keys import Keys, Report, listed
from latentgraph.convert.mmcv_non_local import from_non_local
from latentgraph.needs import need
from latentgraph.nn import NonLocal, OnGrid
from latentgraph.plug import insert

Style = Literal["pytorch", "caffe"]

_BLOCK = re.compile(r"(layer\d+\.\d+)\.((context|nonlocal)_block\w*)\.")


def load(
    path: str | Path, prefix: str | None = None, style: Style = "pytorch", **non_local: Any
) -> tuple[nn.Module, Report]:
    r"""The backbone of a checkpoint of GCNet or mmdet, with its blocks.

    The network is torchvision's ``ResNet`` of the depth, width and groups that the keys show.
    Context blocks and non-local blocks of its bottlenecks, ``layer3.0.context_block`` say, are put
    behind the last norm, ``layer3.0.bn3``, by :func:`~latentgraph.plug.insert`. Without ``fc`` in
    the checkpoint the network returns pooled features.

    Args:
        path: as :func:`read_state_dict` takes it.
        prefix: of the backbone's keys; by default the only one that fits.
        style: ``"pytorch"`` has the stride of a bottleneck in its 3 x 3 convolution, ``"caffe"`` in
            the one before. No key tells.
        non_local: what :func:`from_non_local` takes, for non-local blocks.

    Returns:
        The network, in evaluation mode and in the checkpoint's dtype, and a report: every key of
        the backbone and what it became, and the keys outside of it, of neck and heads.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: torchvision or safetensors is missing.
        TypeError: options of non-local blocks are unknown, or the checkpoint has none.
        ValueError: the file cannot be read, keys of the backbone are missing or left over, or
            shapes do not fit.
    """
    if style not in ("pytorch", "caffe"):
        raise ValueError(f"expected style 'pytorch' or 'caffe', got {style!r}")
    state_dict = read_state_dict(path)
    keys = Keys(state_dict, _backbone_of(state_dict) if prefix is None else prefix, "a ResNet")
    blocks = {match[0]: match for match in map(_BLOCK.match, keys.tensors) if match}
    kinds = {match[3] for match in blocks.values()}
    if non_local and "nonlocal" not in kinds:
        raise TypeError(f"expected non-local blocks for {listed(non_local)}=, got none in {path}")

    inside = tuple(blocks)
    keys.tensors = {k: t for k, t in keys.tensors.items() if not k.startswith(inside)}
    model = _empty_resnet(keys, style)
    names = {name: name for name in model.state_dict()}
    keys.check(names)
    report = keys.fill(model.to(keys.dtype), names)
    if isinstance(model.fc, nn.Identity):
        report.filled["fc"] = "nothing, pooled features are returned"
    report.settings["style"] = style
    model.eval()
    for start, match in blocks.items():
        convert: Callable[..., tuple[Any, Report]] = from_context_block
        options: Mapping[str, Any] = {}
        if match[3] == "nonlocal":
            convert, options = from_non_local, non_local
        block, part = convert(state_dict, keys.prefix + start, **options)
        _put(model, f"{match[1]}.bn3", block, start.rstrip("."))
        own = next(name for name, module in model.named_modules() if module is block)
        report.used.update({key: f"{own}.{name}" for key, name in part.used.items()})
        report.filled.update({f"{own}.{name}": value for name, value in part.filled.items()})
        report.settings.update({f"{own}.{name}": value for name, value in part.settings.items()})
    return model, replace(report, outside=tuple(k for k in state_dict if k not in report.used))


def _backbone_of(state_dict: Mapping[str, Tensor]) -> str:
    r"""The only prefix under which there is a ResNet."""
    ends = ("conv1.weight", "layer1.0.conv1.weight")
    starts = [key.removesuffix(ends[1]) for key in state_dict if key.endswith(ends[1])]
    found = [start for start in starts if start + ends[0] in state_dict]
    if len(found) != 1:
        got = f"several, under {listed(found)}; give prefix=" if found else "none; there are "
        raise ValueError(
            "expected one ResNet, with keys ...conv1.weight and ...layer1.0.conv1.weight, got "
            + (got if found else got + listed(state_dict))
        )
    return found[0]


def _empty_resnet(keys: Keys, style: Style) -> Any:
    r"""A ResNet on the meta device, of the structure that the keys show."""
    resnet = need("torchvision.models.resnet", "to build the backbone", "vision")
    bottlenecks = any(key.endswith(".conv3.weight") for key in keys.tensors)
    found = [re.match(r"layer([1-4])\.(\d+)\.", key) for key in keys.tensors]
    depths = [
        max((int(m[2]) + 1 for m in found if m and int(m[1]) == stage), default=1)
        for stage in range(1, 5)
    ]
    options: dict[str, Any] = {}
    first, second = "layer1.0.conv1.weight", "layer1.0.conv2.weight"
    if bottlenecks and first in keys.tensors and second in keys.tensors:
        width, of_group = keys.shape(first)[0], keys.shape(second)[1]
        options = {"groups": max(1, width // max(1, of_group)), "width_per_group": of_group}
    if "fc.weight" in keys.tensors:
        options["num_classes"] = keys.shape("fc.weight")[0]
    with torch.device("meta"):
        kind = resnet.Bottleneck if bottlenecks else resnet.BasicBlock
        model = resnet.ResNet(kind, depths, **options)
    if not keys.has("fc."):
        model.fc = nn.Identity()
    if style == "caffe" and bottlenecks:
        for stage in (model.layer2, model.layer3, model.layer4):
            stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    return model


def _put(model: nn.Module, at: str, block: Any, name: str) -> None:
    r"""Insert a block behind the last norm of its bottleneck."""
    norm = dict(model.named_modules()).get(at)
    if not isinstance(norm, nn.BatchNorm2d):
        raise ValueError(f"expected blocks in bottlenecks, got {name!r} without {at!r}")
    if block.channels != norm.num_features:
        raise ValueError(
            f"expected a block of {norm.num_features} channels at {name!r}, to stand "
            f"behind {at!r}, got {block.channels}"
        )
    on_maps = OnGrid(block, pool=2) if isinstance(block, NonLocal) and block.pool else block
    insert(model, at, lambda channels: on_maps)
