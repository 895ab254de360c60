r"""What a layer was given, checked before anything is computed."""

from __future__ import annotations

import torch
from torch import Tensor

from latentgraph.functional import Ragged
from latentgraph.functional.checks import check_rows, check_tensors
from latentgraph.functional.precision import autocast_of
from latentgraph.functional.shards import is_sharded
from latentgraph.functional.tracing import is_traced


def check_nodes(x: Tensor, channels: int, dtype: torch.dtype) -> None:
    r"""Raise unless ``x`` is (N, channels) or (B, n, channels) of ``dtype``.

    Under autocast it may be of any floating-point dtype.
    """
    check_tensors(x=x)
    if x.dim() not in (2, 3) or x.size(-1) != channels:
        raise ValueError(
            f"expected x of shape (N, {channels}) or (B, n, {channels}), got {tuple(x.shape)}"
        )
    if x.dtype != dtype and not (x.is_floating_point() and autocast_of(x)["enabled"]):
        raise TypeError(f"expected x of {dtype}, like the parameters, got {x.dtype}")


def graphs_of(x: Tensor, batch: Tensor | Ragged | None, batch_size: int | None) -> Ragged | None:
    r"""The graphs of the nodes ``x``: None for one graph, or where x is (B, n, c)."""
    if x.dim() == 2:
        return Ragged.of(batch, batch_size, num_nodes=x.size(0), device=x.device)
    if batch is not None or (batch_size is not None and batch_size != x.size(0)):
        raise ValueError(
            f"expected no batch beside {x.size(0)} graphs of one size, {tuple(x.shape)}, "
            f"got {'batch' if batch is not None else f'batch_size={batch_size}'}"
        )
    return None


def check_all_nodes(what: str) -> None:
    r"""Raise where the nodes at hand are those of one rank, for what needs every pair of nodes."""
    if is_sharded():
        raise RuntimeError(
            f"expected all nodes in one process for {what}, which joins every node with others "
            "itself; got it in sharded_nodes"
        )


def check_dense(x: Tensor, weight: Tensor | None) -> Tensor:
    r"""Dense edge weights that fit the nodes ``x``, (N, c) or (B, n, c)."""
    check_rows("x", x)
    if weight is None or weight.shape[:-1] != x.shape[:-1] or weight.dtype != x.dtype:
        got = None if weight is None else f"{tuple(weight.shape)} of {weight.dtype}"
        raise ValueError(
            f"expected edge_weight of shape {(*x.shape[:-1], 'd')} and {x.dtype}, got {got}"
        )
    return weight


def check_edges(
    edge_index: Tensor, edge_weight: Tensor | None, num_sources: int, num_targets: int
) -> None:
    r"""Raise unless the edges, (2, E), lead from the sources to the targets."""
    if edge_index.dim() != 2 or edge_index.size(0) != 2 or edge_index.dtype != torch.int64:
        raise ValueError(
            "expected edge_index of shape (2, E) and torch.int64, "
            f"got {tuple(edge_index.shape)} of {edge_index.dtype}"
        )
    if edge_weight is not None and edge_weight.shape != edge_index.shape[1:]:
        raise ValueError(
            f"expected edge_weight of shape ({edge_index.size(1)},), got {tuple(edge_weight.shape)}"
        )
    if is_traced(edge_index) or edge_index.numel() == 0:
        return
    low, high = edge_index.amin(1).tolist(), edge_index.amax(1).tolist()
    if min(low) < 0 or high[0] >= num_sources or high[1] >= num_targets:
        raise ValueError(
            f"expected edge_index from {num_sources} source to {num_targets} target nodes, got "
            f"entries from {low[0]} to {high[0]} and from {low[1]} to {high[1]}"
        )
