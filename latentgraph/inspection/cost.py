r"""Parameters and multiply-adds of a network, block by block."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from latentgraph.inspection.calls import evaluating, find_blocks


class Cost(NamedTuple):
    r"""What something costs.

    Attributes:
        parameters: numbers in them.
        multiply_adds: of matrix products and convolutions, a multiplication and an addition as one.
    """

    parameters: int
    multiply_adds: int


class Costs(NamedTuple):
    r"""Costs of a network.

    Attributes:
        total: of all of it.
        blocks: of each block, by name.
    """

    total: Cost
    blocks: dict[str, Cost]

    @property
    def rest(self) -> Cost:
        r"""Of all but the blocks."""
        parameters, multiply_adds = (sum(c[i] for c in self.blocks.values()) for i in (0, 1))
        return Cost(self.total.parameters - parameters, self.total.multiply_adds - multiply_adds)


def costs(
    model: nn.Module, *args: Any, at: str | type[nn.Module] | None = None, **kwargs: Any
) -> Costs:
    r"""Count in one run, in evaluation mode and without gradients.

    Multiply-adds are half of what torch's ``FlopCounterMode`` counts, with attention as the
    products it is made of. On the meta device nothing is computed.

    Args:
        model: the network, or a block.
        args: arguments of the network.
        at: name of a block or of a module around it, or a type of blocks; None for all blocks,
            which may be none.
        kwargs: further arguments of the network.

    Returns:
        Parameters and multiply-adds of the network and of each block.

    Raises:
        ValueError: there is no block of that name or type.
    """
    has_blocks = any(hasattr(module, "message_graph") for module in model.modules())
    blocks = find_blocks(model, at) if at is not None or has_blocks else {}
    counter = FlopCounterMode(display=False)
    flops = dict.fromkeys(blocks, 0)

    def add(name: str, sign: int) -> Any:
        def hook(*_: Any) -> None:
            flops[name] += sign * counter.get_total_flops()

        return hook

    hooks = []
    for name, block in blocks.items():
        hooks.append(block.register_forward_pre_hook(add(name, -1)))
        hooks.append(block.register_forward_hook(add(name, 1)))
    try:
        with evaluating(model), torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
            model(*args, **kwargs)
    finally:
        for handle in hooks:
            handle.remove()
    found = {name: Cost(_parameters(block), flops[name] // 2) for name, block in blocks.items()}
    return Costs(Cost(_parameters(model), counter.get_total_flops() // 2), found)


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
