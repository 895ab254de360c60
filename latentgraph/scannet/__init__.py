r"""ScanNet: its labels and splits, and generated rooms in its raw layout."""

from latentgraph.scannet.checkpoint import load_checkpoint, save_checkpoint
from latentgraph.scannet.dataset import ScanNet
from latentgraph.scannet.labels import SCANNET20, SCANNET200, LabelSet, label_set
from latentgraph.scannet.network_config import Context, NetworkConfig
from latentgraph.scannet.picture import Written
from latentgraph.scannet.points import Points, ScanError, read_points
from latentgraph.scannet.published import load_spunet
from latentgraph.scannet.reader import Scan, read_scan
from latentgraph.scannet.report import Report
from latentgraph.scannet.rooms import (
    Scene,
    make_scene,
    rooms_settings,
    write_rooms,
    write_scan,
)
from latentgraph.scannet.score import Score, confusion_matrix
from latentgraph.scannet.segmenter import Segmenter
from latentgraph.scannet.submission import Findings, check_submission, submit
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
    augmentation,
    mix,
)
from latentgraph.scannet.votes import Look, Votes

__all__ = [
    "SCANNET20",
    "SCANNET200",
    "ColorAutoContrast",
    "ColorDrop",
    "ColorJitter",
    "ColorShift",
    "Context",
    "ElasticDistortion",
    "Findings",
    "LabelSet",
    "Look",
    "NetworkConfig",
    "NormalDrop",
    "Points",
    "RandomCrop",
    "RandomDropout",
    "RandomFlip",
    "RandomJitter",
    "RandomRotateZ",
    "RandomScale",
    "RandomTilt",
    "Report",
    "Scan",
    "ScanError",
    "ScanNet",
    "Scene",
    "Score",
    "Segmenter",
    "Votes",
    "Voxelize",
    "Written",
    "augmentation",
    "check_submission",
    "confusion_matrix",
    "label_set",
    "load_checkpoint",
    "load_spunet",
    "make_scene",
    "mix",
    "read_points",
    "read_scan",
    "rooms_settings",
    "save_checkpoint",
    "submit",
    "write_rooms",
    "write_scan",
]
