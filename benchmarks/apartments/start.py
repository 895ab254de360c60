r"""What blocks tell of the room before they are trained: how fast a training can begin to use them.

On the frozen features of the probe, what a block with random parameters adds to a node is read by
ridge regression. No block is trained, so this takes a minute.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from statistics import mean

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.apartments.blocks import VOTES
from benchmarks.apartments.probe import BATCH, Voxels, features
from latentgraph.functional import Ragged
from latentgraph.nn import LatentGNN, position_features

RIDGE = 1e-4  # times the mean square of the features
NUM_TRAIN = 300

Told = Callable[[Tensor, Ragged, Tensor, Tensor], Tensor]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.apartments.start", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="trained without context")
    parser.add_argument("--seeds", type=int, default=3, help="random blocks of each row (3)")
    parser.add_argument("--runs", type=Path, default=Path("runs/apartments"))
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args(arguments)
    scenes = features(options.runs, options.checkpoint)
    rows: dict[str, list[tuple[float, float]]] = {
        "the node itself": [told(lambda x, *_: x, scenes)],
        "mean over the scene": [told(lambda x, graphs, *_: means(x, graphs), scenes)],
        "mean over the true room": [told(lambda x, _, __, room: means(x, room), scenes)],
    }
    sizes = product(("batch_norm", "layer_norm"), (4, 1), (32, 64))
    for norm, reduction, num_latents in sizes:
        row = f"windows, {norm}, {64 // reduction} inner channels, {num_latents} latent nodes"
        rows[row] = []
        for seed in range(options.seeds):
            torch.manual_seed(seed)
            changed = {"norm": norm, "reduction": reduction, "latent_dims": [num_latents]}
            block = LatentGNN(scenes["test"][0].x.size(1), **(VOTES | changed))
            rows[row].append(told(added_by(block), scenes))
    text = render(rows)
    (options.results / "apartments_start.md").write_text(text, encoding="utf-8")
    print(text)


def means(x: Tensor, groups: Tensor | Ragged) -> Tensor:
    r"""The mean over the group of each node."""
    index = groups.batch if isinstance(groups, Ragged) else groups
    index = torch.unique(index, return_inverse=True)[1]
    sums = x.new_zeros(int(index.max()) + 1, x.size(1)).index_add_(0, index, x)
    return (sums / torch.bincount(index).unsqueeze(1))[index]


def added_by(block: nn.Module) -> Told:
    r"""What a block adds to each node."""
    return lambda x, graphs, pos, _: block(x, graphs, affinity_x=position_features(pos, graphs)) - x


@torch.no_grad()
def told(by: Told, scenes: dict[str, list[Voxels]]) -> tuple[float, float]:
    r"""Percent of the variance of the room's type that is told in training, and right on test."""
    x, type_ = read(by, scenes["scenes"][:NUM_TRAIN])
    target = F.one_hot(type_).double()
    square = x.T @ x
    ridge = RIDGE * square.diagonal().mean() * torch.eye(len(square), dtype=square.dtype)
    weight = torch.linalg.solve(square + ridge, x.T @ target)
    left = (target - x @ weight).square().sum() / (target - target.mean(0)).square().sum()
    x, type_ = read(by, scenes["test"])
    right = ((x @ weight).argmax(1) == type_).double().mean()
    return 100 * (1 - left.item()), 100 * right.item()


def read(by: Told, scenes: list[Voxels]) -> tuple[Tensor, Tensor]:
    r"""What is told of each node and a one, in float64, and the type of its room."""
    parts, types = [], []
    for i in range(0, len(scenes), BATCH):
        some = scenes[i : i + BATCH]
        sizes = torch.tensor([len(s.x) for s in some])
        batch = torch.arange(len(some)).repeat_interleave(sizes)
        x, pos, room, type_ = (torch.cat(parts) for parts in zip(*some, strict=True))
        room = room + batch * (int(room.max()) + 1)
        parts.append(by(x, Ragged(batch, len(some)), pos, room).double())
        types.append(type_)
    x = torch.cat(parts)
    return torch.cat([x, torch.ones_like(x[:, :1])], 1), torch.cat(types)


def render(rows: dict[str, list[tuple[float, float]]]) -> str:
    lines = [
        "# What blocks tell of the room before they are trained",
        "",
        "`python -m benchmarks.apartments.start --checkpoint CHECKPOINT`: room types read by ridge "
        "regression from what a random block adds to the features of the probe. Percent of the "
        "variance told on training scenes, right answers on test scenes; mean of the seeds.",
        "",
        "| read from | told, % | right, % |",
        "|---|---|---|",
    ]
    for row, found in rows.items():
        explained, right = (mean(values) for values in zip(*found, strict=True))
        lines.append(f"| {row} | {explained:.0f} | {right:.0f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
