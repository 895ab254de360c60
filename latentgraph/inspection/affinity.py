r"""The weights that a block passed its messages with."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from latentgraph.inspection.calls import Call, check_pairs


class Affinities(NamedTuple):
    r"""How one kernel of a block passed messages: :math:`A = S F P^\top`.

    Latent nodes are flat: row :math:`b \cdot d + k` is latent k of graph b. The M senders are the
    visible nodes, or for a :class:`~latentgraph.nn.NonLocal` block with a pool what that leaves.

    Attributes:
        visible_to_latent: (M, L) sparse, :math:`P`.
        latent_to_latent: (L, L) sparse, :math:`F`, ``[i, j]`` the weight from j to i.
        latent_to_visible: (N, L) sparse, :math:`S`.
    """

    visible_to_latent: Tensor
    latent_to_latent: Tensor
    latent_to_visible: Tensor


def affinities(call: Call, graph: int | None = None, max_pairs: int = 2**24) -> list[Affinities]:
    r"""The weights of each kernel.

    Args:
        call: from :func:`~latentgraph.inspection.record`.
        graph: take the nodes and the latent nodes of this graph alone, in their order; None for
            all.
        max_pairs: pairs of nodes that are written out at most, for a block that has a weight for
            each.

    Returns:
        :math:`P`, F and S of each kernel, sparse.

    Raises:
        ValueError: there are more pairs, or no such graph.
    """
    return _affinities(call.message_graph(max_pairs), graph)


def dense_affinities(call: Call, graph: int = 0, max_pairs: int = 2**24) -> list[Tensor]:
    r"""The N x N affinity that each kernel stands for, written out.

    .. math:: A = S F P^\top

    ``[i, j]`` is the weight with which node i hears from sender j, through all latent nodes.

    Args:
        call: from :func:`~latentgraph.inspection.record`.
        graph: the graph, of N nodes and M senders.
        max_pairs: pairs of nodes that are written out at most.

    Returns:
        (N, M) for each kernel, float32 or wider.

    Raises:
        ValueError: there are more pairs, or no such graph.
    """
    return dense(call.message_graph(max_pairs), graph, max_pairs)


def dense(data: HeteroData, graph: int, max_pairs: int) -> list[Tensor]:
    r"""As :func:`dense_affinities`, from the graph of a call."""
    found = []
    for p, f, s in _affinities(data, graph):
        check_pairs(s.size(0) * p.size(0), max_pairs)
        found.append(torch.sparse.mm(s, torch.sparse.mm(f, p.T.to_dense())))
    return found


def latent_of_nodes(call: Call, kernel: int = 0) -> Tensor:
    r"""The latent node that each visible node hears most from, :math:`\arg\max_k S_{ik}`.

    Args:
        call: from :func:`~latentgraph.inspection.record`.
        kernel: which of the block's kernels.

    Returns:
        (N,) the number k of the latent node in its graph; -1 for a node that hears from none.

    Raises:
        ValueError: there is no such kernel.
    """
    data = call.message_graph()
    if f"latent_{kernel}" not in data.node_types:
        raise ValueError(f"expected a kernel of {call.block}, got {kernel}")
    edges = data[f"latent_{kernel}", "to", "visible"]
    latent, node = edges.edge_index
    most = edges.edge_weight.new_zeros(data["visible"].num_nodes)
    most.scatter_reduce_(0, node, edges.edge_weight, "amax")
    best = edges.edge_weight == most[node]
    found = torch.full_like(data["visible"].batch, -1)
    found.scatter_reduce_(0, node[best], _within_graph(data, latent, kernel)[best], "amax")
    return found


def _within_graph(data: HeteroData, latent: Tensor, kernel: int) -> Tensor:
    r"""From flat numbers of latent nodes to those in their graphs, however the graphs are mixed."""
    batch = data[f"latent_{kernel}"].batch
    order = batch.argsort(stable=True)
    sizes = torch.bincount(batch)
    starts = (sizes.cumsum(0) - sizes)[batch[order]]
    number = torch.empty_like(order)
    number[order] = torch.arange(batch.numel(), device=batch.device) - starts
    return number[latent]


def _affinities(data: HeteroData, graph: int | None) -> list[Affinities]:
    own = {kind: _own(data[kind].batch, graph) for kind in data.node_types}
    if graph is not None and not own["visible"].any():
        raise ValueError(f"expected a graph that has nodes, got graph={graph}")
    senders = "pooled" if "pooled" in data.node_types else "visible"
    kernels = sum(kind.startswith("latent_") for kind in data.node_types)
    return [
        Affinities(
            _matrix(data, own, senders, latent, transpose=True),
            _matrix(data, own, latent, latent),
            _matrix(data, own, latent, "visible"),
        )
        for latent in (f"latent_{m}" for m in range(kernels))
    ]


def _own(batch: Tensor, graph: int | None) -> Tensor:
    return torch.ones_like(batch, dtype=torch.bool) if graph is None else batch == graph


def _matrix(
    data: HeteroData, own: dict[str, Tensor], source: str, target: str, transpose: bool = False
) -> Tensor:
    r"""Weights of the edges among the own nodes, a row for each target, or for each source."""
    edges = data[source, "to", target]
    ends = (source, target) if transpose else (target, source)
    index = edges.edge_index if transpose else edges.edge_index.flip(0)
    kept = own[target][edges.edge_index[1]]
    places = [own[kind].cumsum(0) - 1 for kind in ends]
    where = torch.stack([place[i[kept]] for place, i in zip(places, index, strict=True)])
    size = [int(own[kind].sum()) for kind in ends]
    return torch.sparse_coo_tensor(
        where, edges.edge_weight[kept], size, check_invariants=True
    ).coalesce()
