r"""Small random grids, and their graphs found one pair of voxels at a time."""

from itertools import product

import torch
from torch import Tensor

Edge = tuple[int, int, int]  # relation, source, target


def random_voxels(number: int = 131, side: int = 7, batch_size: int = 3) -> tuple[Tensor, Tensor]:
    r"""``coord`` and ``batch`` of different voxels in no order; grid 1 of several is empty."""
    place = torch.randperm(batch_size * side**3)[:number]
    batch = place // side**3
    place, batch = (place[batch != 1], batch[batch != 1]) if batch_size > 1 else (place, batch)
    place = place % side**3
    return torch.stack([place // side**2, place // side % side, place % side], dim=1), batch


def full_grid(side: tuple[int, int, int]) -> Tensor:
    r"""All voxels of a box, in order."""
    return torch.tensor(list(product(*map(range, side))))


def neighbor_edges(coord: Tensor, batch: Tensor, kernel_size: int) -> set[Edge]:
    r"""The edges of ``neighbor_graph`` by its definition."""
    radius = kernel_size // 2
    offsets = list(product(range(-radius, radius + 1), repeat=3))
    place = {(int(b), *c): i for i, (b, c) in enumerate(zip(batch, coord.tolist(), strict=True))}
    return {
        (k, place[b, x + dx, y + dy, z + dz], i)
        for (b, x, y, z), i in place.items()
        for k, (dx, dy, dz) in enumerate(offsets)
        if (b, x + dx, y + dy, z + dz) in place
    }
