r"""All pairs of a receiving and a sending node of one graph, graph by graph.

What here depends on the data (order, sizes, which graphs are taken together) has to stay inside an
operator of :mod:`torch.library`, so that callers compile and export.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from latentgraph.functional.ragged import Ragged, positions

Plans = tuple["Tensor | None", "Tensor | None", int, list[Tensor], list[Tensor]]


class Members(NamedTuple):
    r"""The nodes of one graph, or of several graphs of like size.

    Attributes:
        where: their rows in a tensor of all nodes: (n,) or a slice for one graph, (g, n) for more.
        padding: (g, n), True where a shorter graph repeats its last node; None without any.
    """

    where: slice | Tensor
    padding: Tensor | None = None

    def take(self, x: Tensor, zero_padding: bool = False) -> Tensor:
        r"""(g, n, c), their rows; all of ``x`` where it is stacked by graph already."""
        rows = x[self.where]
        if zero_padding and self.padding is not None:
            rows = rows.masked_fill(self.padding.unsqueeze(-1), 0)
        return rows if rows.dim() == 3 else rows.unsqueeze(0)

    def add_to(self, total: Tensor, rows: Tensor) -> None:
        r"""Add (g, n, c) to their rows, without what stands in the padding."""
        if self.padding is not None and isinstance(self.where, Tensor):
            rows = rows.masked_fill(self.padding.unsqueeze(-1), 0)
            total.index_add_(0, self.where.flatten(), rows.flatten(0, 1))
        else:
            total[self.where] += rows if total.dim() == 3 else rows.squeeze(0)


def plans(batch: Ragged | None, key_batch: Ragged | None) -> Plans:
    r"""What an operator takes in place of two :class:`Ragged`.

    Args:
        batch: the graph of each receiving node; None where x is (B, n, c).
        key_batch: the graph of each sending node.
    """
    if batch is None or key_batch is None:
        return None, None, 0, [], []
    if key_batch is batch:
        return batch.batch, None, batch.batch_size, batch.plan, []
    return batch.batch, key_batch.batch, batch.batch_size, batch.plan, key_batch.plan


def turned(plans: Plans) -> Plans:
    r"""The same pairs with the keys as receiving nodes."""
    batch, key_batch, batch_size, plan, key_plan = plans
    if key_batch is None:
        return plans
    return key_batch, batch, batch_size, key_plan, plan


def each_graph(plans: Plans) -> Iterator[tuple[Members, Members]]:
    r"""Receiving and sending nodes of each graph, or of a bucket of graphs, that has both."""
    batch, key_batch, batch_size, plan, key_plan = plans
    if batch is None:
        yield Members(slice(None)), Members(slice(None))
        return
    ptr, order, runs, *buckets = plan or Ragged(batch, batch_size).plan
    alike = [(torch.arange(first, last + 1), None) for first, last in runs.tolist()]
    for graphs, index in [*alike, *zip(buckets[::2], buckets[1::2], strict=True)]:
        if key_batch is None:
            members = _members(ptr, graphs, order, index)
            yield members, members
            continue
        key_ptr, key_order = (key_plan or Ragged(key_batch, batch_size).plan)[:2]
        graphs = graphs.cpu()
        graphs = graphs[key_ptr.diff()[graphs] > 0]
        if graphs.numel():
            yield _members(ptr, graphs, order), _members(key_ptr, graphs, key_order)


def _members(ptr: Tensor, graphs: Tensor, order: Tensor, index: Tensor | None = None) -> Members:
    if graphs.numel() == 1:
        where = slice(*ptr[graphs : graphs + 2].tolist())
        return Members(order[where] if order.numel() else where)
    if index is None:
        index = positions(ptr, graphs).to(order.device)
    repeated = torch.zeros_like(index, dtype=torch.bool)
    torch.eq(index[:, 1:], index[:, :-1], out=repeated[:, 1:])
    return Members(order[index] if order.numel() else index, repeated)
