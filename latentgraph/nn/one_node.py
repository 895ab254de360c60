r"""Blocks with a single latent node for each graph: pool, transform, fuse."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from latentgraph import functional as LF
from latentgraph.functional import Chunk, Passes, Ragged, State, stream
from latentgraph.functional.affinity import exp_below, max_over_nodes
from latentgraph.functional.checks import check_count
from latentgraph.functional.linear import linear
from latentgraph.functional.passes import Message
from latentgraph.functional.precision import full_precision, wide
from latentgraph.functional.spans import auto_chunk_size
from latentgraph.nn.checks import check_all_nodes, check_nodes, graphs_of
from latentgraph.nn.message_graph import Weights, graph_of_kernels

Pool = Literal["attention", "mean"]


def inner_width(channels: int, ratio: float) -> int:
    r""":math:`\lfloor C \cdot ratio \rfloor`, of a ratio that is a finite number."""
    if not math.isfinite(ratio):
        raise ValueError(f"expected ratio as a finite number, got {ratio}")
    return int(channels * ratio)


class Transform(nn.Module):
    r"""What the latent node does with the pooled features: W, or W, norm, ReLU, W.

    Args:
        channels: C, in and out.
        hidden: width between two linear maps; None for a single one.
        norm: whether a LayerNorm follows the first of two.
        bias: whether the linear maps have one.
        eps: of the LayerNorm.
        device: where the parameters live.
        dtype: dtype of the parameters.
    """

    def __init__(
        self,
        channels: int,
        hidden: int | None = None,
        norm: bool = False,
        bias: bool = True,
        eps: float = 1e-5,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        check_count(channels=channels)
        least = 2 if norm else 1
        if hidden is not None and hidden < least:
            raise ValueError(
                f"expected channels and ratio that leave an inner width of at least {least}, "
                f"got {hidden} of {channels} channels"
            )
        self.first = None if hidden is None else nn.Linear(channels, hidden, bias, **factory)
        self.norm = nn.LayerNorm(hidden, eps, **factory) if norm and hidden is not None else None
        self.last = nn.Linear(channels if hidden is None else hidden, channels, bias, **factory)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""New random weights; the last map starts at zero."""
        for module in (self.first, self.norm):
            if module is not None:
                module.reset_parameters()
        nn.init.zeros_(self.last.weight)
        if self.last.bias is not None:
            nn.init.zeros_(self.last.bias)

    def as_it_is(self) -> Callable[[Tensor], Tensor]:
        r"""(B, C) pooled features to (B, C), float32 or wider, with the weights of now.

        The backward pass calls it again, maybe after :func:`torch.func.functional_call` has put
        other weights into the module.
        """
        first = None if self.first is None else (self.first.weight, self.first.bias)
        norm = None if self.norm is None else (self.norm.weight, self.norm.bias)
        last = (self.last.weight, self.last.bias)
        eps = 0.0 if self.norm is None else self.norm.eps

        def transform(context: Tensor) -> Tensor:
            dtype = last[0].dtype
            if first is not None:
                context = wide(F.linear(context.to(dtype), *first))
                if norm is not None:
                    gain, shift = (t.to(context.dtype) for t in norm)
                    context = F.layer_norm(context, gain.shape, gain, shift, eps)
                context = context.relu()
            return wide(F.linear(context.to(dtype), *last))

        return transform

    def forward(self, context: Tensor) -> Tensor:
        r"""As :meth:`as_it_is`, at once."""
        return self.as_it_is()(context)


class OneNodeBlock(nn.Module):
    r"""All nodes of a graph send to one latent node, which sends one vector back to all of them.

    .. math:: g = \sum_i \alpha_i x_i \qquad
        out_i = x_i \cdot \sigma(t_{mul}(g)) + t_{add}(g)

    with :math:`\alpha` a softmax of learned scores over the nodes of the graph, or their mean.

    Args:
        channels: C, size of a node's features.
        pool: ``"attention"`` or ``"mean"``.
        add: makes the vector that is added, or None.
        mul: makes the vector whose sigmoid multiplies, or None.
        chunk_size: nodes taken at once; None chooses from the sizes, a number forces.
        device: where the parameters live.
        dtype: dtype of the parameters.
    """

    def __init__(
        self,
        channels: int,
        pool: Pool,
        add: Transform | None,
        mul: Transform | None,
        chunk_size: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if pool not in ("attention", "mean"):
            raise ValueError(f"expected pool 'attention' or 'mean', got {pool!r}")
        self.channels, self.pool, self.chunk_size = channels, pool, chunk_size
        self.score: nn.Linear | None = None
        if pool == "attention":
            self.score = nn.Linear(channels, 1, device=device, dtype=dtype)
        self.add, self.mul = add, mul

    def reset_parameters(self) -> None:
        r"""New random weights; the last maps start at zero."""
        for module in (self.score, self.add, self.mul):
            if module is not None:
                module.reset_parameters()

    def forward(
        self,
        x: Tensor,
        batch: Tensor | Ragged | None = None,
        batch_size: int | None = None,
    ) -> Tensor:
        r"""Give every node the context of its graph.

        Args:
            x: (N, C) node features, or (B, n, C) for graphs of one size, in any strides.
            batch: (N,) the graph of each node, in any order; None for one graph.
            batch_size: number of graphs B; by default the largest entry of ``batch`` plus one.

        Returns:
            The shape, dtype and memory format of ``x``.

        Raises:
            ValueError: shapes do not fit.
            TypeError: the dtype is not that of the parameters, outside autocast.
        """
        parameter = next(self.parameters())
        check_nodes(x, self.channels, parameter.dtype)
        graphs = graphs_of(x, batch, batch_size)
        chunk_size = self.chunk_size
        if chunk_size is None:
            needs_grad = torch.is_grad_enabled() and (x.requires_grad or parameter.requires_grad)
            chunk_size = auto_chunk_size(x, needs_grad)
        return stream(self.passes(), (x,), graphs, chunk_size)

    def message_graph(
        self,
        x: Tensor,
        batch: Tensor | Ragged | None = None,
        batch_size: int | None = None,
    ) -> HeteroData:
        r"""The graph that the block passes messages on.

        As :meth:`LatentGNN.message_graph`, with a single latent node for each graph. The three
        layers give every node the pooled features of its graph, before they are transformed.
        """
        check_all_nodes(f"{type(self).__name__}.message_graph")
        check_nodes(x, self.channels, next(self.parameters()).dtype)
        graphs = graphs_of(x, batch, batch_size)
        sent = wide(x)
        score = torch.zeros_like(sent[..., :1])
        if self.score is not None:
            score = linear(x, self.score.weight, self.score.bias)
        weight = LF.softmax_over_nodes(score, graphs)
        num_graphs = x.shape[:-2].numel() if graphs is None else graphs.batch_size
        kept = weight.new_ones(num_graphs, 1, 1)
        kernel = Weights(weight, kept, torch.ones_like(weight))
        return graph_of_kernels(sent, graphs, [kernel])

    def passes(self) -> Passes:
        r"""The block as its two passes, for :func:`latentgraph.functional.stream`."""
        steps = _Steps(self)
        weights = tuple(self.parameters())
        return Passes(steps.encode, steps.update, steps.decode, weights, residual=self.mul is None)


class _Steps:
    r"""The three steps of one call."""

    def __init__(self, block: OneNodeBlock) -> None:
        score = block.score
        self.score = None if score is None else (score.weight, score.bias)
        self.add = None if block.add is None else block.add.as_it_is()
        self.mul = None if block.mul is None else block.mul.as_it_is()

    def encode(self, chunk: Chunk) -> State:
        r"""Visible to latent: weighted sum of the features, and sum of the weights."""
        shift = None
        if self.score is None:
            weight = wide(chunk.x.new_ones(())).expand(*chunk.x.shape[:-1], 1)
        else:
            score = wide(linear(chunk.x, *self.score))
            shift = max_over_nodes(score, chunk.batch)
            weight = exp_below(score, shift, chunk.batch)
        with full_precision(chunk.x):
            pooled = LF.visible_to_latent(wide(chunk.x), weight, chunk.batch).squeeze(1)
            return State((pooled, LF.sum_nodes(weight, chunk.batch)), shift)

    def update(self, state: State) -> Message:
        r"""Latent to latent: the only latent node of a graph transforms what it has."""
        pooled, total = state.sums
        context = pooled / total.clamp_min(torch.finfo(total.dtype).tiny)
        message = [] if self.mul is None else [self.mul(context).sigmoid()]
        return (*message, *([] if self.add is None else [self.add(context)]))

    def decode(self, chunk: Chunk, message: Message) -> Tensor:
        r"""Latent to visible: the same vector for all nodes of a graph."""
        rows = [LF.to_nodes(vector, chunk.batch) for vector in message]
        if self.mul is None:
            return rows[0]
        out = chunk.x * rows[0]
        return out if self.add is None else out + rows[1]
