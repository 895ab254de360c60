r"""Step 2 of the message passing: the latent nodes of a graph talk among themselves."""

from __future__ import annotations

from torch import Tensor
from torch_geometric.nn import MessagePassing

from latentgraph import functional as LF
from latentgraph.functional import Ragged
from latentgraph.functional.checks import check_given, check_temperature, check_tensors
from latentgraph.functional.precision import full_precision, wide
from latentgraph.functional.tracing import is_traced
from latentgraph.nn.checks import check_edges


class LatentToLatentConv(MessagePassing):
    r"""Messages among the latent nodes of each graph, step 2 of LatentGNN.

    `LatentGNN: Learning Efficient Non-local Relations for Visual Recognition
    <https://arxiv.org/abs/1905.11634>`_ (ICML 2019)

    .. math:: Z' = F Z \qquad F = softmax_{row}(\hat Z \hat Z^\top / \tau)

    with rows of :math:`\hat Z` of length one, or with weights :math:`F` as given. The layer has no
    parameters. B graphs take :math:`B d^2 c` multiply-adds with given dense weights, twice as many
    without.

    Args:
        temperature: :math:`\tau` of the softmax of cosines.

    Raises:
        ValueError: a temperature that is not above 0.
    """

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__(aggr="add", flow="source_to_target")
        check_temperature(temperature)
        self.temperature = temperature

    def forward(
        self,
        z: Tensor,
        edge_index: Tensor | None = None,
        edge_weight: Tensor | None = None,
        batch: Tensor | Ragged | None = None,
        batch_size: int | None = None,
        temperature: Tensor | float | None = None,
    ) -> Tensor:
        r"""Mix.

        Args:
            z: (B·d, c) features of the latent nodes, those of one graph after those of another.
            edge_index: (2, E), sending and receiving flat latent node; None for all pairs.
            edge_weight: (B, d, d) with ``[b, i, j]`` the weight from j to i, or (E,) with
                ``edge_index`` (then by default ones); None for the softmax of cosines.
            batch: (B·d,) the graph of each latent node, where ``batch_size`` is not given.
            batch_size: number of graphs B, of d latent nodes each; by default 1.
            temperature: in place of the layer's own, a number or a scalar tensor.

        Returns:
            (B·d, c).

        Raises:
            TypeError: an input is no tensor, or integers have no weights.
            ValueError: shapes, dtypes or an index do not fit.
        """
        check_tensors(z=z)
        check_given(edge_index=edge_index, edge_weight=edge_weight)
        if z.dim() != 2:
            raise ValueError(f"expected z of shape (B*d, c), got {tuple(z.shape)}")
        if edge_index is not None:
            check_edges(edge_index, edge_weight, z.size(0), z.size(0))
            out: Tensor = self.propagate(
                edge_index, x=z, edge_weight=edge_weight, size=(z.size(0), z.size(0))
            )
            return out
        num_graphs = _num_graphs(z, batch, batch_size)
        if num_graphs:
            num_latents = z.size(0) // num_graphs
        else:
            num_latents = 0 if edge_weight is None else edge_weight.size(-1)
        stacked = z.view(num_graphs, num_latents, z.size(1))
        if edge_weight is None:
            if not z.is_floating_point():
                raise TypeError(f"expected z of floating-point numbers, got {z.dtype}")
            tau = self.temperature if temperature is None else temperature
            with full_precision(z):
                mixed = (LF.cosine_softmax(stacked, tau) @ wide(stacked)).to(z.dtype)
        else:
            expected = (num_graphs, stacked.size(1), stacked.size(1))
            if tuple(edge_weight.shape) != expected or edge_weight.dtype != z.dtype:
                raise ValueError(
                    f"expected edge_weight of shape {expected} and {z.dtype}, "
                    f"got {tuple(edge_weight.shape)} of {edge_weight.dtype}"
                )
            with full_precision(z):
                mixed = edge_weight @ stacked
        return mixed.flatten(0, 1)

    def message(self, x_j: Tensor, edge_weight: Tensor | None) -> Tensor:
        r"""One edge: its weight times the features of its source."""
        return x_j if edge_weight is None else edge_weight.view(-1, 1) * x_j


def _num_graphs(z: Tensor, batch: Tensor | Ragged | None, batch_size: int | None) -> int:
    if batch is not None:
        graphs = Ragged.of(batch, batch_size, num_nodes=z.size(0))
        assert graphs is not None
        if not is_traced(z):
            same = bool((graphs.sizes == graphs.sizes[:1]).all())
            if not (same and graphs.is_sorted):
                raise ValueError(
                    "expected batch with equally many latent nodes for each graph, in order, got "
                    f"sizes {graphs.sizes.tolist()[:8]}"
                )
        return graphs.batch_size
    num_graphs = 1 if batch_size is None else batch_size
    if num_graphs == 0 and z.size(0) == 0:
        return 0
    if num_graphs < 1 or z.size(0) % num_graphs:
        raise ValueError(f"expected z with rows for {num_graphs} graphs, got {z.size(0)} rows")
    return num_graphs
