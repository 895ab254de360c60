r"""The keys of a state dict, each used once or an error, and the report of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

LINEAR = ("weight", "bias")
BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


@dataclass
class Report:
    r"""Where the weights of a converted module come from.

    Attributes:
        used: for each key of the state dict under the prefix, the name in the module of what it
            became.
        filled: for each name in the module that no key stands for, what it was set to.
        settings: what no key can tell, as it was given or by default.
        outside: keys that are not under the prefix of a whole checkpoint, those of heads, say.
    """

    used: dict[str, str]
    filled: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    outside: tuple[str, ...] = ()

    def __str__(self) -> str:
        width = max(map(len, (*self.used, *self.filled)), default=0)
        lines = [f"{key:{width}} -> {name}" for key, name in self.used.items()]
        lines += [f"{name:{width}} =  {value}" for name, value in self.filled.items()]
        lines += [f"{name} = {value!r}, as no key tells" for name, value in self.settings.items()]
        return "\n".join([*lines, *(f"{key} is outside" for key in self.outside)])


class Keys:
    r"""The part of a state dict under a prefix.

    Args:
        state_dict: the whole.
        prefix: with or without its last dot; ``""`` for all keys.
        kind: what is looked for, for messages.

    Raises:
        TypeError: it is no state dict.
        ValueError: no key has the prefix.
    """

    def __init__(self, state_dict: Mapping[str, Tensor], prefix: str, kind: str) -> None:
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"expected a state dict, got {type(state_dict).__name__}")
        self.prefix = f"{prefix}." if prefix and not prefix.endswith(".") else prefix
        self.kind = kind
        self.tensors = {
            key[len(self.prefix) :]: value
            for key, value in state_dict.items()
            if isinstance(key, str) and key.startswith(self.prefix)
        }
        if not self.tensors:
            parents = {key.rpartition(".")[0]: None for key in map(str, state_dict)}
            near = get_close_matches(self.prefix, parents, n=3, cutoff=0.3) or list(parents)[:3]
            raise ValueError(
                f"expected {kind} under {prefix!r}, got no such key; near are {listed(near)}"
            )
        for key, value in self.tensors.items():
            if not isinstance(value, Tensor):
                raise TypeError(
                    f"expected a state dict of tensors, got {type(value).__name__} at "
                    f"{self.prefix + key!r}"
                )

    def has(self, start: str) -> bool:
        r"""Whether any key starts so."""
        return any(key.startswith(start) for key in self.tensors)

    def shape(self, key: str) -> torch.Size:
        r"""Shape of the matrix or kernel at a key that is there."""
        shape = self.tensors[key].shape
        if len(shape) < 2:
            raise ValueError(
                f"expected {self.prefix + key!r} of shape (out, in, ...), got {tuple(shape)}"
            )
        return shape

    @property
    def dtype(self) -> torch.dtype:
        r"""That of all parameters."""
        found = {t.dtype for t in self.tensors.values() if t.is_floating_point()}
        if len(found) != 1:
            names = sorted(map(str, found)) or sorted({str(t.dtype) for t in self.tensors.values()})
            raise ValueError(
                f"expected {self.kind} under {self.prefix!r} in one floating-point dtype, got "
                f"{listed(names)}"
            )
        return found.pop()

    def check(self, names: Mapping[str, str]) -> None:
        r"""Raise unless the keys are these, but for counters of batches, which may be missing."""
        missing = [
            key for key in names if key not in self.tensors and not key.endswith(BATCH_NORM[-1])
        ]
        left = [key for key in self.tensors if key not in names]
        if missing or left:
            raise ValueError(
                f"expected the keys of {self.kind} under {self.prefix!r}; missing: "
                f"{listed(missing)}; left over: {listed(left)}"
            )

    def fill(
        self, module: nn.Module, names: Mapping[str, str], zeros: Iterable[str] = ()
    ) -> Report:
        r"""Give a module on the meta device its tensors, copies of those at the keys.

        Args:
            module: as large as the keys say.
            names: for each key the name in the module.
            zeros: names in the module of what is zero and has no key.

        Raises:
            ValueError: shapes do not fit, or there is not one dtype.
        """
        empty, values = module.state_dict(), {}
        used = {key: name for key, name in names.items() if key in self.tensors}
        for key, name in used.items():
            value, wanted = self.tensors[key], empty[name].shape
            ones = value.shape[len(wanted) :]
            if value.shape[: len(wanted)] != wanted or math.prod(ones) != 1:
                raise ValueError(
                    f"expected {self.prefix + key!r} of shape {tuple(wanted)}, but for sides of "
                    f"length 1 at the end, got {tuple(value.shape)}"
                )
            values[name] = value.detach().reshape(wanted).clone()
        device = next(iter(self.tensors.values())).device
        filled = [*zeros, *(name for key, name in names.items() if key not in used)]
        values |= {name: torch.zeros_like(empty[name], device=device) for name in filled}
        module.load_state_dict(values, assign=True)
        used = {self.prefix + key: name for key, name in used.items()}
        return Report(used, dict.fromkeys(filled, "zeros"))


def renamed(theirs: str, ours: str, leaves: Iterable[str]) -> dict[str, str]:
    r"""Names of the tensors of one layer."""
    return {f"{theirs}.{leaf}": f"{ours}.{leaf}" for leaf in leaves}


def set_eps(block: nn.Module, eps: float) -> None:
    r"""Set the eps of all batch norms."""
    for module in block.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.eps = eps


def listed(names: Iterable[str], most: int = 6) -> str:
    r"""Some of the names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "none") + more
