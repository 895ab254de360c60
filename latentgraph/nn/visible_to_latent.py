r"""Step 1 of the message passing: many visible nodes send to few latent ones."""

from __future__ import annotations

from torch import Tensor
from torch_geometric.nn import MessagePassing

from latentgraph import functional as LF
from latentgraph.functional import Ragged
from latentgraph.functional.checks import check_given, check_tensors
from latentgraph.nn.checks import check_dense, check_edges, graphs_of


class VisibleToLatentConv(MessagePassing):
    r"""Messages from visible to latent nodes, step 1 of LatentGNN.

    `LatentGNN: Learning Efficient Non-local Relations for Visual Recognition
    <https://arxiv.org/abs/1905.11634>`_ (ICML 2019)

    .. math:: Z_k = \sum_{i} P_{ik}\, x_i \qquad\text{that is}\qquad Z = P^\top X

    over the nodes of each graph. The layer has no parameters; weights are used as given
    (:mod:`latentgraph.functional` normalizes them).

    Latent nodes are flat: row :math:`b \cdot d + k` is latent k of graph b. Dense weights take
    :math:`N d c` multiply-adds.
    """

    def __init__(self) -> None:
        super().__init__(aggr="add", flow="source_to_target")

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor | None = None,
        edge_weight: Tensor | None = None,
        batch: Tensor | Ragged | None = None,
        batch_size: int | None = None,
        num_latents: int | None = None,
    ) -> Tensor:
        r"""Send.

        Args:
            x: (N, c) features of the visible nodes, or (B, n, c) for graphs of one size.
            edge_index: (2, E), visible node and flat latent node of each edge; None for dense
                weights.
            edge_weight: (N, d) or (B, n, d) dense weights, or (E,) with ``edge_index`` (then by
                default ones).
            batch: (N,) the graph of each visible node; None for one graph.
            batch_size: number of graphs B; by default the largest entry of ``batch`` plus one.
            num_latents: latent nodes d of each graph; needed with ``edge_index``.

        Returns:
            (B·d, c), zeros for the latent nodes of an empty graph.

        Raises:
            TypeError: an input is no tensor.
            ValueError: shapes, dtypes or an index do not fit.
        """
        check_tensors(x=x)
        check_given(edge_index=edge_index, edge_weight=edge_weight)
        if edge_index is None:
            weight = check_dense(x, edge_weight)
            if num_latents not in (None, weight.size(-1)):
                raise ValueError(
                    f"expected edge_weight of shape (N, {num_latents}), got {tuple(weight.shape)}"
                )
            graphs = graphs_of(x, batch, batch_size)
            return LF.visible_to_latent(x, weight, graphs).flatten(0, 1)

        if num_latents is None:
            raise ValueError("expected num_latents= beside edge_index, got None")
        graphs = Ragged.of(batch, batch_size, num_nodes=x.size(0), device=x.device)
        num_targets = num_latents * (1 if graphs is None else graphs.batch_size)
        check_edges(edge_index, edge_weight, x.size(0), num_targets)
        out: Tensor = self.propagate(
            edge_index, x=x, edge_weight=edge_weight, size=(x.size(0), num_targets)
        )
        return out

    def message(self, x_j: Tensor, edge_weight: Tensor | None) -> Tensor:
        r"""One edge: its weight times the features of its source."""
        return x_j if edge_weight is None else edge_weight.view(-1, 1) * x_j
