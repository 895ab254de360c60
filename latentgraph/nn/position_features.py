r"""Positions as features that the affinities of LatentGNN can use."""

from __future__ import annotations

import torch
from torch import Tensor

from latentgraph import functional as LF
from latentgraph.functional import Ragged
from latentgraph.functional.affinity import inverse_norm, max_over_nodes
from latentgraph.functional.checks import check_tensors
from latentgraph.functional.precision import wide
from latentgraph.functional.shards import max_over_shards, sum_over_shards

SCALE = 6.0


def position_features(
    pos: Tensor,
    batch: Tensor | Ragged | None = None,
    batch_size: int | None = None,
    scale: float = SCALE,
) -> Tensor:
    r"""Positions, centered in each graph and in units of its size, beside their squared radius.

    .. math:: \hat p = s\,(p - \bar p) / r \qquad r^2 = mean \|p - \bar p\|^2 \qquad
        [\hat p, \|\hat p\|^2 / s]

    The square turns :math:`\exp(2 c p - \|p\|^2)` into a window around c, so that a latent node can
    stand for a place; without it an affinity of positions is a half plane.

    Args:
        pos: (N, D) positions, in any unit.
        batch: (N,) the graph of each node, or None.
        batch_size: number of graphs B.
        scale: s, in units of the rms radius of the graph.

    Returns:
        (N, D + 1), float32 or wider. A graph of one place has zeros.

    Raises:
        TypeError: ``pos`` is no tensor.
        ValueError: ``pos`` is no matrix, or ``batch`` does not fit it.
    """
    check_tensors(pos=pos)
    if pos.dim() != 2:
        raise ValueError(f"expected pos of shape (N, D), got {tuple(pos.shape)}")
    pos = wide(pos)
    graphs = Ragged.of(batch, batch_size, num_nodes=pos.size(0), device=pos.device)
    # From a corner of the graph: the mean of like numbers far from zero is not quite one of them.
    corner = max_over_shards(max_over_nodes(pos, graphs))
    pos = pos - LF.to_nodes(corner, graphs).view(-1, pos.size(1))
    num_nodes, total = sum_over_shards(
        LF.sum_nodes(torch.ones_like(pos[:, :1]), graphs), LF.sum_nodes(pos, graphs)
    )
    num_nodes = num_nodes.clamp_min(1)
    centered = pos - LF.to_nodes(total / num_nodes, graphs).view(-1, pos.size(1))
    (squares,) = sum_over_shards(LF.sum_nodes((centered * centered).sum(1, keepdim=True), graphs))
    inverse_radius = LF.to_nodes(inverse_norm(squares / num_nodes), graphs).view(-1, 1)
    unit = centered * inverse_radius
    return torch.cat([unit, (unit * unit).sum(1, keepdim=True)], 1) * scale


def moved_features(features: Tensor, shift: Tensor) -> Tensor:
    r"""Position features at the default scale, as if every node stood elsewhere.

    Args:
        features: (..., D + 1), of :func:`position_features`.
        shift: (..., D), in the same unit.

    Returns:
        (..., D + 1), float32 or wider.
    """
    moved = wide(features[..., :-1]) + wide(shift)
    return torch.cat([moved, (moved * moved).sum(-1, keepdim=True) / SCALE], -1)
