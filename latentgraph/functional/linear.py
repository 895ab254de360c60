r"""A linear map of rows that leaves channel-first maps as they lie."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


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
    if x.dim() == 2 or x.size(0) == 1 or x.stride(2) == 1:
        return F.linear(x, weight, bias)
    y = torch.bmm(x, weight.T.expand(x.size(0), -1, -1))
    return y if bias is None else y + bias
