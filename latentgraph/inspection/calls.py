r"""What the blocks of a network were given in one run, and what they returned."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from difflib import get_close_matches
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from torch_geometric.data import HeteroData

from latentgraph.nn import NonLocal, OnGrid
from latentgraph.plug import Context


@dataclass(frozen=True, eq=False)
class Call:
    r"""One call of a block.

    Attributes:
        name: of the block in the network; empty if it is the network.
        block: the block.
        arguments: those of its ``forward``, by name.
        output: what it returned, of the shape of ``x``.
        spatial: spatial sizes of the maps, if it ran on any: (B, n, C) with n their product.
    """

    name: str
    block: nn.Module
    arguments: dict[str, Any]
    output: Tensor
    spatial: tuple[int, ...] | None = None

    @property
    def x(self) -> Tensor:
        r"""(N, C) or (B, n, C), what the block was given."""
        x: Tensor = self.arguments["x"]
        return x

    @torch.no_grad()
    def message_graph(self, max_pairs: int = 2**24) -> HeteroData:
        r"""The graph of the call, as the block's own ``message_graph`` writes it out.

        Args:
            max_pairs: for a :class:`~latentgraph.nn.NonLocal` block, which has a weight for each
                pair of nodes of a graph: how many pairs are written out.

        Returns:
            PyG's ``HeteroData``, as :meth:`LatentGNN.message_graph
            <latentgraph.nn.LatentGNN.message_graph>` describes it.

        Raises:
            ValueError: there are more pairs.
        """
        if isinstance(self.block, NonLocal):
            check_pairs(self._num_pairs(), max_pairs)
        with evaluating(self.block):
            graph: HeteroData = self.block.message_graph(**self.arguments)  # type: ignore[operator]
        return graph

    def _num_pairs(self) -> int:
        batch = self.arguments.get("batch")
        if batch is None:
            return self.x.shape[:-2].numel() * self.x.size(-2) ** 2
        sizes = torch.bincount(batch if isinstance(batch, Tensor) else batch.batch)
        return int((sizes * sizes).sum())

    def __repr__(self) -> str:
        where = "" if self.spatial is None else f", spatial={self.spatial}"
        return f"{type(self).__name__}({self.name!r}, {self.block}, x={tuple(self.x.shape)}{where})"


def record(
    model: nn.Module, *args: Any, at: str | type[nn.Module] | None = None, **kwargs: Any
) -> list[Call]:
    r"""Run a network once, in evaluation mode and without gradients, and keep what its blocks did.

    A block is a module that has a ``message_graph``, as those of :mod:`latentgraph.nn` do.

    Args:
        model: the network, or a block, or an :class:`~latentgraph.nn.OnGrid`.
        args: arguments of the network.
        at: name of a block or of a module around it, or a type of blocks; None for all blocks.
        kwargs: further arguments of the network.

    Returns:
        The calls of the blocks, in the order in which they ran.

    Raises:
        ValueError: there is no such block, or none of them ran.
    """
    blocks = find_blocks(model, at)
    calls: list[Call] = []
    spatial: dict[str, tuple[int, ...]] = {}

    def keep(name: str, block: nn.Module) -> Any:
        names = signature(block.message_graph).parameters  # type: ignore[arg-type]

        def hook(module: nn.Module, given: Any, options: Any, output: Any) -> None:
            bound = signature(module.forward).bind(*given, **options).arguments
            arguments = {key: _copy(value) for key, value in bound.items() if key in names}
            out = output[0] if isinstance(output, tuple) else output
            calls.append(Call(name, module, arguments, _copy(out), spatial.get(name)))

        return hook

    def keep_spatial(name: str) -> Any:
        return lambda module, given: spatial.__setitem__(name, tuple(given[0].shape[2:]))

    hooks: list[RemovableHandle] = []
    for name, block in blocks.items():
        hooks.append(block.register_forward_hook(keep(name, block), with_kwargs=True))
        around = model.get_submodule(name.rpartition(".")[0])
        if isinstance(around, OnGrid) or (isinstance(around, Context) and around.layout == "grid"):
            hooks.append(around.register_forward_pre_hook(keep_spatial(name)))
    try:
        with evaluating(model), torch.no_grad():
            model(*args, **kwargs)
    finally:
        for handle in hooks:
            handle.remove()
    if not calls:
        raise ValueError(f"expected a run of {' or '.join(map(repr, blocks))}, which did not run")
    return calls


def find_blocks(model: nn.Module, at: str | type[nn.Module] | None = None) -> dict[str, nn.Module]:
    r"""The blocks of a network, by name.

    Args:
        model: the network.
        at: as in :func:`record`.

    Raises:
        ValueError: there is none.
    """
    blocks = {name: m for name, m in model.named_modules() if hasattr(m, "message_graph")}
    if at is None:
        found, wanted = blocks, "a block"
    elif isinstance(at, str):
        within = f"{at}." if at else ""
        found = {n: m for n, m in blocks.items() if n == at or n.startswith(within)}
        wanted = f"a block at {at!r}"
    else:
        found, wanted = {n: m for n, m in blocks.items() if isinstance(m, at)}, at.__name__
    if not found:
        near = get_close_matches(at, blocks, cutoff=0.3) if isinstance(at, str) else []
        there = ", ".join(map(repr, near or blocks)) or "no block"
        raise ValueError(f"expected {wanted} in {type(model).__name__}, which has {there}")
    return found


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    r"""Evaluation mode for a while; every module gets its own flag back."""
    flags = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, flag in flags.items():
            module.training = flag


def in_float64(call: Call) -> Call:
    r"""The call on parameters and inputs in float64, computed again."""
    block = deepcopy(call.block).double()
    arguments = {
        key: value.double() if isinstance(value, Tensor) and value.is_floating_point() else value
        for key, value in call.arguments.items()
    }
    with evaluating(block), torch.no_grad():
        return replace(call, block=block, arguments=arguments, output=block(**arguments))


def check_pairs(num_pairs: int, max_pairs: int) -> None:
    r"""Raise if there are more pairs of nodes than are to be written out."""
    if num_pairs > max_pairs:
        raise ValueError(
            f"expected at most {max_pairs:,} pairs of nodes to write out, got {num_pairs:,}; "
            "record fewer or smaller graphs, or give max_pairs="
        )


def _copy(value: Any) -> Any:
    # What comes next in the network may write into it.
    return value.detach().clone() if isinstance(value, Tensor) else value
