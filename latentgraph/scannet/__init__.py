r"""ScanNet: its labels and splits, and generated rooms in its raw layout."""

from latentgraph.scannet.dataset import ScanNet
from latentgraph.scannet.labels import SCANNET20, SCANNET200, LabelSet, label_set
from latentgraph.scannet.points import Points, ScanError, read_points
from latentgraph.scannet.reader import Scan, read_scan
from latentgraph.scannet.rooms import Scene, make_scene, rooms_settings, write_rooms
from latentgraph.scannet.score import Score, confusion_matrix
from latentgraph.scannet.transforms import (
    ColorAutoContrast,
    ColorDrop,
    ColorJitter,
    ColorShift,
    ElasticDistortion,
    NormalDrop,
    RandomCrop,
    RandomDropout,
    RandomFlip,
    RandomJitter,
    RandomRotateZ,
    RandomScale,
    RandomTilt,
    Voxelize,
    mix,
)

__all__ = [
    "SCANNET20",
    "SCANNET200",
    "ColorAutoContrast",
    "ColorDrop",
    "ColorJitter",
    "ColorShift",
    "ElasticDistortion",
    "LabelSet",
    "NormalDrop",
    "Points",
    "RandomCrop",
    "RandomDropout",
    "RandomFlip",
    "RandomJitter",
    "RandomRotateZ",
    "RandomScale",
    "RandomTilt",
    "Scan",
    "ScanError",
    "ScanNet",
    "Scene",
    "Score",
    "Voxelize",
    "confusion_matrix",
    "label_set",
    "make_scene",
    "mix",
    "read_points",
    "read_scan",
    "rooms_settings",
    "write_rooms",
]
