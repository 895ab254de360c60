r"""What NumPy does sooner than torch where tensors live on a processor: searches, many pieces."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor


def where_true(mask: Tensor) -> Tensor:
    r"""Places of the true entries of a mask, in the order of its rows, (count,) int64."""
    if mask.device.type != "cpu":
        return mask.flatten().nonzero().squeeze(1)
    return torch.from_numpy(np.flatnonzero(mask.numpy()))


def first_at_least(ascending: Tensor, values: Tensor) -> Tensor:
    r"""For each value the place of the first that is not smaller, as ``torch.searchsorted``."""
    if values.device.type != "cpu":
        return torch.searchsorted(ascending, values)
    return torch.from_numpy(np.searchsorted(ascending.numpy(), values.numpy()))


def in_order(values: Tensor) -> Tensor:
    r"""Places of the values from the smallest to the largest, as ``torch.argsort``."""
    if values.device.type != "cpu":
        return values.argsort()
    return torch.from_numpy(np.argsort(values.numpy()))


def pieces_in_turn(
    parts: Sequence[Tensor], sizes: Sequence[Sequence[int]], dtype: torch.dtype
) -> Tensor:
    r"""The first piece of each part, then the second of each and so on, as ``torch.cat``.

    Args:
        parts: K tensors of one dimension, K at least 1.
        sizes: Lengths of the pieces of each, as many of one part as of another.
        dtype: Of the result, an integer.
    """
    on_cpu = parts[0].device.type == "cpu"
    views = [part.numpy() if on_cpu else part for part in parts]
    pieces = [
        [view[end - size : end] for size, end in zip(own, accumulate(own), strict=True)]
        for view, own in zip(views, sizes, strict=True)
    ]
    joined = [views[0][:0], *(piece for turn in zip(*pieces, strict=True) for piece in turn)]
    if not on_cpu:
        return torch.cat(joined).to(dtype)
    result = torch.empty(sum(map(sum, sizes)), dtype=dtype, device="cpu")
    np.concatenate(joined, out=result.numpy(), casting="same_kind")
    return result
