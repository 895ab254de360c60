r"""What blocks do inside a network: affinities, query independence, latent nodes, costs."""

from latentgraph.inspection.affinity import (
    Affinities,
    affinities,
    dense_affinities,
    latent_of_nodes,
)
from latentgraph.inspection.calls import Call, record
from latentgraph.inspection.cost import Cost, Costs, costs
from latentgraph.inspection.independence import Distance, QueryIndependence, query_independence
from latentgraph.inspection.pictures import draw_attention, draw_latent_nodes

__all__ = [
    "Affinities",
    "Call",
    "Cost",
    "Costs",
    "Distance",
    "QueryIndependence",
    "affinities",
    "costs",
    "dense_affinities",
    "draw_attention",
    "draw_latent_nodes",
    "latent_of_nodes",
    "query_independence",
    "record",
]
