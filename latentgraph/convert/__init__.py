r"""Weights of other code in the blocks of this library."""

from latentgraph.convert.checkpoint import load
from latentgraph.convert.context_block import from_context_block
from latentgraph.convert.files import read_state_dict
from latentgraph.convert.keys import Report
from latentgraph.convert.latentgnn_v1 import from_latentgnn_v1
from latentgraph.convert.mmcv_non_local import from_non_local
from latentgraph.convert.spunet import from_spunet
from latentgraph.convert.timm_context import from_timm

__all__ = [
    "Report",
    "from_context_block",
    "from_latentgnn_v1",
    "from_non_local",
    "from_spunet",
    "from_timm",
    "load",
    "read_state_dict",
]
