r"""The handle of blocks that were inserted into a network."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from latentgraph.plug.context import Context, detach


class Inserted:
    r"""Blocks that were inserted, as :func:`insert` returns them.

    Args:
        model: the network.
        places: names of the modules behind which the blocks run.
        hooks: those of the network itself.
    """

    def __init__(self, model: nn.Module, places: list[str], hooks: list[RemovableHandle]) -> None:
        self.model, self.places, self._hooks = model, places, hooks

    @property
    def blocks(self) -> dict[str, nn.Module]:
        r"""The blocks, by the names of the modules behind which they run."""
        return {at: context.block for at, context in self._contexts().items()}

    def parameters(self) -> Iterator[nn.Parameter]:
        r"""Parameters of the blocks, each once."""
        return nn.ModuleList(self._contexts().values()).parameters()

    @property
    def identity(self) -> bool:
        r"""Whether the blocks, as they are now, leave what they are given unchanged.

        True for blocks that add, until they are trained; False for a gate. They are tried in
        evaluation mode, on a few numbers.
        """
        return all(_is_identity(context) for context in self._contexts().values())

    def remove(self) -> None:
        r"""Take the blocks out, which leaves the network as it was before."""
        for at in self._contexts():
            detach(self.model.get_submodule(at))
        for hook in self._hooks:
            hook.remove()
        self.places, self._hooks = [], []

    def _contexts(self) -> dict[str, Context]:
        found = {at: self.model.get_submodule(f"{at}.context") for at in self.places}
        return {at: context for at, context in found.items() if isinstance(context, Context)}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self.places)})"


@torch.no_grad()
def _is_identity(context: Context) -> bool:
    like = next(context.parameters(), torch.empty(0))
    x = torch.linspace(-1, 1, 70 * context.channels, dtype=like.dtype, device=like.device)
    shape = {"grid": (2, -1, 5, 7), "tokens": (2, 35, -1), "nodes": (70, -1)}[context.layout]
    flags = {module: module.training for module in context.modules()}
    context.eval()
    try:
        return torch.equal(context.run(x.view(shape)), x.view(shape))
    finally:
        for module, flag in flags.items():
            module.training = flag
