r"""Draw which voxels single latent nodes listen to, before and after training.

One column for each room of a test apartment: the latent node that the room hears most from after
training. Needs the run of the row, which ``python -m benchmarks.apartments`` makes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.apartments.__main__ import EPOCHS, place, settings
from benchmarks.apartments.rooms import calls
from latentgraph.nn import LatentGNN
from latentgraph.scannet.checkpoint import load_checkpoint
from latentgraph.scannet.dataset import ScanNet
from latentgraph.scannet.segmenter import Segmenter
from latentgraph.scannet.train import TrainCLI


class Heard(NamedTuple):
    r"""Coarse voxels of a scene: (n, 2) from above, (n,) room, (n, d) affinities of latents."""

    pos: Tensor
    room: Tensor
    affinity: Tensor


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.apartments.picture", description=__doc__)
    parser.add_argument("--row", default="windows, votes, wide")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--scene", type=int, default=0, help="number of the test apartment (0)")
    parser.add_argument("--runs", type=Path, default=Path("runs/apartments"))
    parser.add_argument("--out", type=Path, default=Path("docs/pictures/apartment.png"))
    options = parser.parse_args(arguments)
    run = (options.runs, options.epochs, options.row, options.seed)
    trained = load_checkpoint(place(*run) / "last.ckpt")
    untrained = TrainCLI([*settings(*run), "--resume"]).model.segmenter
    scene = ScanNet(options.runs / "test", "val")[options.scene]
    draw(heard(untrained, scene), heard(trained, scene), options.out)
    print(options.out)


@torch.no_grad()
def heard(segmenter: Segmenter, scene: object) -> Heard:
    segmenter.eval()
    for block, (x, graphs, affinity_x), room, pos in calls(segmenter, scene):
        if isinstance(block, LatentGNN):
            _, kernels = block(x, graphs, affinity_x=affinity_x, return_affinity=True)
            return Heard(pos[:, :2], room, kernels[0].latent_to_visible)
    raise ValueError("expected a row with a LatentGNN block")


def draw(before: Heard, after: Heard, path: Path) -> None:
    r"""Both in two lines of panels, a column for each room."""
    from matplotlib.figure import Figure

    rooms = [int(room) for room in after.room.unique() if room >= 0]
    figure = Figure(figsize=(2.6 * len(rooms), 5.2), layout="constrained")
    axes = figure.subplots(2, len(rooms), squeeze=False, sharex=True, sharey=True)
    for column, room in enumerate(rooms):
        latent = int(after.affinity[after.room == room].mean(0).argmax())
        for line, (name, found) in enumerate((("before", before), ("after", after))):
            panel = axes[line][column]
            panel.scatter(*found.pos.T, c=found.affinity[:, latent], s=4, cmap="viridis", vmin=0)
            own = found.affinity[found.room == room, latent].sum()
            share = 100 * float(own / found.affinity[:, latent].sum().clamp_min(1e-30))
            panel.set(title=f"{name}: latent node {latent}\n{share:.0f} % in room {room}")
            panel.set(xticks=[], yticks=[], aspect="equal")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    main()
