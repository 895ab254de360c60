r"""Fewer senders for the non-local block: pooling of nodes, on graphs and on grids."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from latentgraph.functional import Ragged

PoolAt = Literal["input", "projected"]
Pool = Callable[[Tensor, "Tensor | None"], "tuple[Tensor, Tensor | None]"]


class GridPool:
    r"""Max-pool of nodes (B, n, C) that lie on a grid: size x size positions become one.

    Args:
        spatial: sizes of the 1, 2 or 3 spatial dimensions, n in all; the first of 3 is kept.
        size: of the window; a rest at the border is left out.

    Raises:
        ValueError: the grid is smaller than the window.
    """

    def __init__(self, spatial: torch.Size, size: int) -> None:
        self.spatial = spatial
        self.window = {1: (size,), 2: (size, size), 3: (1, size, size)}[len(spatial)]
        if any(n < w for n, w in zip(spatial, self.window, strict=True)):
            raise ValueError(f"expected maps of at least {self.window}, got {tuple(spatial)}")

    def __call__(self, x: Tensor, batch: None) -> tuple[Tensor, None]:
        pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[len(self.window) - 1]
        kept = pool(x.mT.unflatten(2, self.spatial), self.window)
        return kept.flatten(2).mT, None


def pooled(pool: Pool, x: Tensor, graphs: Ragged | None) -> tuple[Tensor, Ragged | None]:
    r"""What ``pool`` leaves of the nodes ``x``, and the graph of each.

    Args:
        pool: the callable.
        x: (N, c) with or without ``graphs``, or (B, n, c) without.
        graphs: the graph of each node.

    Returns:
        (M, c) or (B, m, c), and its graphs.

    Raises:
        TypeError: ``pool`` returns no pair.
        ValueError: what it returns has the wrong shape.
    """
    found = pool(x, None if graphs is None else graphs.batch)
    if not isinstance(found, tuple) or len(found) != 2 or not isinstance(found[0], Tensor):
        raise TypeError(f"expected pool to return (x, batch), got {type(found).__name__}")
    kept, batch = found
    fits = kept.dim() == x.dim() and kept.size(-1) == x.size(-1)
    if not fits or (x.dim() == 3 and kept.size(0) != x.size(0)):
        expected = (*x.shape[:-2], "m", x.size(-1))
        raise ValueError(f"expected pool to return x of shape {expected}, got {tuple(kept.shape)}")
    if graphs is None or batch is None:
        if graphs is not None or batch is not None:
            raise ValueError(
                "expected pool to return a batch if and only if it was given one, got "
                f"{None if batch is None else tuple(batch.shape)}"
            )
        return kept, None
    senders = graphs if batch is graphs.batch else batch
    return kept, Ragged.of(senders, graphs.batch_size, num_nodes=kept.size(0))


def checked_pool(pool: Pool | None) -> Pool | None:
    r"""``pool``, or a TypeError if it cannot be called."""
    if pool is not None and not callable(pool):
        raise TypeError(f"expected pool as a callable on nodes, pool(x, batch), got {pool!r}")
    return pool


def checked_pool_at(pool_at: PoolAt) -> PoolAt:
    r"""``pool_at``, or a ValueError if it is no place."""
    if pool_at not in ("input", "projected"):
        raise ValueError(f"expected pool_at 'input' or 'projected', got {pool_at!r}")
    return pool_at
