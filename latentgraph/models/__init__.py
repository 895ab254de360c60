r"""Whole networks."""

from latentgraph.models.voxel_unet import VoxelUNet

__all__ = ["VoxelUNet"]
