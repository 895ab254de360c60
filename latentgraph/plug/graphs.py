r"""The graphs of nodes: from a call of a network to the blocks inside it."""

from __future__ import annotations

from collections.abc import Sequence
from threading import local
from typing import Any

from torch import nn
from torch_geometric.data import Data


class _Calls(local):
    r"""Calls of networks that run now in a thread, the innermost last."""

    def __init__(self) -> None:
        # A list, since torch.compile loses what is assigned to an attribute of a thread's own.
        self.graphs: list[tuple[Any, ...]] = []


# Not an attribute of the network's modules, where torch.compile takes every size to be fixed.
_CALLS = _Calls()


class TellGraphs:
    r"""Forward pre-hook of a network: keeps the graphs of its nodes for the blocks inside.

    Args:
        names: of the arguments of the network's ``forward``.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)

    @property
    def has_batch(self) -> bool:
        r"""Whether the network takes ``batch``; as first argument that would be all its input."""
        return "batch" in self.names[1:]

    def __call__(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = {**dict(zip(self.names, args, strict=False)), **kwargs}
        batch = given.get("batch") if self.names[:1] != ("batch",) else None
        for value in given.values():
            if isinstance(value, Data):
                batch = value.batch
        _CALLS.graphs.append(() if batch is None else (batch, given.get("batch_size")))


def forget_graphs(model: nn.Module, *call: Any) -> None:
    r"""Forward hook of a network."""
    # The output stays inside `call`: torch.compile runs hooks of a network as functions of their
    # own, and reads .grad of each argument, at which torch warns for most outputs.
    _CALLS.graphs.pop()


def graphs_of_call(at: str) -> tuple[Any, ...]:
    r"""``batch`` and ``batch_size``, or nothing where all nodes are one graph."""
    if not _CALLS.graphs:
        raise RuntimeError(
            f"expected the block at {at!r} to run in a call of the network it was inserted into, "
            "which tells it the graphs of its nodes, got a call of a part of the network"
        )
    return _CALLS.graphs[-1]
