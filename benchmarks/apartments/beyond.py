r"""The block of the apartments elsewhere: far nodes on rings, and scans of one's own.

Rings are those of ``examples/node_features.py``, a position the place on the circle. Scans are a
prepared folder in ScanNet's layout, with the recipe of the apartments and one seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.apartments.__main__ import settings
from benchmarks.apartments.blocks import ROWS
from benchmarks.compare import spread
from benchmarks.machine import machine
from examples.node_features import CHANNELS, accuracy_after_training
from latentgraph import nn as lnn
from latentgraph.functional import Ragged
from latentgraph.nn import position_features

TRIED = ("no context", "mean pooling, MLP", "LatentGNN as published", "windows, votes, wide")


class OnCircle(nn.Module):
    r"""A block whose affinities see where on its ring a node is, if they see positions."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor, batch: Tensor) -> Tensor:
        if not getattr(self.block, "affinity_channels", 0):
            alone: Tensor = self.block(x, batch)
            return alone
        out: Tensor = self.block(x, batch, affinity_x=position_features(circle(batch), batch))
        return out


def circle(batch: Tensor) -> Tensor:
    r"""(N, 3), the nodes of each graph around a circle, in their order."""
    graphs = Ragged.of(batch, num_nodes=len(batch), device=batch.device)
    assert graphs is not None
    first = graphs.sizes.cumsum(0) - graphs.sizes
    turn = (torch.arange(len(batch)) - first[batch]) / graphs.sizes[batch] * 2 * torch.pi
    return torch.stack([turn.cos(), turn.sin(), torch.zeros_like(turn)], 1)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.apartments.beyond", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="of the rings (3)")
    parser.add_argument("--steps", type=int, default=150, help="of training on rings (150)")
    parser.add_argument("--scans", type=Path, help="a prepared folder in ScanNet's layout")
    parser.add_argument("--epochs", type=int, default=100, help="of training on scans (100)")
    parser.add_argument("--runs", type=Path, default=Path("runs/beyond"))
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args(arguments)
    found = {
        row: [on_rings(row, seed, options.steps) for seed in range(options.seeds)] for row in TRIED
    }
    text = render(found, options.steps)
    if options.scans is not None:
        scores = {row: on_scans(row, options.scans, options.runs, options.epochs) for row in TRIED}
        text += render_scans(scores, options.scans, options.epochs)
    path = options.results / "apartments_beyond.md"
    path.write_text(text, encoding="utf-8")
    print(f"{text}\n{path}")


def on_rings(row: str, seed: int, steps: int) -> dict[str, float]:
    r"""Percent of right answers on new rings."""
    torch.manual_seed(seed)
    name, options, *_ = ROWS[row]
    context = None if name is None else OnCircle(getattr(lnn, name)(CHANNELS, **options))
    return {"right": 100 * accuracy_after_training(context, steps)}


def on_scans(row: str, root: Path, runs: Path, epochs: int) -> float:
    r"""mIoU in percent on the validation scans."""
    from latentgraph.scannet.evaluate import evaluate
    from latentgraph.scannet.train import train

    own = [*settings(runs, epochs, row, 0), "--data.root", str(root), "--resume"]
    checkpoint = train(own)
    assert checkpoint is not None
    return 100 * evaluate(checkpoint, root, num_workers=0, accelerator="cpu").miou


def render(found: dict[str, list[dict[str, float]]], steps: int) -> str:
    lines = [
        "# The block of the apartments elsewhere",
        "",
        f"`python -m benchmarks.apartments.beyond`: percent of right answers on new rings after "
        f"{steps} steps, mean and standard deviation over {len(found[TRIED[0]])} seeds. "
        f"{machine()}.",
        "",
        "| block | rings |",
        "|---|---|",
        *(f"| {row} | {spread(runs, 'right')} |" for row, runs in found.items()),
    ]
    return "\n".join(lines) + "\n"


def render_scans(scores: dict[str, float], root: Path, epochs: int) -> str:
    from latentgraph.scannet.dataset import ScanNet

    train, val = len(ScanNet(root, "train")), len(ScanNet(root, "val"))
    lines = [
        "",
        f"`python -m benchmarks.apartments.beyond --scans ROOT`: mIoU on {val} scans that "
        f"training on {train} others for {epochs} epochs has not seen, one seed.",
        "",
        "| block | scans |",
        "|---|---|",
        *(f"| {row} | {score:.1f} |" for row, score in scores.items()),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
