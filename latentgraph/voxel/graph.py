r"""Graphs between voxels, laid out for the convolution that passes messages along them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from latentgraph.functional.checks import check_count
from latentgraph.voxel.movable import Movable
from latentgraph.voxel.search import first_at_least, pieces_in_turn

INDEX = torch.int32  # half of what int64 takes to read, to keep and to hand over


def block_size_for(device_type: str) -> int:
    r"""Targets in a block.

    On a processor what a block carries, about 8 MB at 32 channels, stays near, and its memory is
    given out anew without a trip to the system. Several threads share the products, which then have
    to be larger. A device gets fewer and larger launches.
    """
    if device_type != "cpu":
        return 65_536
    return 4_096 if torch.get_num_threads() == 1 else 6_144


class Block(NamedTuple):
    r"""The edges into some consecutive targets, relation by relation."""

    targets: slice
    source: Tensor
    target: Tensor
    slot: Tensor
    offset: Tensor
    sizes: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Edges(Movable):
    r"""Directed edges of several relations, grouped by blocks of targets, then by relation.

    The messages into one block stay in a processor's cache: they are made by one matrix product for
    each relation and summed without a trip to memory.

    Attributes:
        source: (E,) int32, node that each edge starts from.
        target: (E,) int32, node that each edge leads to.
        slot: (E,) int32, edges of each target, target after target, as positions in their block.
        offset: (num_targets,) int32, where those of a target start among the slots of its block.
        sizes: number of edges, by block and relation.
        num_sources: number of nodes that edges can start from.
        block_size: targets in a block; the last one may have fewer.
    """

    source: Tensor
    target: Tensor
    slot: Tensor
    offset: Tensor
    sizes: tuple[tuple[int, ...], ...]
    num_sources: int
    block_size: int

    @classmethod
    def build(
        cls,
        relations: Sequence[tuple[Tensor, Tensor]],
        num_sources: int,
        num_targets: int,
        block_size: int | None = None,
    ) -> Edges:
        r"""Lay out edges.

        Args:
            relations: source and target of the edges of each relation, both (e,) int64. A target
                hears from one source at most in a relation, and targets ascend.
            num_sources: number of nodes that edges can start from.
            num_targets: number of nodes that edges can lead to.
            block_size: targets in a block; by default what suits the device of the edges.

        Returns:
            The edges, on the device that they came on.
        """
        sources, targets = zip(*relations, strict=True)
        device = targets[0].device
        if block_size is None:
            block_size = block_size_for(device.type)
        check_count(block_size=block_size)
        bounds = torch.arange(0, num_targets + block_size, block_size, device=device)
        sizes = torch.stack([first_at_least(target, bounds) for target in targets]).diff().tolist()

        source = pieces_in_turn(sources, sizes, INDEX)
        target = pieces_in_turn(targets, sizes, INDEX)
        degree = target.bincount(minlength=num_targets)
        offset = degree.cumsum(0) - degree
        free, place = offset.clone(), []
        for nodes in targets:
            place.append(free.index_select(0, nodes))
            free.scatter_(0, nodes, place[-1] + 1)
        every = torch.arange(len(target), dtype=INDEX, device=device)
        slot = torch.empty_like(target).scatter_(
            0, pieces_in_turn(place, sizes, torch.int64), every
        )
        by_block = tuple(zip(*sizes, strict=True))
        ends = slot.split([sum(block) for block in by_block]), offset.split(block_size)
        for slots, offsets in zip(*ends, strict=False):
            first = offsets[0].clone()
            slots -= first
            offsets -= first
        return cls(source, target, slot, offset.to(INDEX), by_block, num_sources, block_size)

    @property
    def num_targets(self) -> int:
        r"""Number of nodes that edges can lead to."""
        return self.offset.size(0)

    def blocks(self) -> Iterator[Block]:
        r"""The edges, block by block."""
        start = 0
        for i, sizes in enumerate(self.sizes):
            edges = slice(start, start := start + sum(sizes))
            targets = slice(i * self.block_size, min((i + 1) * self.block_size, self.num_targets))
            source, target, slot = (t[edges] for t in (self.source, self.target, self.slot))
            yield Block(targets, source, target, slot, self.offset[targets], sizes)


@dataclass(frozen=True, eq=False)
class VoxelGraph(Movable):
    r"""Voxels that send to voxels, one relation for each position in a convolution kernel.

    Attributes:
        edges: the edges.
        reverse: the same edges turned round; None where these are the edges themselves, relation k
            of K turned into relation K - 1 - k, as between the voxels of one grid.
        num_relations: number of positions in the kernel.
    """

    edges: Edges
    reverse: Edges | None
    num_relations: int

    @property
    def num_sources(self) -> int:
        r"""Number of voxels that send."""
        return self.edges.num_sources

    @property
    def num_targets(self) -> int:
        r"""Number of voxels that receive."""
        return self.edges.num_targets

    @property
    def edge_index(self) -> Tensor:
        r"""(2, E) int64, source and target of each edge, as PyG has it."""
        return torch.stack([self.edges.source, self.edges.target]).long()

    @property
    def edge_type(self) -> Tensor:
        r"""(E,) int64, relation of each edge."""
        device = self.edges.source.device
        sizes = torch.tensor(self.edges.sizes, dtype=torch.int64, device=device).flatten()
        relation = torch.arange(self.num_relations, device=device).repeat(len(self.edges.sizes))
        return relation.repeat_interleave(sizes)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(num_sources={self.num_sources}, "
            f"num_targets={self.num_targets}, num_relations={self.num_relations}, "
            f"num_edges={self.edges.source.size(0)})"
        )
