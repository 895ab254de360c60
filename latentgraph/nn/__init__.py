r"""The layers and blocks."""

from latentgraph.nn.aggregation import LatentAggregation
from latentgraph.nn.global_context import GlobalContext
from latentgraph.nn.latent_gnn import LatentGNN
from latentgraph.nn.latent_steps import Affinity
from latentgraph.nn.latent_to_latent import LatentToLatentConv
from latentgraph.nn.latent_to_visible import LatentToVisibleConv
from latentgraph.nn.non_local import NonLocal
from latentgraph.nn.on_grid import OnGrid, grid_to_nodes, nodes_to_grid
from latentgraph.nn.position_features import position_features
from latentgraph.nn.simplified_non_local import SimplifiedNonLocal
from latentgraph.nn.squeeze_excitation import SqueezeExcitation
from latentgraph.nn.visible_to_latent import VisibleToLatentConv

__all__ = [
    "Affinity",
    "GlobalContext",
    "LatentAggregation",
    "LatentGNN",
    "LatentToLatentConv",
    "LatentToVisibleConv",
    "NonLocal",
    "OnGrid",
    "SimplifiedNonLocal",
    "SqueezeExcitation",
    "VisibleToLatentConv",
    "grid_to_nodes",
    "nodes_to_grid",
    "position_features",
]
