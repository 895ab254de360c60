r"""Batch norm over all nodes of a call, those on other ranks among them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from latentgraph.functional.precision import wide
from latentgraph.functional.shards import is_sharded, sum_of_all


def needs_all_rows(norm: nn.Module | None) -> bool:
    r"""Whether a row's output depends on other rows, as batch norm's does in training."""
    return isinstance(norm, _BatchNorm) and (norm.training or norm.running_mean is None)


def batch_norm(norm: nn.Module, x: Tensor) -> Tensor:
    r"""``norm(x)`` of rows (n, c), with the statistics of the rows of all ranks.

    The ranks exchange one message of count, sum and sum of squares in float64, and in the backward
    pass one of two gradients for each channel.

    Raises:
        ValueError: in training, with fewer than two rows on all ranks together.
    """
    if not is_sharded() or not needs_all_rows(norm):
        y: Tensor = norm(x)
        return y
    assert isinstance(norm, _BatchNorm)
    dtype, x = x.dtype, wide(x)  # sums over nodes overflow in half precision
    count, mean, variance = _statistics(x.detach())
    if count < 2:
        raise ValueError(
            f"expected at least 2 nodes on all ranks for batch norm in training, got {int(count)}"
        )
    if norm.training and norm.running_mean is not None:
        _update_running(norm, count, mean, variance)

    pivot = mean.to(x.dtype)
    centered = x - pivot
    rounded = mean - pivot
    known = (count * rounded, count * (variance + rounded * rounded))
    total, squares = sum_of_all(
        (centered.sum(0), (centered * centered).sum(0)), tuple(t.to(x.dtype) for t in known)
    )
    rest = total / count
    y = (centered - rest) * (squares / count - rest * rest + norm.eps).rsqrt()
    return (y if norm.weight is None else y * norm.weight + norm.bias).to(dtype)


def _statistics(x: Tensor) -> tuple[float, Tensor, Tensor]:
    r"""Number of rows on all ranks, and their mean and variance, float64."""
    own = x.size(0)
    near = x.sum(0) / max(own, 1)  # sums about it are short, and exact where x lies far from zero
    centered = x - near
    rest, spread = centered.sum(0).double(), centered.square_().sum(0).double()
    near = near.double()
    parts = (near.new_full((), own), near * own + rest, near * (near * own + 2 * rest) + spread)
    count, total, squares = sum_of_all(parts)
    mean = total / count
    return float(count), mean, (squares / count - mean * mean).clamp_min(0)


def _update_running(norm: _BatchNorm, count: float, mean: Tensor, variance: Tensor) -> None:
    r"""As torch does it, with the unbiased variance."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    with torch.no_grad():
        norm.num_batches_tracked += 1
        momentum = norm.momentum
        weight = 1 / float(norm.num_batches_tracked) if momentum is None else momentum
        norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), weight)
        unbiased = variance * (count / (count - 1))
        norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), weight)
