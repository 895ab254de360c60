r"""Which numbers are computed in float32 or wider, whatever autocast would choose."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


def wide(x: Tensor) -> Tensor:
    r"""``x`` in float32, or wider if it is wider already."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def full_precision(x: Tensor) -> AbstractContextManager[Any]:
    r"""A context without autocast, which would take even products of floats to half precision."""
    device_type = _autocast_device(x)
    if not torch.is_autocast_enabled(device_type):
        return nullcontext()  # entering one costs more than the products of a small chunk
    return torch.autocast(device_type, enabled=False)


def is_float16(x: Tensor) -> bool:
    r"""Whether products of ``x`` are of float16, in which nothing is above 65,504."""
    autocast = autocast_of(x)
    return (autocast["dtype"] if autocast["enabled"] else x.dtype) == torch.float16


def autocast_of(x: Tensor) -> dict[str, Any]:
    r"""The autocast that is on; without its cache, which forgets that a weight needs a gradient."""
    device_type = _autocast_device(x)
    return {
        "device_type": device_type,
        "dtype": torch.get_autocast_dtype(device_type),
        "enabled": torch.is_autocast_enabled(device_type),
        "cache_enabled": False,
    }


def _autocast_device(x: Tensor) -> str:
    r"""The device type of ``x``; the meta device has no autocast and goes by the processor's."""
    return "cpu" if x.device.type == "meta" else x.device.type
