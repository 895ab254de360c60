r"""Networks made of the layers."""

from latentgraph.models.voxel_unet import VoxelUNet

__all__ = ["VoxelUNet"]
