r"""Whole networks."""

from latentgraph.models.voxel_columns import Cut, cuts, in_columns
from latentgraph.models.voxel_unet import VoxelUNet

__all__ = ["Cut", "VoxelUNet", "cuts", "in_columns"]
