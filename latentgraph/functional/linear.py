r"""Products of rows with a matrix, and of rows with rows.

Many rows on a processor go to oneDNN, which torch asks for convolutions alone, as the pixels of a
map: on AMD's processors it uses wider instructions than MKL, which takes the other products. There
MKL reads rows that are not in the caches far slower when a product has one column than when it has
two. Maps of many channels, which come first in their memory, stay as they are on that way.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_weight

from latentgraph.functional.precision import full_precision
from latentgraph.functional.tracing import is_followed, is_traced, is_transformed

MANY_PRODUCTS, MANY_COLUMNS = 2**23, 8  # multiply-adds and columns from which on oneDNN pays
MANY_CHANNELS = 256  # of a map, before or after, from which on oneDNN is ahead of MKL there too
MANY_NUMBERS = 2**20  # beside a single row or column, from which on they may not be in the caches
PIECE, MANY_ROWS = 1_024, 4_096  # rows that are summed at once, and from which on in pieces


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    r""":math:`x W^\top + b` in the dtype of ``x``, or in autocast's.

    :func:`torch.nn.functional.linear` copies several graphs whose channels come first in memory
    into rows; a batched product takes them as they are, and gives rows.

    Args:
        x: (N, in) or (B, n, in), in any strides.
        weight: (out, in).
        bias: (out,).

    Returns:
        (N, out) or (B, n, out), contiguous, or with the channels first in memory where oneDNN
        multiplied maps that have them first, and no more of them than it gives.
    """
    weight = weight.to(x.dtype)
    bias = None if bias is None else bias.to(x.dtype)
    if _pays(x, weight.size(0)) and not is_transformed():
        product = _Linear.apply if torch.is_grad_enabled() else _product
        y: Tensor = product(x, weight, bias)
        return y
    if _is_narrow(x, weight):
        return _narrow(x, weight, bias)
    if x.dim() == 2 or x.size(0) == 1 or x.stride(2) == 1:
        return F.linear(x, weight, bias)
    return _by_graph(x, weight, bias)


def laid_out_as(like: Tensor, x: Tensor) -> Tensor:
    r"""``x``, (B, n, a), as ``linear`` makes of it what lies as (B, n, b), ``like``, does.

    It has its channels first then if those of ``like`` are, in a map or in a slice of one, and if
    oneDNN multiplies it. To add rows to a map takes several times as long as to add a map to it.
    """
    channels = like.size(-1)
    first = _are_maps(like) and channels >= MANY_CHANNELS and _is_large(x, channels)
    return x.mT.contiguous().mT if first else x


def channels_first(x: Tensor) -> bool:
    r"""Whether these are maps, or slices of maps, (B, n, c), in which the channels come first."""
    return x.dim() == 3 and x.stride(1) == 1 and x.stride(2) > 1 and not x.is_contiguous()


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    r"""``linear`` where oneDNN pays; MKL's for slices of maps, which oneDNN would copy."""
    is_slice = channels_first(x) and not x.mT.is_contiguous()
    return (_by_graph if is_slice else _convolution)(x, weight, bias)


def _by_graph(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    y = torch.bmm(x, weight.T.expand(x.size(0), -1, -1))
    return y if bias is None else y + bias


def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    # A stride between lines, of which there is one: else torch leaves a single thread to MKL.
    stride = (2 if torch.get_num_threads() == 1 else 1, 1)
    kernel = weight.as_strided((*weight.shape, 1, 1), (*weight.stride(), 1, 1))
    y = F.conv2d(_pixels(x), kernel, bias, stride).permute(0, 2, 3, 1)
    # No view to autograd, so that it can be written to.
    rows: Tensor = torch.ops.aten._unsafe_view(y, (*x.shape[:-1], weight.size(0)))
    return rows if weight.size(0) >= weight.size(1) else rows.contiguous()


class _Linear(torch.autograd.Function):
    r"""``linear`` by oneDNN as one node of autograd, of which views and convolution make ten."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        needs_x, needs_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(x if needs_weight else None, weight if needs_x else None)
        ctx.channels_first = channels_first(x)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad = grad.mT.contiguous().mT if ctx.channels_first else grad.contiguous()
        with full_precision(grad):  # here, since backward() may be called inside autocast
            return (
                None if weight is None else linear(grad, weight.T),
                None if x is None else _over_all_rows(grad, x),
                grad.sum(tuple(range(grad.dim() - 1))) if ctx.needs_input_grad[2] else None,
            )


def _narrow(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    r"""A product with one column, by two of them; an outer product, by rows times numbers."""
    if weight.size(1) == 1:
        y = x * weight.squeeze(1)
        return y if bias is None else y + bias
    bias = None if bias is None else F.pad(bias, (0, 1))
    return F.linear(x, F.pad(weight, (0, 0, 0, 1)), bias)[..., :1].contiguous()


def over_rows(x: Tensor, y: Tensor) -> Tensor:
    r""":math:`X^\top Y` of each graph, (B, a, b), of rows (B, n, a) and (B, n, b).

    Many rows of float32 are summed in pieces and the pieces then, since BLAS adds those of narrow
    products one by one, which for 100,000 costs the sixth digit. Compilers, and derivatives that
    are taken forward or of many functions at once, get the product as it is.
    """
    product: Tensor
    if not is_followed(x) and (_are_many(x) or _one_sum_pays(x, y)):
        sums = _OverRows.apply if torch.is_grad_enabled() else _sums_over_rows
        product = sums(x, y)
    elif x.size(0) == 1:
        product = (x.squeeze(0).mT @ y.squeeze(0)).unsqueeze(0)
    else:
        product = x.mT @ y
    return product


def over_rows_of_one(x: Tensor, y: Tensor, out: Tensor) -> None:
    r"""``over_rows`` of one graph, rows (n, a) and (n, b), written to (a, b)."""
    if x.numel() * y.size(1) < MANY_PRODUCTS and x.size(0) < MANY_ROWS:
        torch.mm(x.mT, y, out=out)
    else:
        out.copy_(over_rows(x.unsqueeze(0), y.unsqueeze(0)).squeeze(0))


def _over_all_rows(x: Tensor, y: Tensor) -> Tensor:
    r""":math:`X^\top Y` of all graphs together, (a, b), of which both are rows or both are maps."""
    if not channels_first(x):
        return over_rows(*(t.reshape(1, -1, t.size(-1)) for t in (x, y))).squeeze(0)
    if is_transformed() or not _sums_pay(x, y):
        return over_rows(x, y).sum(0)
    return _sums_of_kernel(x, y)


class _OverRows(torch.autograd.Function):
    r"""``over_rows``, whose gradients lie in memory as its inputs do."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        needs_x, needs_y = ctx.needs_input_grad
        ctx.save_for_backward(x if needs_y else None, y if needs_x else None)
        ctx.channels_first = x.stride(2) != 1, y.stride(2) != 1
        return _sums_over_rows(x, y)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y = ctx.saved_tensors
        x_first, y_first = ctx.channels_first
        with full_precision(grad):  # here, since backward() may be called inside autocast
            return (
                None if y is None else _to_rows(y, grad.mT, x_first),
                None if x is None else _to_rows(x, grad, y_first),
            )


def _sums_over_rows(x: Tensor, y: Tensor) -> Tensor:
    r"""(B, a, b), of rows (B, n, a) and (B, n, b)."""
    if _one_sum_pays(x, y):
        return torch.stack([_sums_of_kernel(x, y)])  # in its own memory, which can be written to
    return torch.stack([_sum_of_pieces(*rows) for rows in zip(x, y, strict=True)])


def _sums_of_kernel(x: Tensor, y: Tensor) -> Tensor:
    r"""(a, b), the wider rows as the gradient: else oneDNN takes up to five times as long."""
    wider_first = x.size(2) >= y.size(2)
    return _gradient_of_kernel(x, y) if wider_first else _gradient_of_kernel(y, x).T


def _gradient_of_kernel(grad: Tensor, x: Tensor) -> Tensor:
    r"""(out, in), what the kernel of a convolution gets of (B, n, out) and (B, n, in)."""
    shape = (grad.size(2), x.size(2), 1, 1)
    kernel: Tensor = conv2d_weight(_pixels(x), shape, _pixels(grad))
    return kernel.view(shape[:2])


def _sum_of_pieces(x: Tensor, y: Tensor) -> Tensor:
    r"""(a, b), of rows (n, a) and (n, b)."""
    whole = x.size(0) // PIECE * PIECE
    of_x, of_y = (t[:whole].reshape(-1, PIECE, t.size(1)) for t in (x, y))
    return (of_x.mT @ of_y).sum(0) + x[whole:].mT @ y[whole:]


def _to_rows(x: Tensor, z: Tensor, channels_first: bool) -> Tensor:
    r""":math:`X Z` of each graph, (B, n, b), of rows (B, n, a) and (B, a, b), laid out as asked."""
    if channels_first:
        return (z.mT @ x.mT).mT
    return linear(x, z.squeeze(0).mT) if x.size(0) == 1 else x @ z


def _pixels(rows: Tensor) -> Tensor:
    r"""Rows (..., c) as a channels-last map (1, c, 1, n), and whole maps as maps (B, c, 1, n)."""
    if channels_first(rows):
        return rows.mT.unsqueeze(2)
    size, c = rows.numel(), rows.size(-1)
    return rows.as_strided((1, c, 1, size // c), (size, 1, size, c))


def _are_many(rows: Tensor) -> bool:
    return rows.dtype == torch.float32 and rows.size(-2) >= MANY_ROWS and rows.size(0) > 0


def _one_sum_pays(x: Tensor, y: Tensor) -> bool:
    return x.size(0) == 1 and _sums_pay(x, y)


def _sums_pay(x: Tensor, y: Tensor) -> bool:
    several_threads = torch.get_num_threads() > 1  # to a single one, oneDNN is no better than MKL
    alike = channels_first(x) == channels_first(y)
    return several_threads and alike and _pays(x, y.size(-1)) and _pays(y, x.size(-1))


def _is_narrow(x: Tensor, weight: Tensor) -> bool:
    r"""Whether many numbers stand beside a single row or column."""
    return (
        _are_plain(x)
        and 1 in weight.shape
        and x.shape[:-1].numel() * weight.numel() >= MANY_NUMBERS
    )


def _pays(x: Tensor, num_columns: int) -> bool:
    r"""Whether oneDNN is at hand for these rows (..., c), and so many columns are worth the way."""
    deep = max(x.size(-1), num_columns) >= MANY_CHANNELS
    return (_are_plain(x) or (deep and _are_maps(x))) and _is_large(x, num_columns)


def _is_large(x: Tensor, num_columns: int) -> bool:
    return (
        x.numel() * num_columns >= MANY_PRODUCTS
        and num_columns >= MANY_COLUMNS
        and torch.backends.mkldnn.is_available()
        and bool(torch.backends.mkldnn.enabled)
    )


def _are_plain(x: Tensor) -> bool:
    r"""Whether these are rows of float32 on a processor, whose product stays float32."""
    return _are_floats(x) and x.is_contiguous()


def _are_maps(x: Tensor) -> bool:
    r"""Whether these are maps of float32, channels first, whose product stays float32."""
    return _are_floats(x) and channels_first(x)


def _are_floats(x: Tensor) -> bool:
    return (
        not is_traced(x)  # first, since a compiler keeps what was asked of sizes
        and x.is_cpu
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
    )
