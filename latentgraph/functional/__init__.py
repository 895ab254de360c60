r"""Mathematics without parameters: ragged batches, affinities, the two products, the two passes."""

from latentgraph.functional.affinity import (
    cosine_softmax,
    l2,
    l2_over_nodes,
    softmax_over_nodes,
)
from latentgraph.functional.bipartite import (
    latent_to_visible,
    visible_to_latent,
)
from latentgraph.functional.passes import Chunk, Passes, State, two_passes
from latentgraph.functional.ragged import Ragged
from latentgraph.functional.streaming import stream
from latentgraph.functional.sums import sum_nodes, to_nodes

__all__ = [
    "Chunk",
    "Passes",
    "Ragged",
    "State",
    "cosine_softmax",
    "l2",
    "l2_over_nodes",
    "latent_to_visible",
    "softmax_over_nodes",
    "stream",
    "sum_nodes",
    "to_nodes",
    "two_passes",
    "visible_to_latent",
]
