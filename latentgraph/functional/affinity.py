r"""Normalizing edge weights: over the latent nodes, over the nodes of each graph, between latents.

Everything here is computed in float32 or wider, and an all-zero row or column stays zero with
finite gradients.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from latentgraph.functional.bipartite import sum_squares
from latentgraph.functional.checks import check_rows, check_temperature, check_tensors
from latentgraph.functional.precision import full_precision, wide
from latentgraph.functional.ragged import Ragged
from latentgraph.functional.sums import sum_nodes, to_nodes
from latentgraph.functional.tracing import is_followed

__all__ = ["cosine_softmax", "l2", "l2_over_nodes", "softmax_over_nodes"]

EPS = 1e-12  # as in torch.nn.functional.normalize


def inverse_norm(sum_of_squares: Tensor) -> Tensor:
    r"""One over the l2 norm, :math:`1 / \max(\|\cdot\|_2, 10^{-12})`, from the sum of squares."""
    return _not_too_large(sum_of_squares).clamp_min(EPS**2).rsqrt()


def l2(x: Tensor, dim: int = -1) -> Tensor:
    r"""Rows of length one: :math:`x / \max(\|x\|_2, 10^{-12})` along ``dim``.

    Args:
        x: any floating-point tensor.
        dim: the dimension whose entries are the vector.

    Returns:
        Same shape, float32 or wider.

    Raises:
        TypeError: ``x`` is no tensor.
    """
    check_tensors(x=x)
    x = wide(x)
    if is_followed(x):
        return x * inverse_length(x, dim)
    result: Tensor = _UnitLength.apply(x, dim)  # type: ignore[no-untyped-call]
    return result


class _UnitLength(torch.autograd.Function):
    r"""Rows of length one, with the gradient written out: half the passes that autograd takes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int) -> Tensor:
        inverse = inverse_length(x, dim)
        y = x * inverse
        ctx.dim = dim
        ctx.save_for_backward(x, y, inverse)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        x, y, inverse = ctx.saved_tensors
        of_x = grad * y
        along = of_x.sum(ctx.dim, keepdim=True) * (inverse < 1 / EPS)
        if torch.is_grad_enabled():
            return (grad - y * along) * inverse_length(x, ctx.dim), None
        # In memory that is in the caches, as new one is not.
        return of_x.copy_(grad).addcmul_(y, along, value=-1).mul_(inverse), None


def over_length_of(x: Tensor, other: Tensor) -> Tensor:
    r"""Each row of ``x`` over the length of the same row of ``other``, as :func:`l2` has it."""
    if is_followed(x):
        return x * inverse_length(other, -1)
    result: Tensor = _OverLength.apply(x, other)  # type: ignore[no-untyped-call]
    return result


class _OverLength(torch.autograd.Function):
    r"""Rows over the length of others, with the gradient written out."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, other: Tensor) -> Tensor:
        inverse = inverse_length(other, -1)
        y = x * inverse
        ctx.save_for_backward(y, other, inverse)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        y, other, inverse = ctx.saved_tensors
        of_x = grad * y
        along = of_x.sum(-1, keepdim=True) * (inverse < 1 / EPS)
        if torch.is_grad_enabled():
            inverse = inverse_length(other, -1)
            return grad * inverse, other * (-along * inverse.square())
        of_other = other * along.mul_(inverse).mul_(inverse).neg_()
        return of_x.copy_(grad).mul_(inverse), of_other


def inverse_length(x: Tensor, dim: int) -> Tensor:
    r"""One over the length of each row, :math:`1 / \max(\|x\|_2, 10^{-12})`."""
    length: Tensor = torch.linalg.vector_norm(x, dim=dim, keepdim=True)
    return _not_too_large(length).clamp_min(EPS).reciprocal()


def _not_too_large(length: Tensor) -> Tensor:
    r"""NaN for what cannot be squared: one over infinity would make plausible zeros of it."""
    return torch.sub(length, length, alpha=0)  # inf - 0 inf


def sum_squares_over_nodes(weight: Tensor, batch: Ragged | None = None) -> Tensor:
    r"""(B, d), the squared length of each column of (N, d) or (B, n, d) within each graph."""
    if batch is None:
        weight = weight if weight.dim() == 3 else weight.unsqueeze(0)
        if is_followed(weight):
            return (weight * weight).sum(1)
        result: Tensor = _SumSquares.apply(weight)  # type: ignore[no-untyped-call]
        return result
    return sum_squares(weight, batch)


class _SumSquares(torch.autograd.Function):
    r"""Squares summed over nodes, (B, n, d) to (B, d), with the gradient in one pass."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return (weight * weight).sum(1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (weight,) = ctx.saved_tensors
        of_weight: Tensor = weight * (2 * grad).unsqueeze(1)
        return of_weight


def largest_of_rows(score: Tensor, k: int) -> Tensor:
    r"""The k largest numbers of each row (..., d) where they stand, zeros for the rest."""
    if k >= score.size(-1):
        return score
    kept, where = score.topk(k, -1, sorted=False)
    return torch.zeros_like(score).scatter(-1, where, kept)


def l2_over_nodes(weight: Tensor, batch: Tensor | Ragged | None = None) -> Tensor:
    r"""Edge weights whose columns have length one within each graph.

    Args:
        weight: (N, d), or (B, n, d) for graphs of one size.
        batch: (N,) the graph of each node, a :class:`Ragged`, or None.

    Returns:
        Same shape, float32 or wider.

    Raises:
        TypeError: ``weight`` is no tensor.
        ValueError: ``weight`` has another shape, or ``batch`` does not fit the nodes.
    """
    check_rows("weight", weight, batch)
    weight = wide(weight)
    batch = Ragged.of(batch, num_nodes=weight.size(0), device=weight.device)
    return over_lengths(weight, sum_squares_over_nodes(weight, batch), batch)


def over_lengths(weight: Tensor, squares: Tensor, batch: Ragged | None) -> Tensor:
    r"""``weight`` over the length of its columns in each graph, of which (B, d) are the squares."""
    return weight * _spread(inverse_norm(squares), weight, batch)


def softmax_over_nodes(score: Tensor, batch: Tensor | Ragged | None = None) -> Tensor:
    r"""Edge weights that sum to one over the nodes of each graph, in every column.

    Args:
        score: (N, d), or (B, n, d) for graphs of one size.
        batch: (N,) the graph of each node, a :class:`Ragged`, or None.

    Returns:
        Same shape, float32 or wider.

    Raises:
        TypeError: ``score`` is no tensor.
        ValueError: ``score`` has another shape, or ``batch`` does not fit the nodes.
    """
    check_rows("score", score, batch)
    score = wide(score)
    batch = Ragged.of(batch, num_nodes=score.size(0), device=score.device)
    highest = max_over_nodes(score, batch)
    weight = (score - _shift(highest, score, batch)).exp()
    return weight * _spread(sum_nodes(weight, batch).clamp_min(1e-38).reciprocal(), weight, batch)


def max_over_nodes(score: Tensor, batch: Ragged | None = None) -> Tensor:
    r"""(B, d), the largest score of each graph, without a gradient; the lowest number if empty."""
    score = score.detach()
    lowest = torch.finfo(score.dtype).min
    if batch is None:
        score = score if score.dim() == 3 else score.unsqueeze(0)
        if score.size(1) == 0:
            return score.new_full((score.size(0), score.size(2)), lowest)
        return score.amax(1)
    highest = score.new_full((batch.batch_size, score.size(1)), lowest)
    index = batch.batch.unsqueeze(1).expand_as(score)
    return highest.scatter_reduce(0, index, score, "amax")


def exp_below(score: Tensor, highest: Tensor, batch: Ragged | None = None) -> Tensor:
    r""":math:`\exp(s - \max s)`, the numerator of a softmax over the nodes of each graph."""
    return (score - _shift(highest, score, batch)).exp()


def cosine_softmax(z: Tensor, temperature: Tensor | float = 1.0) -> Tensor:
    r"""How latent nodes weigh each other: :math:`softmax_{row}(\hat Z \hat Z^\top / \tau)`.

    Args:
        z: (B, d, c) latent features.
        temperature: :math:`\tau`, a number or a scalar tensor, above 0.

    Returns:
        (B, d, d), rows sum to one, float32 or wider.

    Raises:
        TypeError: ``z`` is no tensor.
        ValueError: another shape, or a temperature, as a number, of 0 or below.
    """
    check_tensors(z=z)
    if z.dim() != 3:
        raise ValueError(f"expected z of shape (B, d, c), got {tuple(z.shape)}")
    check_temperature(temperature)
    direction = l2(z)
    with full_precision(direction):
        cosines = direction @ direction.mT
        plain = not isinstance(temperature, Tensor) and temperature == 1
        return (cosines if plain else cosines / temperature).softmax(-1, cosines.dtype)


def _shift(per_graph: Tensor, like: Tensor, batch: Ragged | None) -> Tensor:
    if batch is None:
        return per_graph.unsqueeze(1) if like.dim() == 3 else per_graph
    return per_graph.index_select(0, batch.batch)


def _spread(per_graph: Tensor, like: Tensor, batch: Ragged | None) -> Tensor:
    rows = to_nodes(per_graph, batch)
    return rows.squeeze(0) if batch is None and like.dim() == 2 else rows
