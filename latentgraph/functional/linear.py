r"""A linear map of rows that leaves channel-first maps as they lie."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from latentgraph.functional.tracing import is_traced

MANY_ROWS, MANY_COLUMNS = 4_096, 8  # of an output, from which on another kernel pays


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
    if _has_kernel(x, weight):
        return _by_convolution(x, weight, bias)
    if x.dim() == 2 or x.size(0) == 1 or x.stride(2) == 1:
        return F.linear(x, weight, bias)
    y = torch.bmm(x, weight.T.expand(x.size(0), -1, -1))
    return y if bias is None else y + bias


def _has_kernel(x: Tensor, weight: Tensor) -> bool:
    r"""Whether oneDNN, which torch asks for convolutions alone, is at hand for these rows.

    On AMD's processors it uses wider instructions than MKL, which takes the others.
    """
    return (
        not is_traced(x)
        and x.dtype == torch.float32
        and x.device.type == "cpu"
        and x.is_contiguous()
        and x.shape[:-1].numel() >= MANY_ROWS
        and weight.size(0) >= MANY_COLUMNS
        and torch.backends.mkldnn.is_available()
        and bool(torch.backends.mkldnn.enabled)
    )


def _by_convolution(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    r"""The rows as pixels of a channels-last map."""
    pixels = x.flatten(0, -2).unsqueeze(0).unsqueeze(2).permute(0, 3, 1, 2)
    y = F.conv2d(pixels, weight.unsqueeze(2).unsqueeze(3), bias)
    return y.permute(0, 2, 3, 1).reshape(*x.shape[:-1], weight.size(0))
