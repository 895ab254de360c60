r"""Graphs and feature maps of the sizes that are measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Case:
    r"""Some graphs, or feature maps, and the block on them.

    Attributes:
        name: unique.
        sizes: nodes of each graph.
        channels: C.
        latent_dims: latent nodes of each kernel.
        reduction: by which channels are reduced inside.
        is_map: whether the graphs are feature maps, given channel-first.
    """

    name: str
    sizes: tuple[int, ...]
    channels: int = 128
    latent_dims: tuple[int, ...] = (64,)
    reduction: int = 4
    is_map: bool = False

    @cached_property
    def num_nodes(self) -> int:
        r"""N, of all graphs."""
        return sum(self.sizes)

    @property
    def spatial(self) -> tuple[int, int]:
        r"""Height and width that a graph of this many nodes has as a map, nearly square."""
        size = self.sizes[0]
        height = next(h for h in range(math.isqrt(size), 0, -1) if size % h == 0)
        return height, size // height

    def nodes(self) -> Tensor:
        r"""(N, C), random, the same at every call."""
        generator = torch.Generator().manual_seed(len(self.sizes))
        return torch.randn(self.num_nodes, self.channels, generator=generator)

    def as_maps(self, x: Tensor) -> Tensor:
        r"""Nodes (N, C) as (B, C, H, W), contiguous."""
        rows = x.view(len(self.sizes), -1, self.channels)
        return rows.mT.contiguous().view(len(self.sizes), self.channels, *self.spatial)

    def as_nodes(self, maps: Tensor) -> Tensor:
        r"""(B, C, H, W) as nodes (N, C)."""
        return maps.flatten(2).mT.reshape(self.num_nodes, -1)

    def batch(self) -> Tensor | None:
        r"""(N,), the graph of each node; None for one graph."""
        if len(self.sizes) == 1:
            return None
        return torch.repeat_interleave(torch.arange(len(self.sizes)), torch.tensor(self.sizes))


NODE_COUNTS = (1_000, 2_500, 10_000, 50_000, 250_000, 1_000_000, 4_000_000)
LARGE = 50_000  # from here on neither time per node nor extra memory may grow
LATENT_COUNTS = (16, 32, 64, 128, 256)


def nodes(count: int, latents: int = 64) -> Case:
    r"""One graph of 128 channels."""
    suffix = "" if latents == 64 else f", d={latents}"
    return Case(f"N={count}{suffix}", (count,), latent_dims=(latents,))


WIDE = Case("N=40000, C=256, d=100", (40_000,), 256, (100,))
HALF_MEGAPIXEL = Case("1x256x500x500", (250_000,), 256, (100,), is_map=True)
MAPS = Case("8x1024x30x30", (900,) * 8, 1024, (100, 100), 8, is_map=True)
LARGE_MAP = Case("1x256x200x200", (40_000,), 256, (100,), is_map=True)
BESIDE_SMALL = Case("1 graph of 4000 beside 31 of 100", (4_000,) + (100,) * 31)
AS_ONE = Case("the same nodes as one graph", (sum(BESIDE_SMALL.sizes),))


def _between(count: int, low: int, high: int) -> Case:
    generator = torch.Generator().manual_seed(count)
    sizes = torch.randint(low, high + 1, (count,), generator=generator)
    return Case(f"{count} graphs of {low} to {high}", tuple(sizes.tolist()))


RAGGED = (
    _between(4, 20_000, 60_000),
    _between(32, 100, 5_000),
    _between(256, 20, 400),
    _between(4_096, 10, 50),
    _between(16_384, 5, 30),
)


def equal_sized(case: Case) -> Case:
    r"""As many graphs and nodes, but for a remainder, in graphs of one size."""
    size = round(case.num_nodes / len(case.sizes))
    return Case(f"{len(case.sizes)} graphs of {size}", (size,) * len(case.sizes))


def _all_cases() -> dict[str, Case]:
    cases = [nodes(count) for count in NODE_COUNTS]
    cases += [nodes(50_000, latents) for latents in LATENT_COUNTS if latents != 64]
    cases += [WIDE, HALF_MEGAPIXEL, MAPS, LARGE_MAP, BESIDE_SMALL, AS_ONE]
    cases += [*RAGGED, *map(equal_sized, RAGGED)]
    return {case.name: case for case in cases}


CASES = _all_cases()
