r"""The context block of GCNet and mmcv."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from latentgraph.convert.keys import LINEAR, Keys, Report, renamed
from latentgraph.nn import GlobalContext


def from_context_block(
    state_dict: Mapping[str, Tensor], prefix: str = ""
) -> tuple[GlobalContext, Report]:
    r"""The ``ContextBlock`` of GCNet's code and of mmcv.

    ========================================  =============================================
    key                                       in :class:`~latentgraph.nn.GlobalContext`
    ========================================  =============================================
    ``conv_mask``                             ``score``; without it, the mean is pooled
    ``channel_add_conv.0``, ``.1``, ``.3``    ``add.first``, ``add.norm``, ``add.last``
    ``channel_mul_conv.0``, ``.1``, ``.3``    ``mul.first``, ``mul.norm``, ``mul.last``
    ========================================  =============================================

    Args:
        state_dict: of the block, or of a network that has it; tensors of the shapes that the layers
            above have. It is copied.
        prefix: of the block's keys.

    Returns:
        The block, in evaluation mode and in the state dict's dtype, and a report of the keys.

    Raises:
        TypeError: there is no state dict of tensors.
        ValueError: keys are missing or left over, or shapes do not fit.
    """
    keys = Keys(state_dict, prefix, "a context block of GCNet or mmcv")
    branches = {
        "add": ("channel_add_conv.0", "channel_add_conv.1", "channel_add_conv.3"),
        "mul": ("channel_mul_conv.0", "channel_mul_conv.1", "channel_mul_conv.3"),
    }
    return global_context(keys, "conv_mask", branches, eps=1e-5)


def global_context(
    keys: Keys, score: str, branches: Mapping[str, tuple[str, str, str]], eps: float
) -> tuple[GlobalContext, Report]:
    r"""A block of two maps and a LayerNorm for each fusion.

    Args:
        keys: those of the block.
        score: name of the map that scores the nodes.
        branches: names of map, norm and map of what is added, and of what multiplies.
        eps: of the LayerNorm.
    """
    fuse = [kind for kind, (first, *_) in branches.items() if keys.has(first.partition(".")[0])]
    fuse = fuse or ["add"]
    attention = keys.has(score)
    names = renamed(score, "score", LINEAR) if attention else {}
    for kind in fuse:
        for layer, ours in zip(branches[kind], ("first", "norm", "last"), strict=True):
            names |= renamed(layer, f"{kind}.{ours}", LINEAR)
    keys.check(names)

    hidden, channels, *_ = keys.shape(f"{branches[fuse[0]][0]}.weight")
    block = GlobalContext(
        channels,
        ratio=ratio_of(hidden, channels),
        pool="attention" if attention else "mean",
        fuse=fuse,
        eps=eps,
        device="meta",
        dtype=keys.dtype,
    )
    return block.eval(), keys.fill(block, names)


def ratio_of(hidden: int, channels: int) -> float:
    r"""The least ratio at or above hidden / channels of which the inner width is ``hidden``."""
    ratio = hidden / channels
    return ratio if int(channels * ratio) == hidden else math.nextafter(ratio, math.inf)
