r"""Time and memory that a network takes to look at a large scene: ``python -m benchmarks.looks``.

A generated scan with a fine mesh, at voxels of 2 cm, whole and in fragments, by networks with
random weights. Each look is at the scene turned by another angle. The table goes to
``benchmarks/results/looks.md``.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from time import perf_counter

import torch
import yaml
from torch_geometric.data import Data

from benchmarks.machine import machine
from benchmarks.memory import peak_of
from benchmarks.tables import RESULTS, publish, with_spread
from latentgraph.scannet import NetworkConfig, Segmenter, Votes, Voxelize
from latentgraph.scannet.normals import vertex_normals
from latentgraph.scannet.rooms import make_scene
from latentgraph.scannet.train import recipes

VOXEL_SIZE = 0.02
RECIPES = ("demo", "scannet20")
FRAGMENTS = {"whole": None, "`--fragment 4`": 4.0}


def main() -> None:
    r"""Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edge", type=float, default=0.02, help="meters between vertices")
    parser.add_argument("--looks", type=int, default=3, help="of each row")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    publish(report(arguments.edge, arguments.looks), arguments.out, "looks.md")


def report(edge: float, looks: int) -> str:
    r"""The results as Markdown."""
    made = make_scene(0, edge=edge)
    scene = Data(
        pos=torch.from_numpy(made.pos),
        color=torch.from_numpy(made.color) / 255,
        normal=torch.from_numpy(vertex_normals(made.pos, made.faces)),
    )
    voxels = Voxelize(VOXEL_SIZE)(scene).num_nodes
    lines = [
        f"`python -m benchmarks.looks`: a scene of {scene.num_nodes:,} vertices, {voxels:,} voxels "
        f"of {VOXEL_SIZE} m, {torch.get_num_threads()} threads, {machine()}. Fragments vote "
        "on each place twice, and convolutions run once more for each block.",
        "",
        f"Seconds of a look, from vertices to probabilities, median (least to most) of {looks}, "
        "and memory at its peak above what was there before, GB:",
        "",
        "| network | scene | seconds | memory |",
        "| --- | --- | --- | --- |",
    ]
    for recipe in RECIPES:
        settings = yaml.safe_load(recipes()[recipe].read_text())["model"]["network"]
        torch.manual_seed(0)
        segmenter = Segmenter(NetworkConfig.from_dict(settings | {"voxel_size": VOXEL_SIZE})).eval()
        for name, fragment in FRAGMENTS.items():
            seconds = []
            votes = Votes(fragment=fragment)
            _, peak = peak_of(partial(segmenter.scores, scene, votes))
            for look in range(looks):
                begun = perf_counter()
                segmenter.scores(scene, Votes(rotations=(90.0 * look,), fragment=fragment))
                seconds.append(perf_counter() - begun)
            gigabytes = peak.above / 1e9
            spread = with_spread(seconds, 2)
            lines.append(f"| that of `{recipe}` | {name} | {spread} | {gigabytes:.2f} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
