r"""Step 3 of the message passing: the latent nodes send back."""

from __future__ import annotations

import math

from torch import Tensor
from torch_geometric.nn import MessagePassing

from latentgraph import functional as LF
from latentgraph.functional import Ragged
from latentgraph.functional.checks import check_given, check_tensors
from latentgraph.nn.checks import check_edges, graphs_of


class LatentToVisibleConv(MessagePassing):
    r"""Messages from latent to visible nodes, step 3 of LatentGNN.

    `LatentGNN: Learning Efficient Non-local Relations for Visual Recognition
    <https://arxiv.org/abs/1905.11634>`_ (ICML 2019)

    .. math:: y_i = \sum_{k} S_{ik}\, z_k \qquad\text{that is}\qquad Y = S Z

    over the latent nodes of the graph of i. The layer has no parameters; weights are used as given.

    Latent nodes are flat: row :math:`b \cdot d + k` is latent k of graph b. Dense weights take
    :math:`N d c` multiply-adds.
    """

    def __init__(self) -> None:
        super().__init__(aggr="add", flow="source_to_target")

    def forward(
        self,
        z: Tensor,
        edge_index: Tensor | None = None,
        edge_weight: Tensor | None = None,
        batch: Tensor | Ragged | None = None,
        batch_size: int | None = None,
        num_nodes: int | None = None,
    ) -> Tensor:
        r"""Send back.

        Args:
            z: (B·d, c) features of the latent nodes.
            edge_index: (2, E), flat latent node and visible node of each edge; None for dense
                weights.
            edge_weight: (N, d) or (B, n, d) dense weights, or (E,) with ``edge_index`` (then by
                default ones).
            batch: (N,) the graph of each visible node; None for one graph.
            batch_size: number of graphs B; by default the largest entry of ``batch`` plus one.
            num_nodes: number of visible nodes N; needed with ``edge_index`` where ``batch`` does
                not tell it.

        Returns:
            (N, c), or (B, n, c) for dense weights (B, n, d).

        Raises:
            TypeError: an input is no tensor.
            ValueError: shapes, dtypes or an index do not fit.
        """
        check_tensors(z=z)
        check_given(edge_index=edge_index, edge_weight=edge_weight)
        if z.dim() != 2:
            raise ValueError(f"expected z of shape (B*d, c), got {tuple(z.shape)}")
        if edge_index is None:
            return self._dense(z, edge_weight, batch, batch_size, num_nodes)

        if num_nodes is None:
            if batch is None:
                raise ValueError("expected num_nodes= or batch= beside edge_index, got neither")
            num_nodes = (batch.batch if isinstance(batch, Ragged) else batch).size(0)
        check_edges(edge_index, edge_weight, z.size(0), num_nodes)
        out: Tensor = self.propagate(
            edge_index, x=z, edge_weight=edge_weight, size=(z.size(0), num_nodes)
        )
        return out

    def _dense(
        self,
        z: Tensor,
        weight: Tensor | None,
        batch: Tensor | Ragged | None,
        batch_size: int | None,
        num_nodes: int | None,
    ) -> Tensor:
        if weight is None or weight.dim() not in (2, 3) or weight.dtype != z.dtype:
            got = None if weight is None else f"{tuple(weight.shape)} of {weight.dtype}"
            raise ValueError(
                f"expected edge_weight of shape (N, d) or (B, n, d) and {z.dtype}, got {got}"
            )
        if num_nodes is not None and num_nodes != math.prod(weight.shape[:-1]):
            raise ValueError(
                f"expected edge_weight for {num_nodes} nodes, got {tuple(weight.shape)}"
            )
        graphs = graphs_of(weight, batch, batch_size)
        num_graphs = weight.size(0) if weight.dim() == 3 else 1
        if graphs is not None:
            num_graphs = graphs.batch_size
        if z.size(0) != num_graphs * weight.size(-1):
            raise ValueError(
                f"expected z with {num_graphs} x {weight.size(-1)} rows, got {z.size(0)}"
            )
        z = z.view(num_graphs, weight.size(-1), z.size(1))
        return LF.latent_to_visible(z, weight, graphs)

    def message(self, x_j: Tensor, edge_weight: Tensor | None) -> Tensor:
        r"""One edge: its weight times the features of its source."""
        return x_j if edge_weight is None else edge_weight.view(-1, 1) * x_j
