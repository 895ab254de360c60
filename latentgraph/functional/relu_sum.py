r"""Sums over all pairs of nodes weighted by :math:`relu(a_i + b_j)`, without writing out the pairs.

.. math::
    \sum_j relu(a_i + b_j)\, g_j = (a_i + t)\, T(g)_i + T((b - t)\, g)_i \qquad
    T(g)_i = \sum_{j:\, a_i + b_j > 0} g_j

for any t. Sorted by b, the terms of T are a prefix of the nodes: T is a lookup in a running sum,
and its gradient is the same sum with a and b exchanged. N log N + N c instead of N² c.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from latentgraph.functional.pairs import each_graph, plans, turned
from latentgraph.functional.ragged import Ragged
from latentgraph.functional.sums import sum_nodes, to_nodes


def relu_sum(
    a: Tensor,
    b: Tensor,
    g: Tensor,
    batch: Ragged | None = None,
    key_batch: Ragged | None = None,
) -> Tensor:
    r"""Every node i sums up :math:`relu(a_i + b_j)\, g_j` over the nodes j of its graph.

    Args:
        a: (N, 1), or (B, n, 1) for graphs of one size.
        b: (M, 1) or (B, m, 1), same dtype.
        g: (M, c) or (B, m, c), same dtype.
        batch: the graph of each row of ``a``; None for one graph or for (B, n, 1).
        key_batch: the graph of each row of ``b`` and ``g``.

    Returns:
        (N, c) or (B, n, c). A graph without rows of ``g`` has zeros.
    """
    if batch is None and a.dim() == 2:
        return relu_sum(a.unsqueeze(0), b.unsqueeze(0), g.unsqueeze(0)).squeeze(0)
    # t is the mean of b: a and b that nearly cancel would leave rounding errors of their own size.
    with torch.no_grad():
        count = sum_nodes(torch.ones_like(b), key_batch).clamp_min(1)
        mean = sum_nodes(b, key_batch) / count
    own, sent = a + to_nodes(mean, batch), (b - to_nodes(mean, key_batch)) * g
    if batch is None:
        return own * _above(a, b, g) + _above(a, b, sent)
    membership = plans(batch, key_batch)
    total: Tensor = own * _sum_above(a, b, g, *membership) + _sum_above(a, b, sent, *membership)
    return total


def _above(a: Tensor, b: Tensor, g: Tensor) -> Tensor:
    r"""(graphs, n, c), T of stacked nodes."""
    ascending, order = (-b.detach()).sort(dim=1)
    rank = torch.searchsorted(ascending.mT.contiguous(), a.detach().mT.contiguous()).mT
    running = g.gather(1, order.expand_as(g)).cumsum(1)
    running = F.pad(running, (0, 0, 1, 0))
    return running.gather(1, rank.expand(-1, -1, g.size(2)))


@torch.library.custom_op("latentgraph::sum_above", mutates_args=())
def _sum_above(
    a: Tensor,
    b: Tensor,
    g: Tensor,
    batch: Tensor | None,
    key_batch: Tensor | None,
    batch_size: int,
    plan: list[Tensor],
    key_plan: list[Tensor],
) -> Tensor:
    out = g.new_zeros(a.size(0), g.size(1))
    for receivers, senders in each_graph((batch, key_batch, batch_size, plan, key_plan)):
        sent = senders.take(g, zero_padding=True)
        receivers.add_to(out, _above(receivers.take(a), senders.take(b), sent))
    return out


@_sum_above.register_fake
def _(a: Tensor, b: Tensor, g: Tensor, *_: Any) -> Tensor:
    return g.new_empty(a.size(0), g.size(1))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    a, b, _, *membership = inputs
    ctx.save_for_backward(a, b)
    ctx.membership = tuple(membership)


def _sum_above_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    a, b = ctx.saved_tensors
    grad_g = _sum_above(b, a, grad, *turned(ctx.membership))
    *_, plan, key_plan = ctx.membership
    return None, None, grad_g, None, None, None, [None for _ in plan], [None for _ in key_plan]


_sum_above.register_autograd(_sum_above_backward, setup_context=_keep)
