r"""Voxel grids, the graphs between voxels and the convolution along them."""

from latentgraph.voxel.conv import VoxelConv
from latentgraph.voxel.functional import voxel_conv
from latentgraph.voxel.graph import Edges, VoxelGraph
from latentgraph.voxel.grid import Coarse, coarsen, neighbor_graph, voxel_keys
from latentgraph.voxel.levels import VoxelLevel, VoxelLevels

__all__ = [
    "Coarse",
    "Edges",
    "VoxelConv",
    "VoxelGraph",
    "VoxelLevel",
    "VoxelLevels",
    "coarsen",
    "neighbor_graph",
    "voxel_conv",
    "voxel_keys",
]
