r"""Voxels of a scene, and random changes to it: positions, colors and normals together.

The random ones draw from the global generator of torch alone, so that a seed repeats them.
"""

from latentgraph.scannet.transforms.colors import (
    ColorAutoContrast,
    ColorDrop,
    ColorJitter,
    ColorShift,
    NormalDrop,
)
from latentgraph.scannet.transforms.elastic import ElasticDistortion
from latentgraph.scannet.transforms.mix import mix
from latentgraph.scannet.transforms.motions import (
    RandomFlip,
    RandomJitter,
    RandomRotateZ,
    RandomScale,
    RandomTilt,
)
from latentgraph.scannet.transforms.named import augmentation
from latentgraph.scannet.transforms.subsets import RandomCrop, RandomDropout
from latentgraph.scannet.transforms.voxelize import Voxelize

__all__ = [
    "ColorAutoContrast",
    "ColorDrop",
    "ColorJitter",
    "ColorShift",
    "ElasticDistortion",
    "NormalDrop",
    "RandomCrop",
    "RandomDropout",
    "RandomFlip",
    "RandomJitter",
    "RandomRotateZ",
    "RandomScale",
    "RandomTilt",
    "Voxelize",
    "augmentation",
    "mix",
]
