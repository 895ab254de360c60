r"""Blocks on feature maps: pixels as the nodes of one graph for each sample."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from latentgraph.functional.checks import check_tensors
from latentgraph.nn.sub_sampling import GridPool, PoolAt, checked_pool_at


def grid_to_nodes(x: Tensor) -> tuple[Tensor, Tensor]:
    r"""The positions of feature maps as nodes.

    Args:
        x: (B, C, \*spatial) with 1, 2 or 3 spatial dimensions.

    Returns:
        (B·n, C) node features, a view where ``x`` is channels-last, and (B·n,) the sample of each.
    """
    _check_grid(x)
    nodes = x.flatten(2).mT
    batch = torch.arange(x.size(0), device=x.device).repeat_interleave(nodes.size(1))
    return nodes.flatten(0, 1), batch


def nodes_to_grid(x: Tensor, spatial: tuple[int, ...]) -> Tensor:
    r"""Nodes, as from :func:`grid_to_nodes`, as feature maps.

    Args:
        x: (B·n, C) node features.
        spatial: sizes of the 1, 2 or 3 spatial dimensions, n in all.

    Returns:
        (B, C, \*spatial), a view.

    Raises:
        ValueError: the nodes do not fill whole maps.
    """
    check_tensors(x=x)
    num_nodes = torch.Size(spatial).numel()
    if x.dim() != 2 or num_nodes == 0 or x.size(0) % num_nodes:
        raise ValueError(
            f"expected x of shape (B*{num_nodes}, C) for maps of {tuple(spatial)}, "
            f"got {tuple(x.shape)}"
        )
    channels_first = x.view(-1, num_nodes, x.size(1)).mT
    return channels_first.view(*channels_first.shape[:2], *spatial)


class OnGrid(nn.Module):
    r"""A block of this library on feature maps.

    Every position of a map is a node, every sample a graph. The block gets (B, n, C), a view of the
    map in its own memory: a channel-first map is not transposed.

    Args:
        block: called as ``block(x)`` on (B, n, C).
        pool: for a block that can sub-sample its senders, as :class:`NonLocal` can: size p of the
            max-pool over p x p positions, of each frame in 3-D; a rest at the border is left out.
            None keeps all.
        pool_at: ``"input"`` pools before the block projects the senders, ``"projected"`` after;
            None leaves it to the block.

    Raises:
        ValueError: ``pool`` is below 1, or for a block without senders to sub-sample, or missing
            beside ``pool_at``.
        TypeError: ``block`` is no Module.
    """

    def __init__(
        self,
        block: nn.Module,
        pool: int | None = None,
        pool_at: PoolAt | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(block, nn.Module):
            raise TypeError(f"expected block as a Module, got {block!r}")
        if pool is None and pool_at is not None:
            raise ValueError(f"expected pool= beside pool_at={pool_at!r}, got None")
        if pool is not None:
            if type(pool) is not int or pool < 1:
                raise ValueError(f"expected pool as an int of 1 or more, got {pool!r}")
            if pool_at is not None:
                checked_pool_at(pool_at)
            if "pool" not in signature(block.forward).parameters:
                raise ValueError(
                    "expected a block that takes pool=, as NonLocal does, got "
                    f"{type(block).__name__}"
                )
        self.block, self.pool, self.pool_at = block, pool, pool_at

    def reset_parameters(self) -> None:
        r"""New random weights of the block."""
        self.block.reset_parameters()  # type: ignore[operator]

    def forward(self, x: Tensor) -> Tensor:
        r"""Run the block on every sample.

        Args:
            x: (B, C, \*spatial) with 1, 2 or 3 spatial dimensions, contiguous or channels-last.

        Returns:
            Shape, dtype and memory format of ``x``.

        Raises:
            ValueError: ``x`` has no or more than 3 spatial dimensions, or too few positions to
                pool.
        """
        _check_grid(x)
        options: dict[str, Any] = {}
        if self.pool is not None:
            options = {"pool": GridPool(x.shape[2:], self.pool), "pool_at": self.pool_at}
        return call_on_grid(self.block, x, **options)

    def extra_repr(self) -> str:
        r"""The sub-sampling."""
        return "" if self.pool is None else f"pool={self.pool}, pool_at={self.pool_at!r}"


def call_on_grid(block: Callable[..., Tensor], x: Tensor, **options: Any) -> Tensor:
    r"""Call a block with (B, n, C), a view of the maps (B, C, \*spatial), and make its output maps.

    The output has the strides of the maps if they are contiguous in a memory format, and is
    contiguous otherwise.
    """
    form = _memory_format(x)
    out = block(x.flatten(2).mT, **options).mT.view(x.shape).contiguous(memory_format=form)
    if out.stride() == x.stride() or not x.is_contiguous(memory_format=form):
        return out
    # Only strides of sides of length 1 can differ here. They are free, yet tell the memory format:
    # convolutions choose their algorithm, and so the last bits of what they give, by them.
    return out.as_strided(x.shape, x.stride())


def _check_grid(x: Tensor) -> None:
    check_tensors(x=x)
    if not 3 <= x.dim() <= 5:
        raise ValueError(
            "expected x of shape (B, C, *spatial) with 1, 2 or 3 spatial dimensions, "
            f"got {tuple(x.shape)}"
        )


def _memory_format(x: Tensor) -> torch.memory_format:
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.dim())
    if last is not None and not x.is_contiguous() and x.is_contiguous(memory_format=last):
        return last
    return torch.contiguous_format
