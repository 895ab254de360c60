r"""The non-local block: every node receives from every node of its graph."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from latentgraph import functional as LF
from latentgraph.functional import Ragged
from latentgraph.functional.attention import attention
from latentgraph.functional.linear import linear
from latentgraph.functional.precision import full_precision, wide
from latentgraph.functional.relu_sum import relu_sum
from latentgraph.nn.checks import check_all_nodes, check_nodes, graphs_of
from latentgraph.nn.linear_norm import Norm, RowFunction, make_norm
from latentgraph.nn.message_graph import add_nodes, graph_of_pairs
from latentgraph.nn.sub_sampling import Pool, PoolAt, checked_pool, checked_pool_at, pooled

Pairwise = Literal["embedded_gaussian", "gaussian", "dot_product", "concatenation"]


class NonLocal(nn.Module):
    r"""Every node is its own latent node, to which all nodes of its graph send.

    `Non-local Neural Networks <https://arxiv.org/abs/1711.07971>`_ (CVPR 2018)

    .. math:: out_i = x_i + W_z \sum_j P_{ji}\, g(x_j)

    with linear maps :math:`\theta, \phi, g` to :math:`c = C // s` channels, and over the nodes j of
    the graph of i, :math:`N_i` of them:

    =======================  ==============================================================
    ``pairwise``             :math:`P_{ji}`
    =======================  ==============================================================
    ``"embedded_gaussian"``  :math:`softmax_j(\theta(x_i) \cdot \phi(x_j) / \sqrt{c})`
    ``"gaussian"``           :math:`softmax_j(x_i \cdot x_j)`
    ``"dot_product"``        :math:`\theta(x_i) \cdot \phi(x_j) / N_i`
    ``"concatenation"``      :math:`relu(w_\theta \cdot \theta(x_i) + w_\phi \cdot \phi(x_j)) / N_i`
    =======================  ==============================================================

    The first two run through ``scaled_dot_product_attention``. A dot product is linear:
    :math:`\theta (\phi^\top g)` needs no pairs. Nor does a concatenation: the nodes that i hears
    from are a prefix of all nodes sorted by :math:`w_\phi \cdot \phi(x_j)`. No :math:`N \times N`
    weights are kept. Multiply-adds for N nodes and M senders, which are fewer with a ``pool``, the
    products N M summed over the graphs:

    =======================  ==========================  ====================
    ``pairwise``             maps, ``pool_at="input"``   pairs
    =======================  ==========================  ====================
    ``"embedded_gaussian"``  :math:`2 (N + M) C c`       :math:`2 N M c`
    ``"gaussian"``           :math:`(N + M) C c`         :math:`N M (C + c)`
    ``"dot_product"``        :math:`2 (N + M) C c`       :math:`(N + M) c^2`
    ``"concatenation"``      :math:`2 (N + M) C c`       :math:`(N + M) c`
    =======================  ==========================  ====================

    With ``pool_at="projected"`` the maps take all nodes: M is N there.

    ========================  ========================================================
    symbol                    here
    ========================  ========================================================
    :math:`\theta, \phi, g`   ``theta``, ``phi``, ``g`` (``"gaussian"`` has ``g`` alone)
    :math:`w`                 ``concat``, :math:`[w_\theta, w_\phi]`
    :math:`W_z`               ``out``, then ``norm``
    ========================  ========================================================

    ``out`` starts at zero, with a norm its scale and shift do: the block starts as the identity.

    Args:
        channels: C, size of a node's features.
        reduction: s, by which channels are reduced inside.
        pairwise: one of the four functions above.
        scale: for ``"embedded_gaussian"``: True divides the scores by :math:`\sqrt{c}`, False
            leaves them, ``"gcnet"`` multiplies by it, as GCNet's published code does by mistake.
        norm: after the last map: ``"layer_norm"`` over channels, ``"batch_norm"`` over all nodes of
            a call, or None.
        pool: sub-sampling of the senders, ``pool(x, batch) -> (x, batch)``: from (N, ·) node
            features to fewer, with the graph of each (both None for one graph), or from (B, n, ·)
            to (B, m, ·) with None. :math:`N_i` counts what is left. On feature maps
            :class:`OnGrid` gives it.
        pool_at: ``"input"`` pools x before :math:`\phi` and g, ``"projected"`` what they return.
        device: where the parameters live.
        dtype: dtype of the parameters.

    Raises:
        ValueError: an option has none of the values above, or the inner width is below 1.
        TypeError: ``pool`` cannot be called.
    """

    def __init__(
        self,
        channels: int,
        reduction: int = 2,
        pairwise: Pairwise = "embedded_gaussian",
        scale: bool | Literal["gcnet"] = True,
        norm: Norm | None = None,
        pool: Pool | None = None,
        pool_at: PoolAt = "input",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if pairwise not in ("embedded_gaussian", "gaussian", "dot_product", "concatenation"):
            raise ValueError(
                "expected pairwise 'embedded_gaussian', 'gaussian', 'dot_product' or "
                f"'concatenation', got {pairwise!r}"
            )
        if scale not in (True, False, "gcnet"):
            raise ValueError(f"expected scale True, False or 'gcnet', got {scale!r}")
        if scale is not True and pairwise != "embedded_gaussian":
            raise ValueError(
                f"expected scale={scale!r} with pairwise='embedded_gaussian', got {pairwise!r}, "
                "which has no scale"
            )
        inner = channels // reduction if reduction >= 1 else 0
        if inner < 1:
            raise ValueError(
                "expected channels and reduction that leave an inner width of at least 1, "
                f"got {channels} and {reduction}"
            )
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        self.channels, self.reduction, self.pairwise, self.scale = (
            channels,
            reduction,
            pairwise,
            scale,
        )
        self.pool, self.pool_at = checked_pool(pool), checked_pool_at(pool_at)
        embedded = pairwise != "gaussian"
        self.theta = nn.Linear(channels, inner, **factory) if embedded else None
        self.phi = nn.Linear(channels, inner, **factory) if embedded else None
        self.g = nn.Linear(channels, inner, **factory)
        self.concat: nn.Linear | None = None
        if pairwise == "concatenation":
            self.concat = nn.Linear(2 * inner, 1, bias=False, **factory)
        self.out = nn.Linear(inner, channels, **factory)
        self.norm = make_norm(norm, channels, **factory)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""New random weights; the last map, or with a norm its scale and shift, at zero."""
        for module in (self.theta, self.phi, self.g, self.concat, self.out, self.norm):
            if module is not None:
                module.reset_parameters()
        last = self.out if self.norm is None else self.norm
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(
        self,
        x: Tensor,
        batch: Tensor | Ragged | None = None,
        batch_size: int | None = None,
        pool: Pool | None = None,
        pool_at: PoolAt | None = None,
    ) -> Tensor:
        r"""Add to every node what it receives.

        Args:
            x: (N, C) node features, or (B, n, C) for graphs of one size, in any strides.
            batch: (N,) the graph of each node, in any order; None for one graph.
            batch_size: number of graphs B; by default the largest entry of ``batch`` plus one.
            pool: in place of the block's own.
            pool_at: in place of the block's own.

        Returns:
            The shape, dtype and memory format of ``x``.

        Raises:
            ValueError: shapes do not fit, or what ``pool`` returns does not.
            TypeError: the dtype is not that of the parameters, outside autocast.
        """
        check_all_nodes(type(self).__name__)
        check_nodes(x, self.channels, self.g.weight.dtype)
        graphs = graphs_of(x, batch, batch_size)
        pairs = self._pairs(x, graphs, pool, pool_at)
        with full_precision(x):
            received = self._receive(pairs)
        return (x + self._up(received.to(x.dtype))).to(x.dtype)

    def message_graph(
        self,
        x: Tensor,
        batch: Tensor | Ragged | None = None,
        batch_size: int | None = None,
        pool: Pool | None = None,
        pool_at: PoolAt | None = None,
    ) -> HeteroData:
        r"""The graph that the block passes messages on, with its N x N weights written out.

        As :meth:`LatentGNN.message_graph`, with one kernel, whose latent nodes are the visible
        nodes: an edge goes to ``latent_0`` from each ``visible`` node of its graph, whose ``x`` is
        :math:`g(x_j)`, and a single one of weight 1 from there back. With a ``pool`` the senders
        are nodes of a third type, ``pooled``, and ``visible`` has the features themselves. The
        three layers give what a node receives, before :math:`W_z`.

        Args:
            x: as the block takes it.
            batch: as the block takes it.
            batch_size: as the block takes it.
            pool: as the block takes it.
            pool_at: as the block takes it.

        Returns:
            The graph, whose tensors are part of autograd's.
        """
        check_all_nodes(type(self).__name__)
        check_nodes(x, self.channels, self.g.weight.dtype)
        graphs = graphs_of(x, batch, batch_size)
        query, key, value, _, senders = self._pairs(x, graphs, pool, pool_at)
        query, key = query.flatten(0, -2), key.flatten(0, -2)
        data, kind = HeteroData(), "visible"
        if pool is not None or self.pool is not None:
            add_nodes(data, "visible", wide(x), graphs)
            kind = "pooled"
        add_nodes(data, kind, value, senders)
        with full_precision(x):
            return graph_of_pairs(data, kind, lambda i, j: self._weights(query[i], key[j]))

    def _weights(self, query: Tensor, key: Tensor) -> Tensor:
        r""":math:`P^\top` of one graph, (n, m)."""
        if self.pairwise in ("embedded_gaussian", "gaussian"):
            return (query @ key.mT * self._factor()).softmax(-1)
        if self.pairwise == "dot_product":
            return query @ key.mT / key.size(0)
        own, others = self._halves(query, key)
        return (own + others.mT).relu() / key.size(0)

    def _pairs(
        self, x: Tensor, graphs: Ragged | None, pool: Pool | None, pool_at: PoolAt | None
    ) -> _Pairs:
        r"""What the nodes ask with, and what the senders, all nodes or fewer, are found by."""
        pool = self.pool if pool is None else checked_pool(pool)
        pool_at = self.pool_at if pool_at is None else checked_pool_at(pool_at)
        query = _mapped(self.theta, x)
        senders = graphs
        if pool is not None and pool_at == "input":
            x, senders = pooled(pool, x, graphs)
        key, value = _mapped(self.phi, x), _mapped(self.g, x)
        if pool is not None and pool_at == "projected":
            both, senders = pooled(pool, torch.cat([key, value], -1), graphs)
            key, value = both.split([key.size(-1), value.size(-1)], -1)
        return _Pairs(wide(query), wide(key), wide(value), graphs, senders)

    def _receive(self, pairs: _Pairs) -> Tensor:
        r""":math:`\sum_j P_{ji}\, g(x_j)` without P."""
        query, key, value, graphs, senders = pairs
        if self.pairwise in ("embedded_gaussian", "gaussian"):
            return attention(query, key, value, self._factor(), graphs, senders)
        share = LF.sum_nodes(torch.ones_like(value[..., :1]), senders).clamp_min(1).reciprocal()
        if self.pairwise == "dot_product":
            latent = LF.visible_to_latent(value, key, senders) * share.unsqueeze(2)
            return LF.latent_to_visible(latent, query, graphs)
        own, others = self._halves(query, key)
        heard = relu_sum(own, others, value, graphs, senders)
        return heard * LF.to_nodes(share, graphs).view(-1, *[1] * (heard.dim() - 1))

    def _factor(self) -> float:
        r"""What multiplies the products under the softmax."""
        root = math.sqrt(self.g.out_features)
        if self.pairwise == "gaussian" or self.scale is False:
            return 1.0
        return root if self.scale == "gcnet" else 1 / root

    def _halves(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        r""":math:`w_\theta \cdot \theta(x_i)`, (N, 1), and :math:`w_\phi \cdot \phi(x_j)`."""
        assert self.concat is not None
        of_query, of_key = self.concat.weight.to(query.dtype).chunk(2, dim=1)
        return query @ of_query.mT, key @ of_key.mT

    def _up(self, received: Tensor) -> Tensor:
        norm = self.norm
        if isinstance(norm, nn.LayerNorm):
            affine = (norm.weight, norm.bias, norm.eps)
            return RowFunction(self.out.weight, self.out.bias, layer_norm=affine)(received)
        return RowFunction(self.out.weight, self.out.bias, batch_norm=norm)(received)

    def __repr__(self) -> str:
        pool = "" if self.pool is None else f", pool={self.pool!r}, pool_at={self.pool_at!r}"
        return (
            f"{type(self).__name__}({self.channels}, reduction={self.reduction}, "
            f"pairwise={self.pairwise!r}, scale={self.scale!r}{pool})"
        )


class _Pairs(NamedTuple):
    r"""Receiving nodes and senders, float32 or wider, and the graph of each."""

    query: Tensor
    key: Tensor
    value: Tensor
    graphs: Ragged | None
    senders: Ragged | None


def _mapped(layer: nn.Linear | None, x: Tensor) -> Tensor:
    return x if layer is None else linear(x, layer.weight, layer.bias)
