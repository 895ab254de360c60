r"""What runs a block behind a module of a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor, nn
from torch.fx import Proxy
from torch.nn.modules.module import register_module_module_registration_hook
from torch_geometric.data import Data

from latentgraph.nn import OnGrid

Layout = Literal["grid", "tokens", "nodes"]

SHAPES: dict[Layout, str] = {
    "grid": "(B, {}, *spatial)",
    "tokens": "(B, *n, {})",
    "nodes": "(N, {})",
}


class Context(nn.Module):
    r"""A block as the child ``context`` of the module behind which it runs.

    A ``Sequential`` runs the block itself, as its last child. Behind any other module a forward
    hook does; as some of these run their children too, what comes from there is handed back.

    Args:
        block: called as ``block(x)`` on (B, n, C), or ``block(x, batch, batch_size)`` on (N, C).
        at: name of the module, for messages.
        channels: C.
        layout: ``"grid"`` (B, C, \*spatial), ``"tokens"`` (B, \*n, C) or ``"nodes"`` (N, C).
        hooked: whether a forward hook runs it.
    """

    def __init__(
        self, block: nn.Module, at: str, channels: int, layout: Layout, hooked: bool
    ) -> None:
        super().__init__()
        self.block, self.at, self.channels = block, at, channels
        self.layout, self.hooked = layout, hooked
        self.graphs: tuple[Any, ...] = ()

    def forward(self, x: Tensor, from_hook: bool = False) -> Tensor:
        r"""Run the block on what the module gave, unless that is the hook's task."""
        if self.hooked and not from_hook:
            return x
        if isinstance(x, Proxy):  # a leaf of torch.fx: what is checked here has no value there
            path, options = x.tracer.path_of_module(self), {"from_hook": from_hook}
            return x.tracer.create_proxy("call_module", path, (x,), options)
        check_output(x, self.at)
        check_shape(x.shape, self.at, self.channels, self.layout)
        if self.layout == "nodes":
            return self._run(x, *self.graphs)
        if self.layout == "tokens":
            return self._run(x.flatten(1, -2)).reshape(x.shape)
        if isinstance(self.block, OnGrid):
            out = self._run(x)
        else:
            out = self._run(x.flatten(2).mT).mT.reshape(x.shape)
        # Strides of sides of length 1 are free, yet convolutions choose their algorithm by them.
        same = out.stride() == x.stride() or not x.is_contiguous()
        return out if same else out.flatten().view(x.shape)

    def _run(self, x: Tensor, *graphs: Any) -> Tensor:
        out: Tensor = self.block(x, *graphs)
        if out.shape != x.shape:
            raise ValueError(
                f"expected the block at {self.at!r} to keep the shape {tuple(x.shape)}, "
                f"got {tuple(out.shape)}"
            )
        return out

    def extra_repr(self) -> str:
        r"""How it takes the module's output."""
        return f"layout={self.layout!r}"


def check_output(output: object, at: str) -> None:
    r"""Raise unless a module returned one tensor."""
    if not isinstance(output, Tensor):
        raise TypeError(f"expected a Tensor from {at!r}, got {type(output).__name__}")


def check_shape(shape: Sequence[int], at: str, channels: int, layout: Layout) -> None:
    r"""Raise unless ``shape`` is that of the layout, with these channels."""
    dims = {"grid": range(3, 6), "tokens": range(3, 7), "nodes": range(2, 3)}[layout]
    if len(shape) not in dims or shape[1 if layout == "grid" else -1] != channels:
        others = " or ".join(repr(other) for other in SHAPES if other != layout)
        raise ValueError(
            f"expected {SHAPES[layout].format(channels)} from {at!r}, got {tuple(shape)}; "
            f"give channels= or layout={others} if these were not found rightly"
        )


def run_context(module: nn.Module, args: Any, output: Any) -> Tensor:
    r"""The forward hook. It asks the module for its block, so that a copy runs its own."""
    return module.context(output, from_hook=True)  # type: ignore[operator, no-any-return]


def _attach(parent: nn.Module, name: str, child: nn.Module | None) -> None:
    r"""Hook up a block wherever it is registered.

    A module that another takes the place of, as in the conversion to SyncBatchNorm, hands over its
    children but not its hooks.
    """
    needs_hook = name == "context" and isinstance(child, Context) and child.hooked
    if needs_hook and run_context not in parent._forward_hooks.values():
        parent.register_forward_hook(run_context)


def detach(parent: nn.Module) -> None:
    r"""Take the block and its hook away."""
    del parent.context
    for key, hook in list(parent._forward_hooks.items()):
        if hook is run_context:
            del parent._forward_hooks[key]


register_module_module_registration_hook(_attach)


class TellGraphs:
    r"""Forward pre-hook of a network: its ``batch`` goes to the blocks that run on nodes.

    Args:
        names: of the arguments of the network; if ``batch`` is not among them, behind the first,
            its graphs are those of a PyG ``Data``.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)

    def __call__(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = {**dict(zip(self.names, args, strict=False)), **kwargs}
        if "batch" in self.names[1:]:
            batch = given.get("batch")
        else:
            data = [value for value in given.values() if isinstance(value, Data)]
            batch = data[0].batch if data else None
        _tell(model, () if batch is None else (batch, given.get("batch_size")))


def forget_graphs(model: nn.Module, args: Any, output: Any) -> None:
    r"""Forward hook of a network: its graphs were those of one call."""
    _tell(model, ())


def _tell(model: nn.Module, graphs: tuple[Any, ...]) -> None:
    for module in model.modules():
        if isinstance(module, Context) and module.layout == "nodes":
            module.graphs = graphs
