r"""Which numbers are computed in float32 or wider, whatever autocast would choose."""

from __future__ import annotations

import torch
from torch import Tensor


def wide(x: Tensor) -> Tensor:
    r"""``x`` in float32, or wider if it is wider already."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def full_precision(x: Tensor) -> torch.autocast:
    r"""A context without autocast, which would take even products of floats to half precision."""
    return torch.autocast(x.device.type, enabled=False)
