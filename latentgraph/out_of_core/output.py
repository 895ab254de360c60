r"""Where the features of all nodes go."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray[Any, Any]


@contextmanager
def rows_of(
    out: str | os.PathLike[str] | Array | Tensor, shape: tuple[int, int], dtype: torch.dtype
) -> Iterator[Tensor]:
    r"""Memory to write the features to: that of an array, or of a memory-mapped ``.npy`` file,
    which gets its name when it is whole and is removed after an error.

    Args:
        out: path of the file, or an array or tensor.
        shape: (N, C).
        dtype: of the features.

    Raises:
        ValueError: an array is not writable, or of another shape or dtype.
        TypeError: NumPy does not have the dtype.
        OSError: there is no space for the file.
    """
    if isinstance(out, Tensor):
        _require(tuple(out.shape) == shape and out.dtype == dtype, out, shape, dtype)
        yield out
        return
    if isinstance(out, np.ndarray):
        fits = out.shape == shape and out.dtype == numpy_dtype(dtype) and out.flags.writeable
        _require(fits, out, shape, dtype)
        yield torch.from_numpy(out)
        return
    path = Path(out)
    part = path.with_name(f".{path.name}.part")
    try:
        memory = np.lib.format.open_memmap(part, "w+", numpy_dtype(dtype), shape)
        _take_space(part)
        yield torch.from_numpy(memory)
        memory.flush()
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _take_space(path: Path) -> None:
    r"""Have the system set the space of a file aside: a mapped page that finds none kills us."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def numpy_dtype(dtype: torch.dtype) -> np.dtype[Any]:
    r"""NumPy's dtype of that name.

    Raises:
        TypeError: there is none, as for bfloat16.
    """
    try:
        return torch.zeros(0, dtype=dtype).numpy().dtype
    except TypeError as error:
        raise TypeError(f"expected a dtype that NumPy has, got {dtype}") from error


def _require(fits: bool, out: Array | Tensor, shape: tuple[int, int], dtype: torch.dtype) -> None:
    if not fits:
        raise ValueError(
            f"expected out to be writable, of shape {shape} and {dtype}, got {tuple(out.shape)} "
            f"of {out.dtype}"
        )
