r"""The non-local block of mmcv and GCNet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from latentgraph.convert.keys import BATCH_NORM, LINEAR, Keys, Report, renamed, set_eps
from latentgraph.nn import NonLocal
from latentgraph.nn.non_local import Pairwise
from latentgraph.nn.sub_sampling import PoolAt


def from_non_local(
    state_dict: Mapping[str, Tensor],
    prefix: str = "",
    pairwise: Pairwise = "embedded_gaussian",
    scale: bool | Literal["gcnet"] = True,
    pool_at: PoolAt | None = None,
    eps: float = 1e-5,
) -> tuple[NonLocal, Report]:
    r"""``NonLocal1d``, ``NonLocal2d`` and ``NonLocal3d`` of mmcv, ``NonLocal2D`` of GCNet's code.

    =====================================  ================================================
    key                                    in :class:`~latentgraph.nn.NonLocal`
    =====================================  ================================================
    ``theta.conv``, ``phi.conv``           ``theta``, ``phi``
    ``g.conv``                             ``g``
    ``phi.0.conv``, ``g.0.conv``           the same, with sub-sampling
    ``concat_project.conv``                ``concat``
    ``conv_out.conv``, ``conv_out.bn``     ``out``, ``norm``; a map without bias gets zeros
    =====================================  ================================================

    A block with sub-sampling is for feature maps: run it as
    ``OnGrid(block, pool=2)``, without which it says so.

    Args:
        state_dict: of the block, or of a network that has it; tensors of the shapes that the layers
            above have. It is copied.
        prefix: of the block's keys.
        pairwise: the block's ``mode``.
        scale: of ``"embedded_gaussian"``: True for mmcv's, False for ``use_scale=False``,
            ``"gcnet"`` for GCNet's own code.
        pool_at: place of the sub-sampling; by default ``"projected"``, mmcv's, if the keys show
            one, else there is none.
        eps: of the batch norm.

    Returns:
        The block, in evaluation mode and in the state dict's dtype, and a report of the keys.

    Raises:
        TypeError: there is no state dict of tensors.
        ValueError: keys are missing or left over, shapes or options do not fit.
    """
    keys = Keys(state_dict, prefix, f"a non-local block of mmcv with pairwise={pairwise!r}")
    inside = "0.conv" if keys.has("g.0.") else "conv"
    names = renamed(f"g.{inside}", "g", LINEAR)
    if pairwise != "gaussian":
        names |= renamed("theta.conv", "theta", LINEAR) | renamed(f"phi.{inside}", "phi", LINEAR)
    if pairwise == "concatenation":
        names |= {"concat_project.conv.weight": "concat.weight"}
    names |= renamed("conv_out.conv", "out", LINEAR)
    has_norm = keys.has("conv_out.bn.")
    if has_norm:
        names |= renamed("conv_out.bn", "norm", BATCH_NORM)
    no_bias = has_norm and "conv_out.conv.bias" not in keys.tensors
    if no_bias:
        del names["conv_out.conv.bias"]
    keys.check(names)

    width, channels, *_ = keys.shape(f"g.{inside}.weight")
    if pool_at is None and inside != "conv":
        pool_at = "projected"
    block = NonLocal(
        channels,
        reduction=max(1, channels // width),
        pairwise=pairwise,
        scale=scale,
        norm="batch_norm" if has_norm else None,
        pool=None if pool_at is None else on_maps_only,
        pool_at=pool_at or "input",
        device="meta",
        dtype=keys.dtype,
    )
    report = keys.fill(block, names, zeros=["out.bias"] if no_bias else [])
    set_eps(block, eps)
    report.settings.update(pairwise=pairwise, scale=scale, pool_at=pool_at, eps=eps)
    return block.eval(), report


def on_maps_only(x: Tensor, batch: Tensor | None) -> tuple[Tensor, Tensor | None]:
    r"""In place of a max-pool of positions, which nodes do not have."""
    raise ValueError("expected OnGrid(block, pool=2) for a block that sub-samples maps, got nodes")
