r"""What a function was given, checked before anything is computed."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import torch.autograd.forward_ad as fwAD
from torch import Tensor

from latentgraph.functional.tracing import is_traced


def check_tensors(**given: object) -> None:
    r"""Raise unless all of them are tensors."""
    for name, value in given.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"expected {name} as a tensor, got {type(value).__name__}")


def check_given(**given: object) -> None:
    r"""Raise unless all of them are tensors or None."""
    check_tensors(**{name: value for name, value in given.items() if value is not None})


def check_count(**given: Any) -> None:
    r"""Raise unless all of them are ints of 1 or more."""
    for name, value in given.items():
        if not _is_int(value):
            raise TypeError(f"expected {name} as an int, got {value!r}")
        if value < 1:
            raise ValueError(f"expected {name} of 1 or more, got {value}")


def check_chunk_size(chunk_size: object) -> None:
    r"""Raise unless it is an int of 1 or more, or None."""
    if chunk_size is not None and (type(chunk_size) is not int or chunk_size < 1):
        raise ValueError(f"expected chunk_size of 1 or more, or None, got {chunk_size!r}")


def check_odd(**given: Any) -> None:
    r"""Raise unless all of them are odd ints of 1 or more, as edges of kernels are."""
    for name, value in given.items():
        if not _is_int(value) or value < 1 or value % 2 == 0:
            raise ValueError(f"expected an odd {name} of 1 or more, got {value!r}")


def _is_int(value: object) -> bool:
    r"""Whether it counts something: one of NumPy's does, a truth value does not."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_rows(name: str, x: Tensor, batch: object = None) -> None:
    r"""Raise unless ``x`` has a row for each node: (N, c), or without ``batch`` also (B, n, c)."""
    check_tensors(**{name: x})
    if x.dim() != 2 and (x.dim() != 3 or batch is not None):
        expected = "(N, c) or (B, n, c)" if batch is None else "(N, c) beside batch"
        raise ValueError(f"expected {name} of shape {expected}, got {tuple(x.shape)}")


def check_no_tangents(*given: Tensor) -> None:
    r"""Raise where torch takes derivatives forward: operators on ragged batches would lose them."""
    if is_traced(given[0]) or fwAD._current_level < 0:
        return
    if any(fwAD.unpack_dual(t).tangent is not None for t in given):
        raise NotImplementedError(
            "expected gradients by backward() beside a ragged batch, got forward-mode derivatives, "
            "as torch.func.jvp takes them"
        )


def check_temperature(temperature: Tensor | float) -> None:
    r"""Raise unless a temperature that is a number is above 0; tensors go unread."""
    if not isinstance(temperature, (Tensor, float, int)):
        raise TypeError(f"expected temperature as a number or a tensor, got {temperature!r}")
    if not isinstance(temperature, Tensor) and not temperature > 0:
        raise ValueError(f"expected temperature above 0, got {temperature}")
