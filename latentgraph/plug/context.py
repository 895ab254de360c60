r"""What runs a block behind a module of a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor, nn
from torch.fx import Proxy
from torch.nn.modules.module import register_module_module_registration_hook

from latentgraph.nn import OnGrid
from latentgraph.nn.on_grid import call_on_grid
from latentgraph.plug.graphs import graphs_of_call

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

    def forward(self, x: Tensor, from_hook: bool = False) -> Tensor:
        r"""Run the block on what the module gave, unless that is the hook's task.

        Args:
            x: the module's output, of the shape that its layout has.
            from_hook: whether the hook calls.

        Returns:
            The same shape.

        Raises:
            ValueError: the output or its graphs do not fit the block.
        """
        if self.hooked and not from_hook:
            return x
        if isinstance(x, Proxy):  # a leaf of torch.fx: what is checked here has no value there
            path, options = x.tracer.path_of_module(self), {"from_hook": from_hook}
            return x.tracer.create_proxy("call_module", path, (x,), options)
        check_output(x, self.at)
        return self.run(x, *(graphs_of_call(self.at) if self.layout == "nodes" else ()))

    def run(self, x: Tensor, *graphs: Any) -> Tensor:
        r"""The block on ``x``, which has the layout, and on the graphs of its nodes.

        Args:
            x: of the shape that the layout has.
            graphs: what the block takes as ``batch`` and ``batch_size``.

        Returns:
            The same shape.

        Raises:
            ValueError: the shape does not fit, or the block does not keep it.
        """
        check_shape(x.shape, self.at, self.channels, self.layout)
        if self.layout == "nodes" or isinstance(self.block, OnGrid):
            return self._call(x, *graphs)
        if self.layout == "grid":
            return call_on_grid(self._call, x)
        return self._call(x.flatten(1, -2)).reshape(x.shape)

    def _call(self, x: Tensor, *graphs: Any) -> Tensor:
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


def detach(parent: nn.Module) -> None:
    r"""Take the block and its hook away."""
    del parent.context
    for key, hook in list(parent._forward_hooks.items()):
        if hook is run_context:
            del parent._forward_hooks[key]


def _attach(parent: nn.Module, name: str, child: nn.Module | None) -> None:
    takes_block = isinstance(child, Context) and child.hooked and name == "context"
    if takes_block and run_context not in parent._forward_hooks.values():
        parent.register_forward_hook(run_context)


# Torch calls this for every module that becomes a child of another; it heeds a Context alone.
# SyncBatchNorm.convert_sync_batchnorm and its like put a new module in the place of a batch norm,
# to which they move the children but not the hooks: so the child brings its hook with it.
register_module_module_registration_hook(_attach)
