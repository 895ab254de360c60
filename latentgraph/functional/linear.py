r"""Products of rows with a matrix, and of rows with rows.

Many rows on a processor go to oneDNN, which torch asks for convolutions alone, as the pixels of a
map: on AMD's processors it uses wider instructions than MKL, which takes the other products.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_weight

from latentgraph.functional.precision import full_precision
from latentgraph.functional.tracing import is_traced

MANY_PRODUCTS, MANY_COLUMNS = 2**23, 8  # multiply-adds and columns from which on oneDNN pays
PIECE = 1_024  # rows of a sum that is taken at once


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    r""":math:`x W^\top + b` in the dtype of ``x``, or in autocast's.

    :func:`torch.nn.functional.linear` copies several graphs whose channels come first in memory
    into rows; a batched product takes them as they are.

    Args:
        x: (N, in) or (B, n, in), in any strides.
        weight: (out, in).
        bias: (out,).
    """
    weight = weight.to(x.dtype)
    bias = None if bias is None else bias.to(x.dtype)
    if _pays(x, weight.size(0)):
        # A stride between lines, of which there is one: else torch leaves a single thread to MKL.
        stride = (2 if torch.get_num_threads() == 1 else 1, 1)
        y = F.conv2d(_pixels(x), weight.unsqueeze(2).unsqueeze(3), bias, stride)
        return y.permute(0, 2, 3, 1).reshape(*x.shape[:-1], weight.size(0))
    if x.dim() == 2 or x.size(0) == 1 or x.stride(2) == 1:
        return F.linear(x, weight, bias)
    y = torch.bmm(x, weight.T.expand(x.size(0), -1, -1))
    return y if bias is None else y + bias


def over_rows(x: Tensor, y: Tensor) -> Tensor:
    r""":math:`X^\top Y`, (..., a, b), of rows (..., n, a) and (..., n, b).

    Many rows are summed in pieces, and the pieces then: BLAS adds the rows of a narrow product one
    by one, and 100,000 rows would cost float32 its sixth digit.
    """
    product: Tensor
    if is_traced(x) or x.size(-2) < 2 * PIECE:
        product = x.mT @ y
    elif x.dim() == 2:
        product = _OverRows.apply(x, y)  # type: ignore[no-untyped-call]
    elif x.size(0) == 1:
        product = over_rows(x.squeeze(0), y.squeeze(0)).unsqueeze(0)
    else:
        graphs = zip(x.unbind(), y.unbind(), strict=True)
        product = torch.stack([over_rows(*rows) for rows in graphs])
    return product


class _OverRows(torch.autograd.Function):
    r"""``over_rows`` of one graph, whose gradients are ``linear``."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, y: Tensor) -> Tensor:
        if _pays(x, y.size(1)) and _pays(y, x.size(1)):
            shape = (x.size(1), y.size(1), 1, 1)
            product: Tensor = conv2d_weight(_pixels(y), shape, _pixels(x))
            return product.flatten(1)
        whole = x.size(0) // PIECE * PIECE
        of_x, of_y = (t[:whole].unflatten(0, (-1, PIECE)) for t in (x, y))
        pieces: Tensor = of_x.mT @ of_y
        return pieces.sum(0) + x[whole:].mT @ y[whole:]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y = ctx.saved_tensors
        needs_x, needs_y = ctx.needs_input_grad
        with full_precision(grad):  # here, since backward() may be called inside autocast
            return linear(y, grad) if needs_x else None, linear(x, grad.T) if needs_y else None

    @staticmethod
    def jvp(ctx: Any, x_t: Tensor | None, y_t: Tensor | None) -> Tensor:
        x, y = ctx.saved_tensors
        if x_t is not None and y_t is not None:
            return over_rows(x_t, y) + over_rows(x, y_t)
        return over_rows(x if x_t is None else x_t, y if y_t is None else y_t)


def _pixels(rows: Tensor) -> Tensor:
    r"""Rows (..., c) as a channels-last map (1, c, 1, n)."""
    return rows.flatten(0, -2).unsqueeze(0).unsqueeze(1).permute(0, 3, 1, 2)


def _pays(x: Tensor, num_columns: int) -> bool:
    r"""Whether oneDNN is at hand for these rows (..., c), and so many columns are worth the way."""
    return (
        not is_traced(x)  # first, since a compiler keeps what was asked of sizes
        and x.is_cpu
        and x.dtype == torch.float32
        and x.is_contiguous()
        and x.numel() * num_columns >= MANY_PRODUCTS
        and num_columns >= MANY_COLUMNS
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.is_available()
        and bool(torch.backends.mkldnn.enabled)
    )
