r"""How much what a node hears depends on the node that asks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from latentgraph.inspection.affinity import dense
from latentgraph.inspection.calls import Call, in_float64


class Distance(NamedTuple):
    r"""Mean cosine distance :math:`1 - \cos(v_i, v_j)` between the rows of a matrix.

    A row of zeros has no direction and is left out; NaN without two others.

    Attributes:
        distinct: over the pairs :math:`i \ne j`, from 0 to :math:`n / (n - 1)`.
        all: :math:`\frac{1}{n^2} \sum_{ij}`, over all pairs, as the GCNet paper averages: each row
            counts with itself, so that it cannot reach 1.
    """

    distinct: float
    all: float


class QueryIndependence(NamedTuple):
    r"""Distances between nodes of one graph, averaged over the graphs.

    Attributes:
        input: of what the nodes are given, :math:`x_i`.
        attention: of their attention maps, the rows of A.
        output: of what the block adds to them, :math:`out_i - x_i`.
    """

    input: Distance
    attention: Distance
    output: Distance


def query_independence(call: Call, max_pairs: int = 2**24) -> QueryIndependence:
    r"""Whether all nodes of a graph hear the same.

    `GCNet: Non-local Networks Meet Squeeze-Excitation Networks and Beyond
    <https://arxiv.org/abs/1904.11492>`_ (ICCV Workshops 2019), section 3.2, asks it of the
    non-local block: attention near 0 beside inputs that differ means that one attention map for
    all queries would do. Other blocks can be asked as well; kernels are set side by side.

    Args:
        call: of a :class:`~latentgraph.nn.NonLocal` block, from
            :func:`~latentgraph.inspection.record`. It is computed again in float64.
        max_pairs: pairs of nodes that are written out at most.

    Returns:
        Mean distances between what nodes are given, what they attend to, and what they are given
        back: 0 where all are the same.

    Raises:
        ValueError: there are more pairs.
    """
    call = in_float64(call)
    x, added = call.x.flatten(0, -2), (call.output - call.x).flatten(0, -2)
    data = call.message_graph(max_pairs)
    batch = data["visible"].batch
    rows: list[tuple[Distance, ...]] = []
    for graph in batch.unique().tolist():
        own = batch == graph
        attention = torch.cat(dense(data, graph, max_pairs), 1)
        rows.append(tuple(distance(values) for values in (x[own], attention, added[own])))
    inputs, attentions, outputs = zip(*rows, strict=True) if rows else ((), (), ())
    return QueryIndependence(_mean(inputs), _mean(attentions), _mean(outputs))


def distance(rows: Tensor) -> Distance:
    r"""Of the rows of (n, c), at a cost linear in n."""
    largest = rows.abs().amax(1, keepdim=True)
    rows = rows[largest.squeeze(1) > 0] / largest[largest > 0].unsqueeze(1)
    n = rows.size(0)
    if n < 2:
        return Distance(math.nan, math.nan)
    unit = rows / rows.norm(dim=1, keepdim=True)
    total = float(unit.sum(0).square().sum())
    return Distance(max(0.0, (n * n - total) / (n * (n - 1))), max(0.0, 1 - total / (n * n)))


def _mean(distances: Sequence[Distance]) -> Distance:
    r"""Over graphs that have one."""
    known = [d for d in distances if not math.isnan(d.distinct)]
    if not known:
        return Distance(math.nan, math.nan)
    return Distance(*(sum(values) / len(known) for values in zip(*known, strict=True)))
