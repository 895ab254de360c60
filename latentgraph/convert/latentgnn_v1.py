r"""The authors' LatentGNN."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from latentgraph.convert.keys import BATCH_NORM, Keys, Report, renamed, set_eps
from latentgraph.nn import LatentGNN


def from_latentgnn_v1(
    state_dict: Mapping[str, Tensor], prefix: str = "", residual: bool = True, eps: float = 1e-5
) -> tuple[LatentGNN, Report]:
    r"""``LatentGNNV1`` of the authors' code.

    ============================================  ==========================================
    key; ``.0`` is a map, ``.1`` a batch norm     in :class:`~latentgraph.nn.LatentGNN`
    ============================================  ==========================================
    ``down_channel_v2l``; ``down_channel``        ``visible``; the same, where symmetric
    ``down_channel_l2v``                          ``latent``
    ``LatentGNN_Kernel_<m>.psi_v2l``; ``.psi``    ``kernels.<m>.psi_v2l``; where symmetric
    ``LatentGNN_Kernel_<m>.psi_l2v``              ``kernels.<m>.psi_l2v``
    ``LatentGNN_Kernel_<m>.GraphConvWeight``      ``kernels.<m>.conv``
    ``up_channel``                                ``up``
    ``gamma``                                     ``gamma``
    ============================================  ==========================================

    Args:
        state_dict: of the block, or of a network that has it; tensors of the shapes that the layers
            above have. It is copied.
        prefix: of the block's keys.
        residual: False for a block built with ``without_residual``, which does not use its
            ``gamma``: 1 stands in its place.
        eps: of the batch norms; 0 if they were frozen ones that have none.

    Returns:
        The block, in evaluation mode and in the state dict's dtype, and a report of the keys.

    Raises:
        TypeError: there is no state dict of tensors.
        ValueError: keys are missing or left over, or shapes do not fit.
    """
    keys = Keys(state_dict, prefix, "a LatentGNN V1 block")
    symmetric, graph_conv = keys.has("down_channel."), any(".Graph" in key for key in keys.tensors)
    down = "down_channel" if symmetric else "down_channel_v2l"
    layers = {down: "visible"} if symmetric else {down: "visible", "down_channel_l2v": "latent"}
    psi = {"psi": "psi_v2l"} if symmetric else {"psi_v2l": "psi_v2l", "psi_l2v": "psi_l2v"}
    psi |= {"GraphConvWeight": "conv"} if graph_conv else {}
    kernels = [f"LatentGNN_Kernel_{m}" for m in range(_num_kernels(keys))]
    for m, kernel in enumerate(kernels):
        layers |= {f"{kernel}.{name}": f"kernels.{m}.{ours}" for name, ours in psi.items()}
    layers["up_channel"] = "up"
    names = {"gamma": "gamma"}
    for theirs, ours in layers.items():
        names[f"{theirs}.0.weight"] = f"{ours}.linear.weight"
        names |= renamed(f"{theirs}.1", f"{ours}.norm", BATCH_NORM)
    keys.check(names)

    width, channels, *_ = keys.shape(f"{down}.0.weight")
    first = next(iter(psi))
    block = LatentGNN(
        channels,
        latent_dims=[keys.shape(f"{kernel}.{first}.0.weight")[0] for kernel in kernels],
        reduction=max(1, channels // width),
        mode="symmetric" if symmetric else "asymmetric",
        norm="batch_norm",
        graph_conv=graph_conv,
        gamma_init=0.0 if residual else 1.0,
        residual=residual,
        device="meta",
        dtype=keys.dtype,
    )
    report = keys.fill(block, names)
    if not residual:
        nn.init.ones_(block.gamma)
        report.used[f"{keys.prefix}gamma"] = "nothing, without residual it is 1"
    set_eps(block, eps)
    report.settings.update(residual=residual, eps=eps)
    return block.eval(), report


def _num_kernels(keys: Keys) -> int:
    found = (re.match(r"LatentGNN_Kernel_(\d+)\.", key) for key in keys.tensors)
    return max((int(match[1]) + 1 for match in found if match), default=1)
