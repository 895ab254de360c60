r"""Arguments of transforms, fields of scenes, and the draw that says whether one happens."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch_geometric.data import Data


def at_least_zero(value: float, name: str) -> float:
    r"""The value, if it is a finite number from 0."""
    if not 0.0 <= value < math.inf:
        raise ValueError(f"{name} must be at least 0, got {value}")
    return value


def probability(p: float) -> float:
    r"""The value, if it is a number from 0 to 1."""
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"p must be a probability, got {p}")
    return p


def rows(data: Data, name: str, count: int | None = None) -> Tensor:
    r"""(V, 3), one of the fields of a scene; with ``count`` of so many vertices."""
    value = data.get(name, None)
    if not isinstance(value, Tensor) or value.dim() != 2 or value.size(1) != 3:
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"expected a scene with {name} of shape (V, 3), got {got}")
    if count is not None and value.size(0) != count:
        raise ValueError(f"expected {name} for {count} vertices, as pos has, got {value.size(0)}")
    return value


def happens(p: float) -> bool:
    r"""True with probability p; draws only where that is open."""
    return p == 1.0 or (p > 0.0 and bool(torch.rand(()) < p))
