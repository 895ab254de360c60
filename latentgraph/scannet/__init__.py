r"""ScanNet: its labels and splits, and generated rooms in its raw layout."""

from latentgraph.scannet.dataset import ScanNet
from latentgraph.scannet.points import Points, ScanError, read_points
from latentgraph.scannet.reader import Scan, read_scan
from latentgraph.scannet.score import Score, confusion_matrix
from latentgraph.scannet.transforms import (
    ColorJitter,
    RandomFlip,
    RandomJitter,
    RandomRotateZ,
    RandomScale,
    Voxelize,
)

__all__ = [
    "ColorJitter",
    "Points",
    "RandomFlip",
    "RandomJitter",
    "RandomRotateZ",
    "RandomScale",
    "Scan",
    "ScanError",
    "ScanNet",
    "Score",
    "Voxelize",
    "confusion_matrix",
    "read_points",
    "read_scan",
]
