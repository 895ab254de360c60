r"""State dicts from files, without running what is in them."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentgraph.needs import need


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    r"""The state dict in a file, on the CPU.

    A file ``.safetensors`` is read by the package of that name, any other by
    ``torch.load(..., weights_only=True)``. Of a checkpoint it is the part ``state_dict`` or
    ``model``; ``module.`` in front of all keys, as wrappers of networks leave it, is taken off.

    Args:
        path: the file.

    Returns:
        Tensors by key, on the CPU, in the order and the dtypes of the file.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: safetensors is missing.
        ValueError: the file is corrupt, holds no state dict, or needs something that could run
            code, which is named together with the way to allow it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"expected a file of weights, got nothing at {path}")
    content = _safetensors(path) if path.suffix == ".safetensors" else _torch(path)
    for part in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(part), Mapping):
            content = content[part]
    if not isinstance(content, Mapping) or not content:
        raise ValueError(f"expected a state dict in {path}, got {type(content).__name__}")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ValueError(
                f"expected a state dict of tensors in {path}, got {type(value).__name__} at {key!r}"
            )
    wrapped = all(key.startswith("module.") for key in content)
    return {key.removeprefix("module.") if wrapped else key: v for key, v in content.items()}


def _torch(path: Path) -> Any:
    try:
        _require_intact(path)
        with torch.serialization.safe_globals(_numbers_of_numpy()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError:
        raise
    except Exception as error:  # torch.load has no exception of its own for a foreign file
        refused = re.search(r"GLOBAL ((\w+(?:\.\w+)*)\.\w+) was not", str(error)) or re.search(
            r"but got <class '((\w+(?:\.\w+)*)\.\w+)'>", str(error)
        )
        if refused is None:
            raise ValueError(
                f"expected a file of torch.save at {path}, got one that is corrupt, cut off or of "
                f"another kind: {_reason(error)}"
            ) from error
        name, module = refused.groups()
        # NumPy 2 moved its core: there an object no longer bears the name it has in older files.
        allowed = f'({name}, "{name}")' if re.match(r"numpy\._?core\.", name) else name
        raise ValueError(
            f"expected a file of tensors at {path}, got one that needs {name}. If you trust it: "
            f"import {module}; torch.serialization.add_safe_globals([{allowed}])"
        ) from error


def _numbers_of_numpy() -> list[Any]:
    r"""What a number of NumPy is read with. Checkpoints hold scores so, and it runs no code."""
    scalar = np.float64(0).__reduce__()[0]
    names = [f"{core}.multiarray.scalar" for core in ("numpy._core", "numpy.core")]
    kinds = {type(np.dtype(code)) for code in np.typecodes["AllInteger"] + np.typecodes["Float"]}
    return [*((scalar, name) for name in names), np.dtype, *kinds, type(np.dtype(bool))]


def _require_intact(path: Path) -> None:
    r"""Compare the checksums of a zip archive, as torch.load does not."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(
            f"{damaged} is damaged by its checksum, or was saved without one (set_crc32_options)"
        )


def _safetensors(path: Path) -> dict[str, Tensor]:
    safetensors = need("safetensors", "to read .safetensors files", "vision")
    load_file = need("safetensors.torch", "to read .safetensors files", "vision").load_file
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"expected a file of safetensors at {path}, got one that is corrupt, cut off or of "
            f"another kind: {_reason(error)}"
        ) from error
    return tensors


def _reason(error: Exception) -> str:
    r"""The first sentence, without advice."""
    text = str(error).partition("WeightsUnpickler error:")
    first = (text[2] or text[0]).strip().partition("\n")[0]
    return f"{type(error).__name__} {first.partition('. ')[0]}".strip()
