r"""Draws a picture of each augmentation: python docs/pictures/augment.py"""

import tempfile
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image
from torch_geometric.data import Data

from latentgraph.scannet import ScanNet, mix, write_rooms
from latentgraph.scannet.transforms.named import AUGMENTATIONS

HERE = Path(__file__).parent
STRONGER = {  # than in recipes, to be seen
    "RandomRotateZ": {"degrees": 40.0},
    "RandomTilt": {"degrees": 12.0, "p": 1.0},
    "RandomScale": {"low": 0.7, "high": 0.75},
    "RandomFlip": {"p": 1.0},
    "RandomJitter": {"sigma": 0.05},
    "RandomDropout": {"ratio": 0.6, "p": 1.0},
    "RandomCrop": {"max_points": 6_000},
    "ColorAutoContrast": {"p": 1.0, "blend": 1.0},
    "ColorShift": {"shift": 0.3, "p": 1.0},
    "ColorJitter": {"sigma": 0.15, "p": 1.0},
}


def rooms() -> list[Data]:
    with tempfile.TemporaryDirectory() as root:
        write_rooms(root, num_train=2, num_val=0, progress=False)
        return [scene.clone() for scene in ScanNet(root, "train")]


def panel(axes: plt.Axes, data: Data, lit: bool) -> None:
    r"""A room seen from above and aside, without its ceiling, in its colors or by its normals."""
    pos, color = data.pos.numpy(), data.color.numpy()
    if lit:
        color = 0.5 + 0.5 * data.normal.numpy()
    near = pos[:, 2] < np.quantile(pos[:, 2], 0.9)
    axes.scatter(*pos[near].T, c=color[near].clip(0, 1), s=1.2, linewidths=0)
    axes.set(xlim=(-4, 4), ylim=(-4, 4), zlim=(-0.5, 3.5))
    axes.set_box_aspect((2, 2, 1), zoom=1.6)
    axes.view_init(50, -60)
    axes.set_axis_off()


def draw(name: str, before: Data, after: Data) -> None:
    figure = plt.figure(figsize=(6, 2.4))
    for i, data in enumerate((before, after)):
        axes = figure.add_subplot(1, 2, i + 1, projection="3d")
        panel(axes, data, lit=name == "NormalDrop")
    figure.subplots_adjust(0, 0, 1, 1, 0, 0)
    path = HERE / f"augment_{name}.png"
    figure.savefig(path, dpi=90)
    plt.close(figure)
    Image.open(path).convert("RGB").quantize(128).save(path, optimize=True)


def main() -> None:
    mpl.use("Agg")
    one, two = rooms()
    one.pos = mix([one, two]).pos[: len(one.pos)]  # in the middle
    for name, kind in AUGMENTATIONS.items():
        torch.manual_seed(3)
        draw(name, one, kind(**STRONGER.get(name, {"p": 1.0}))(one))
    draw("mix", one, mix([one, two]))


if __name__ == "__main__":
    main()
