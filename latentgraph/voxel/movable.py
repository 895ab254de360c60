r"""Structures of tensors that go through loaders and to devices as one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

M = TypeVar("M", bound="Movable")


class Movable:
    r"""A frozen dataclass of tensors that moves as one, as PyG, Lightning and loaders ask for."""

    def apply(self: M, function: Callable[[Tensor], Tensor]) -> M:
        r"""The same with each of its tensors replaced; tensors that are shared stay shared."""
        seen: dict[int, Tensor] = {}

        def once(tensor: Tensor) -> Tensor:
            if id(tensor) not in seen:
                seen[id(tensor)] = function(tensor)
            return seen[id(tensor)]

        return self._replaced(once)

    def _replaced(self: M, function: Callable[[Tensor], Tensor]) -> M:
        def replaced(value: Any) -> Any:
            if isinstance(value, Tensor):
                return function(value)
            if isinstance(value, Movable):
                return value._replaced(function)
            if isinstance(value, tuple) and value and isinstance(value[0], Movable):
                return tuple(replaced(item) for item in value)
            return value

        changes = {f.name: replaced(getattr(self, f.name)) for f in fields(self)}  # type: ignore[arg-type]
        return replace(self, **changes)  # type: ignore[type-var]

    def to(self: M, device: torch.device | str | int, non_blocking: bool = False) -> M:
        r"""The same on a device."""
        return self.apply(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self: M) -> M:
        r"""The same in page-locked memory, from which copies to a GPU need not wait."""
        return self.apply(lambda tensor: tensor.pin_memory())
