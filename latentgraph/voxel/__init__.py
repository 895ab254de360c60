r"""Voxel grids, the graphs between voxels and the convolution along them."""

from latentgraph.voxel.conv import VoxelConv, voxel_conv
from latentgraph.voxel.graph import VoxelGraph
from latentgraph.voxel.grid import coarsen, neighbor_graph, voxel_keys

__all__ = [
    "VoxelConv",
    "VoxelGraph",
    "coarsen",
    "neighbor_graph",
    "voxel_conv",
    "voxel_keys",
]
