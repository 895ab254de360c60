r"""The global context block of timm."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from latentgraph.convert.context_block import global_context
from latentgraph.convert.keys import Keys, Report
from latentgraph.nn import GlobalContext


def from_timm(state_dict: Mapping[str, Tensor], prefix: str = "") -> tuple[GlobalContext, Report]:
    r"""The ``GlobalContext`` of timm, with its ReLU and sigmoid.

    ====================================  =============================================
    key                                   in :class:`~latentgraph.nn.GlobalContext`
    ====================================  =============================================
    ``conv_attn``                         ``score``; without it, the mean is pooled
    ``mlp_add.fc1``, ``.norm``, ``.fc2``  ``add.first``, ``add.norm``, ``add.last``
    ``mlp_scale.fc1``, and so on          ``mul.first``, and so on
    ====================================  =============================================

    The eps of the LayerNorm is timm's, 1e-6.

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
    keys = Keys(state_dict, prefix, "a GlobalContext of timm")
    branches = {
        "add": ("mlp_add.fc1", "mlp_add.norm", "mlp_add.fc2"),
        "mul": ("mlp_scale.fc1", "mlp_scale.norm", "mlp_scale.fc2"),
    }
    return global_context(keys, "conv_attn", branches, eps=1e-6)
