r"""Step 1 of LatentGNN as a PyG aggregation: a set of nodes becomes a few latent nodes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric.nn.aggr import Aggregation

from latentgraph import functional as LF
from latentgraph.functional import Ragged
from latentgraph.functional.affinity import inverse_norm, sum_squares_over_nodes
from latentgraph.functional.checks import check_count, check_given, check_tensors
from latentgraph.functional.precision import full_precision, wide
from latentgraph.functional.shards import sum_over_shards
from latentgraph.functional.tracing import is_traced
from latentgraph.nn.checks import check_nodes
from latentgraph.nn.linear_norm import LinearNorm, Norm


class LatentAggregation(Aggregation):
    r"""Nodes of each graph, or messages to each node, summed up by a few latent nodes.

    Visible to latent of `LatentGNN: Learning Efficient Non-local Relations for Visual Recognition
    <https://arxiv.org/abs/1905.11634>`_ (ICML 2019)

    .. math:: P = \ell_2^{nodes}(relu(norm(x \Theta))) \qquad Z_k = \sum_i P_{ik}\, x_i

    over the nodes i of each graph, for d latent nodes k. :math:`\Theta` is ``psi.linear``.
    Multiply-adds for N nodes: :math:`2 N C d`.

    Args:
        channels: C, size of a node's features.
        num_latents: d, of each graph.
        concat: whether the features of the d latent nodes are concatenated or averaged; a layer
            that expects C of them back, as ``SAGEConv`` does, needs the average.
        norm: ``"layer_norm"`` over the d scores of a node, ``"batch_norm"`` over all nodes of a
            call, or None.
        device: where the parameters live.
        dtype: dtype of the parameters.

    Raises:
        ValueError: ``channels`` or ``num_latents`` is below 1, the latter below 2 under layer norm.
    """

    def __init__(
        self,
        channels: int,
        num_latents: int,
        concat: bool = True,
        norm: Norm | None = "layer_norm",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        check_count(channels=channels)
        self.channels, self.num_latents, self.concat = channels, num_latents, concat
        self.psi = LinearNorm(channels, num_latents, norm, **factory)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""New random weights."""
        self.psi.reset_parameters()

    def __call__(
        self,
        x: Tensor,
        index: Tensor | None = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        dim: int = -2,
        **options: Any,
    ) -> Tensor:
        # PyG reads all of them before forward could check them.
        check_tensors(x=x)
        check_given(index=index, ptr=ptr)
        if index is None and ptr is None and dim_size is None:
            dim_size = 1  # also where it has no nodes
        out: Tensor = super().__call__(x, index, ptr, dim_size, dim, **options)
        return out

    def forward(
        self,
        x: Tensor,
        index: Tensor | None = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        dim: int = -2,
    ) -> Tensor:
        r"""Aggregate.

        Args:
            x: (N, C) features.
            index: (N,) the graph of each node, in any order; by default that of ``ptr``, or one.
            ptr: (B + 1,) offsets of the graphs among sorted nodes.
            dim_size: number of graphs B; by default the largest entry of ``index`` plus one.
            dim: the dimension of the nodes, which is the first of two.

        Returns:
            (B, d·C), or (B, C) if averaged; zeros for a graph without nodes.

        Raises:
            ValueError: shapes do not fit.
            TypeError: the dtype is not that of the parameters, outside autocast.
        """
        if x.dim() != 2 or dim not in (0, -2):
            raise ValueError(
                f"expected x of shape (N, {self.channels}) aggregated over dim=-2, "
                f"got {tuple(x.shape)} over dim={dim}"
            )
        check_nodes(x, self.channels, self.psi.linear.weight.dtype)
        if index is None and ptr is not None:
            _check_offsets(ptr, x.size(0))
            graph = torch.arange(ptr.numel() - 1, device=x.device)
            index = graph.repeat_interleave(ptr.diff(), output_size=x.size(0))
        graphs = Ragged.of(index, dim_size, num_nodes=x.size(0), device=x.device)
        score = self.psi(x).relu()
        with full_precision(x):
            squares = sum_squares_over_nodes(score, graphs)
            latent = LF.visible_to_latent(wide(x), score, graphs)
            latent, squares = sum_over_shards(latent, squares)
            latent = latent * inverse_norm(squares).unsqueeze(2)
        return (latent.flatten(1) if self.concat else latent.mean(1)).to(x.dtype)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.channels}, num_latents={self.num_latents}, "
            f"concat={self.concat})"
        )


def _check_offsets(ptr: Tensor, num_nodes: int) -> None:
    r"""Raise unless ``ptr`` ascends from 0 to the number of nodes."""
    if is_traced(ptr):
        return
    found = ptr.tolist()
    if found[:1] != [0] or found[-1] != num_nodes or sorted(found) != found:
        raise ValueError(f"expected ptr to ascend from 0 to the {num_nodes} nodes, got {found[:8]}")
