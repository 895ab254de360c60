r"""The graph that a block passes messages on, written out for PyG's tools."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from latentgraph.functional import Ragged


class Weights(NamedTuple):
    r"""Dense edge weights of one kernel.

    Attributes:
        visible_to_latent: (N, d) or (B, n, d), :math:`P`.
        latent_to_latent: (B, d, d), :math:`F`, ``[b, i, j]`` the weight from j to i.
        latent_to_visible: (N, d) or (B, n, d), :math:`S`.
    """

    visible_to_latent: Tensor
    latent_to_latent: Tensor
    latent_to_visible: Tensor


def graph_of_kernels(x: Tensor, graphs: Ragged | None, kernels: Sequence[Weights]) -> HeteroData:
    r"""Visible nodes, the latent nodes of each kernel, and the edges of the three steps.

    Args:
        x: (N, c) what the visible nodes send, or (B, n, c).
        graphs: the graph of each node; None for one graph or for (B, n, c).
        kernels: their weights.

    Returns:
        See :meth:`latentgraph.nn.LatentGNN.message_graph`.
    """
    data = HeteroData()
    batch = add_nodes(data, "visible", x, graphs)
    for m, (sent, mixed, received) in enumerate(kernels):
        latents, (num_graphs, d) = f"latent_{m}", mixed.shape[:2]
        sent, received = sent.flatten(0, -2), received.flatten(0, -2)
        data[latents].num_nodes = num_graphs * d
        data[latents].batch = torch.arange(num_graphs, device=x.device).repeat_interleave(d)
        node, k = sent.nonzero(as_tuple=True)
        connect(data, "visible", latents, node, batch[node] * d + k, sent[node, k])
        graph, i, j = mixed.nonzero(as_tuple=True)
        connect(data, latents, latents, graph * d + j, graph * d + i, mixed[graph, i, j])
        node, k = received.nonzero(as_tuple=True)
        connect(data, latents, "visible", batch[node] * d + k, node, received[node, k])
    return data


def graph_of_pairs(
    data: HeteroData, senders: str, weigh: Callable[[Tensor, Tensor], Tensor]
) -> HeteroData:
    r"""A latent node for each visible one, which hears from all senders of its graph.

    Args:
        data: the visible nodes, and the senders if they are others.
        senders: the node type that sends.
        weigh: the rows of (n,) visible nodes and of (m,) senders of one graph, to (n, m) weights.
    """
    batch, of_sender = data["visible"].batch, data[senders].batch
    every = torch.arange(batch.numel(), device=batch.device)
    data["latent_0"].num_nodes, data["latent_0"].batch = batch.numel(), batch
    edges, weights = [every.new_empty(2, 0)], [data[senders].x.new_empty(0)]
    for graph in batch.unique():
        nodes, sources = every[batch == graph], (of_sender == graph).nonzero().squeeze(1)
        weight = weigh(nodes, sources)
        i, j = weight.nonzero(as_tuple=True)
        edges.append(torch.stack([sources[j], nodes[i]]))
        weights.append(weight[i, j])
    sends, receives = torch.cat(edges, 1)
    connect(data, senders, "latent_0", sends, receives, torch.cat(weights))
    once = torch.ones_like(every, dtype=data[senders].x.dtype)
    connect(data, "latent_0", "latent_0", every, every, once)
    connect(data, "latent_0", "visible", every, every, once)
    return data


def add_nodes(data: HeteroData, kind: str, x: Tensor, graphs: Ragged | None) -> Tensor:
    r"""Nodes with features ``x``, (N, c) or (B, n, c).

    Returns:
        (N,), the graph of each.
    """
    if graphs is None:
        num_graphs = x.size(0) if x.dim() == 3 else 1
        batch = torch.arange(num_graphs, device=x.device).repeat_interleave(x.size(-2))
    else:
        batch = graphs.batch
    data[kind].x, data[kind].batch = x.flatten(0, -2), batch
    return batch


def connect(
    data: HeteroData, source: str, target: str, sends: Tensor, receives: Tensor, weight: Tensor
) -> None:
    r"""Weighted edges from the nodes ``sends`` to the nodes ``receives``, each (E,)."""
    edges = data[source, "to", target]
    edges.edge_index, edges.edge_weight = torch.stack([sends, receives]), weight
