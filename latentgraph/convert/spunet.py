r"""The sparse U-Net of Pointcept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from latentgraph.convert.keys import BATCH_NORM, LINEAR, Keys, Report, listed, renamed
from latentgraph.models import VoxelUNet

EPS, MOMENTUM = 1e-3, 0.01
_FIRST = "conv_input.0.weight"


def from_spunet(
    state_dict: Mapping[str, Tensor], prefix: str | None = None
) -> tuple[VoxelUNet, Report]:
    r"""The network ``SpUNet-v1m1`` of Pointcept, of spconv 2.

    ==================================  =====================================================
    key                                 in :class:`~latentgraph.models.VoxelUNet`
    ==================================  =====================================================
    ``conv_input.{0,1}``                ``stem.conv``, ``stem.norm``
    ``down.<s>.{0,1}``                  ``down.<s>.conv``, ``down.<s>.norm``
    ``enc.<s>.block<i>``                ``encoder.<s + 1>.<i>``
    ``up.<s>.{0,1}``                    ``up.<s>.conv``, ``up.<s>.norm``
    ``dec.<s>.block<i>``                ``decoder.<s>.<i>``
    ``conv1``, ``bn1`` of a block       ``conv1``, ``norm1``; the same for 2
    ``proj.{0,1}`` of a block           ``shortcut.{0,1}``
    ``final``                           ``head``
    ==================================  =====================================================

    A kernel (out, x, y, z, in) becomes one matrix (in, out) for each offset. Of a kernel with one
    offset, (out, 1, 1, 1, in), spconv reads the numbers row by row as a matrix (in, out), though
    its shape says (out, in), and so does this.

    Args:
        state_dict: of the network, or of a model that has it; tensors of the shapes that its layers
            have. It is copied.
        prefix: of the network's keys; by default the only one that fits, ``backbone.`` in
            Pointcept's checkpoints.

    Returns:
        The network, in evaluation mode and in the state dict's dtype, and a report of the keys.

    Raises:
        TypeError: there is no state dict of tensors.
        ValueError: keys are missing or left over, or shapes do not fit.
    """
    keys = Keys(state_dict, _place_of(state_dict) if prefix is None else prefix, "an SpUNet")
    model = _empty(keys)
    names = _names(model)
    keys.check(names)
    for key, value in keys.tensors.items():
        if value.dim() == 5:
            keys.tensors[key] = _matrices(value)
    report = keys.fill(model.to(keys.dtype), names)
    report.settings["eps"] = EPS
    report.outside = tuple(key for key in state_dict if key not in report.used)
    return model.eval(), report


def _place_of(state_dict: Mapping[str, Tensor]) -> str:
    r"""The only prefix under which there is an SpUNet."""
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"expected a state dict, got {type(state_dict).__name__}")
    found = [str(key).removesuffix(_FIRST) for key in state_dict if str(key).endswith(_FIRST)]
    if len(found) != 1:
        got = f"several, under {listed(found)}; give prefix=" if found else "none; there are "
        raise ValueError(
            f"expected one SpUNet, with a key ...{_FIRST}, got "
            + (got if found else got + listed(map(str, state_dict)))
        )
    return found[0]


def _empty(keys: Keys) -> VoxelUNet:
    r"""A network on the meta device, as large as the keys say."""
    depth = {part: _count(keys, rf"{part}\.(\d+)\.") for part in ("down", "enc", "up", "dec")}
    if len(set(depth.values())) != 1 or not depth["down"] or not keys.has("final."):
        raise ValueError(
            f"expected {keys.kind} with as many stages down, enc, up and dec, and final, got "
            + ", ".join(f"{number} {part}" for part, number in depth.items())
            + (" and final" if keys.has("final.") else " and no final")
        )
    stages = range(depth["down"])
    stem, head = _shape(keys, _FIRST), _shape(keys, "final.weight")
    encoder = [_shape(keys, f"down.{s}.0.weight")[0] for s in stages]
    with torch.device("meta"):
        return VoxelUNet(
            stem[-1],
            head[0],
            channels=(stem[0], *encoder),
            blocks=(0, *(_count(keys, rf"enc\.{s}\.block(\d+)\.") for s in stages)),
            decoder_channels=[_shape(keys, f"up.{s}.0.weight")[0] for s in stages],
            decoder_blocks=[_count(keys, rf"dec\.{s}\.block(\d+)\.") for s in stages],
            stem_kernel_size=stem[1],
            residual=True,
            norm=partial(nn.BatchNorm1d, eps=EPS, momentum=MOMENTUM),
        )


def _count(keys: Keys, pattern: str) -> int:
    numbers = [int(match[1]) for match in (re.match(pattern, key) for key in keys.tensors) if match]
    return max(numbers, default=-1) + 1


def _shape(keys: Keys, key: str) -> torch.Size:
    if key not in keys.tensors or keys.tensors[key].dim() != 5:
        got = tuple(keys.tensors[key].shape) if key in keys.tensors else "no such key"
        raise ValueError(
            f"expected {keys.prefix + key!r} of shape (out, x, y, z, in), as spconv 2 has it, got "
            f"{got}"
        )
    return keys.tensors[key].shape


def _names(model: VoxelUNet) -> dict[str, str]:
    r"""For each key of an SpUNet the name in the network."""
    names = _layer("conv_input", "stem") | renamed("final", "head", LINEAR)
    for s in range(len(model.down)):
        names |= _layer(f"down.{s}", f"down.{s}") | _layer(f"up.{s}", f"up.{s}")
        stages = (("enc", "encoder", s + 1), ("dec", "decoder", s))
        for theirs, ours, level in stages:
            stage: nn.ModuleList = getattr(model, ours)[level]
            for i, block in enumerate(stage):
                start, name = f"{theirs}.{s}.block{i}", f"{ours}.{level}.{i}"
                for n in (1, 2):
                    names[f"{start}.conv{n}.weight"] = f"{name}.conv{n}.weight"
                    names |= renamed(f"{start}.bn{n}", f"{name}.norm{n}", BATCH_NORM)
                if not isinstance(block.shortcut, nn.Identity):
                    names[f"{start}.proj.0.weight"] = f"{name}.shortcut.0.weight"
                    names |= renamed(f"{start}.proj.1", f"{name}.shortcut.1", BATCH_NORM)
    return names


def _layer(theirs: str, ours: str) -> dict[str, str]:
    r"""Names of a convolution and its norm."""
    weight = {f"{theirs}.0.weight": f"{ours}.conv.weight"}
    return weight | renamed(f"{theirs}.1", f"{ours}.norm", BATCH_NORM)


def _matrices(kernel: Tensor) -> Tensor:
    r"""A kernel (out, x, y, z, in) as (x y z, in, out); one of a single offset as (out, in)."""
    out, *sides, channels = kernel.shape
    if sides == [1, 1, 1]:
        return kernel.reshape(channels, out).T  # as spconv reads it
    return kernel.flatten(1, 3).permute(1, 2, 0)
