r"""All voxel graphs that a U-Net needs for one input, computed once."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch_geometric.utils import scatter

from latentgraph.functional import Ragged
from latentgraph.functional.checks import check_count, check_tensors
from latentgraph.voxel.graph import VoxelGraph
from latentgraph.voxel.grid import coarsen, neighbor_graph, neighbor_graphs
from latentgraph.voxel.movable import Movable


@dataclass(frozen=True, eq=False)
class VoxelLevel(Movable):
    r"""Voxels of one resolution.

    Attributes:
        coord: (n, 3) int64, grid coordinates.
        batch: (n,) int64, the grid of each voxel; None for one grid.
        neighbors: graph of the submanifold convolutions of this level, which share it.
        parent: (n,) int64, voxel of the next coarser level that each lies in; None at the coarsest.
        down: graph to the next coarser level; None at the coarsest.
        up: graph from there.
    """

    coord: Tensor
    batch: Tensor | None
    neighbors: VoxelGraph
    parent: Tensor | None = None
    down: VoxelGraph | None = None
    up: VoxelGraph | None = None

    @property
    def num_voxels(self) -> int:
        r"""Number of voxels."""
        return self.coord.size(0)


@dataclass(frozen=True, eq=False)
class VoxelLevels(Movable):
    r"""The same voxels at one resolution after another, each half as fine as the one before.

    :class:`~latentgraph.models.VoxelUNet` takes it in place of ``coord``. It may be built in a
    worker of a data loader and travel in a batch: it can be pickled, pinned and moved.

    Attributes:
        levels: the levels, finest first.
        stem: graph of the first convolution.
        batch_size: number of grids; None for one grid without ``batch``.
    """

    levels: tuple[VoxelLevel, ...]
    stem: VoxelGraph
    batch_size: int | None

    @classmethod
    def build(
        cls,
        coord: Tensor,
        batch: Tensor | Ragged | None = None,
        batch_size: int | None = None,
        num_levels: int = 3,
        kernel_size: int = 3,
        stem_kernel_size: int | None = None,
        block_size: int | None = None,
    ) -> VoxelLevels:
        r"""Find all neighbors and parents.

        Args:
            coord: (n, 3) integer grid coordinates from 0 to 65,535, in any order, none twice.
            batch: (n,) int64, the grid of each voxel, or None for one grid.
            batch_size: number of grids; by default the largest entry of ``batch`` plus one.
            num_levels: number of resolutions.
            kernel_size: edge of the kernels, odd.
            stem_kernel_size: edge of the kernel of the first convolution; by default the same.
            block_size: see :class:`~latentgraph.voxel.graph.Edges`; wanted where a graph is built
                on another device than the one that uses it.

        Returns:
            All levels, on the device of ``coord``.

        Raises:
            TypeError: ``coord`` does not hold integers, or ``batch`` is not int64.
            ValueError: a voxel occurs twice, a number is out of range, or a shape or a size does
                not fit.
        """
        check_tensors(coord=coord)
        check_count(num_levels=num_levels)
        ragged = Ragged.of(batch, batch_size, num_nodes=coord.size(0))
        grids = None if ragged is None else ragged.batch
        kernel_sizes = [kernel_size]
        if stem_kernel_size not in (None, kernel_size):
            kernel_sizes.append(stem_kernel_size)
        finest = neighbor_graphs(coord, grids, kernel_sizes, block_size)
        neighbors, stem = finest[0], finest[-1]
        levels = []
        for _ in range(num_levels - 1):
            coarse = coarsen(coord, grids, block_size)
            levels.append(
                VoxelLevel(coord, grids, neighbors, coarse.parent, coarse.down, coarse.up)
            )
            coord, grids = coarse.coord, coarse.batch
            neighbors = neighbor_graph(coord, grids, kernel_size, block_size)
        levels.append(VoxelLevel(coord, grids, neighbors))
        return cls(tuple(levels), stem, None if ragged is None else ragged.batch_size)

    def pool(self, values: Tensor, level: int, reduce: str = "mean") -> Tensor:
        r"""What voxels of the finest level have, brought to a coarser one, from child to parent.

        Args:
            values: (n, ...) values at the finest level.
            level: the level to bring them to; 0 is the finest.
            reduce: ``"mean"``, ``"min"`` or ``"max"`` over the children of a voxel.

        Returns:
            (m, ...) values at that level.
        """
        for fine, coarse in zip(self.levels[:level], self.levels[1:], strict=False):
            values = scatter(values, fine.parent, dim_size=coarse.num_voxels, reduce=reduce)
        return values

    def __repr__(self) -> str:
        voxels = [level.num_voxels for level in self.levels]
        return f"{type(self).__name__}(voxels={voxels}, batch_size={self.batch_size})"
