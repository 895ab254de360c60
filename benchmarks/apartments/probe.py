r"""A probe of minutes: can a block tell the type of the room, on features that are frozen?

The encoder of a network that was trained without context gives the features of the bottleneck; only
the block and two layers after it learn, to say the type of the room of every coarse voxel. What a
block can route shows here without hours of training; whether a network learns to use it does not.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.apartments.__main__ import make_scenes
from benchmarks.apartments.blocks import CONTROLS, ROWS, SHALLOW
from benchmarks.apartments.rooms import pairs
from benchmarks.compare import spread
from latentgraph.functional import Ragged
from latentgraph.nn import LatentGNN, position_features
from latentgraph.scannet.network_config import Context

STEPS, BATCH, LEARNING_RATE, TURNS = 500, 2, 0.005, 3
LOOKED_AT = 8
PROBED = [row for row, values in ROWS.items() if values.channels == SHALLOW]


class Voxels(NamedTuple):
    r"""The bottleneck of one scene: features, positions, room and the type of the room."""

    x: Tensor
    pos: Tensor
    room: Tensor
    type: Tensor


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.apartments.probe", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="trained without context")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each row (3)")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"of training ({STEPS})")
    parser.add_argument("--runs", type=Path, default=Path("runs/apartments"))
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args(arguments)
    scenes = features(options.runs, options.checkpoint)
    kept = options.runs / f"probe_{options.steps}.json"
    found: dict[str, Any] = json.loads(kept.read_text()) if kept.is_file() else {}
    for seed in range(options.seeds):
        for row in PROBED:
            key = f"{row}/{seed}"
            if key not in found:
                found[key] = probe(row, seed, options.steps, scenes)
                print(key, found[key], flush=True)
                kept.write_text(json.dumps(found, indent=1), encoding="utf-8")
            write_table(options.results / "apartments_probe.md", found, options.steps)


def features(runs: Path, checkpoint: Path) -> dict[str, list[Voxels]]:
    r"""Of the scenes of training, turned and mirrored several times, and those of test."""
    from torch_geometric.transforms import Compose

    from latentgraph.scannet.checkpoint import load_checkpoint
    from latentgraph.scannet.dataset import ScanNet
    from latentgraph.scannet.rooms.generate import make_scene
    from latentgraph.scannet.rooms.room_types import ROOM_TYPES
    from latentgraph.scannet.transforms import RandomFlip, RandomRotateZ

    kept = runs / "features.pt"
    if kept.is_file():
        read: dict[str, list[tuple[Tensor, ...]]] = torch.load(kept)
        return {name: [Voxels(*voxels) for voxels in scenes] for name, scenes in read.items()}
    make_scenes(runs)
    segmenter, types = load_checkpoint(checkpoint).eval(), list(ROOM_TYPES)
    torch.manual_seed(0)
    turn, seen = Compose([RandomRotateZ(), RandomFlip()]), []
    segmenter.network.encoder[-1].register_forward_hook(lambda m, i, out: seen.append(out))
    made: dict[str, list[Voxels]] = {}
    for name, split, seed, turns in (("scenes", "train", 0, TURNS), ("test", "val", 1, 0)):
        dataset, made[name] = ScanNet(runs / name, split), []
        for scene in dataset:
            place = (seed, int(scene.name[5:9]), int(scene.name[10:]))
            of_rooms = [types.index(t) for t in make_scene(place, "apartments").types]
            for _ in range(max(turns, 1)):
                voxels = segmenter.voxelize(turn(scene.clone()) if turns else scene)
                levels = segmenter.network.levels(voxels.coord)
                with torch.no_grad():
                    segmenter.network(voxels.x, levels)
                room = levels.pool(voxels.room, 2, "min").clamp_min(0)
                type_ = torch.tensor(of_rooms)[room]
                made[name].append(Voxels(seen.pop(), levels.pool(voxels.pos, 2), room, type_))
    torch.save({name: [tuple(v) for v in scenes] for name, scenes in made.items()}, kept)
    return made


class Probe(nn.Module):
    r"""A block, and what reads the type of the room behind it."""

    def __init__(self, row: str, channels: int, num_types: int) -> None:
        super().__init__()
        name, options, _, self.true_rooms, _ = ROWS[row]
        self.block: nn.Module | None = None
        if name is not None:
            made = CONTROLS.get(name) or Context(name, options)
            self.block = made(channels)
        self.head = nn.Sequential(
            nn.Linear(channels, channels),
            nn.BatchNorm1d(channels),
            nn.ReLU(),
            nn.Linear(channels, num_types),
        )

    def inputs(self, scenes: list[Voxels]) -> tuple[Tensor, Ragged, Tensor | None]:
        r"""What the block is called on."""
        batch = torch.arange(len(scenes)).repeat_interleave(
            torch.tensor([len(s.x) for s in scenes])
        )
        graphs = Ragged(batch, len(scenes))
        seen = None
        if getattr(self.block, "affinity_channels", 0):
            seen = position_features(torch.cat([s.pos for s in scenes]), graphs)
        if self.true_rooms:
            rooms = torch.stack([batch, torch.cat([s.room for s in scenes])], 1)
            graphs = Ragged.of(torch.unique(rooms, dim=0, return_inverse=True)[1])
        return torch.cat([s.x for s in scenes]), graphs, seen

    def forward(self, scenes: list[Voxels]) -> Tensor:
        x, graphs, seen = self.inputs(scenes)
        if self.block is not None:
            x = self.block(x, graphs) if seen is None else self.block(x, graphs, affinity_x=seen)
        out: Tensor = self.head(x)
        return out


def probe(row: str, seed: int, steps: int, scenes: dict[str, list[Voxels]]) -> dict[str, Any]:
    r"""Right answers on test voxels in percent, and what the block listened to."""
    torch.manual_seed(seed)
    train, test = scenes["scenes"], scenes["test"]
    model = Probe(row, train[0].x.size(1), int(torch.cat([s.type for s in train]).max()) + 1)
    before, _ = heard(model, test[:LOOKED_AT])
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    begin = time.process_time()
    for _ in range(steps):
        some = [train[i] for i in torch.randint(len(train), (BATCH,)).tolist()]
        loss = F.cross_entropy(model(some), torch.cat([s.type for s in some]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    seconds = time.process_time() - begin
    model.eval()
    with torch.no_grad():
        right = torch.cat([model([s]).argmax(1) == s.type for s in test])
    after, alike = heard(model, test[:LOOKED_AT])
    return {
        "right": 100 * float(right.double().mean()),
        "before": before,
        "after": after,
        "alike": alike,
        "seconds": seconds,
    }


@torch.no_grad()
def heard(model: Probe, scenes: list[Voxels]) -> tuple[float | None, float | None]:
    r"""Share of a node's affinity in its own room in percent, and cosine between latent nodes."""
    if model.block is None:
        return None, None
    if model.true_rooms:
        return 100.0, None
    was_training = model.training
    model.eval()
    shares, cosines = [], []
    for scene in scenes:
        x, graphs, seen = model.inputs([scene])
        weight = pairs(model.block, x, graphs, seen).abs()
        same = scene.room.unsqueeze(0) == scene.room.unsqueeze(1)
        shares.append(float(((weight * same).sum(1) / weight.sum(1).clamp_min(1e-30)).mean()))
        if isinstance(model.block, LatentGNN):
            _, kernels = model.block(x, graphs, affinity_x=seen, return_affinity=True)
            z = F.normalize(kernels[0].latent[0], dim=1)
            cosines.append(float((z @ z.T)[~torch.eye(len(z), dtype=torch.bool)].mean()))
    model.train(was_training)
    alike = sum(cosines) / len(cosines) if cosines else None
    return 100 * sum(shares) / len(shares), alike


def write_table(path: Path, found: dict[str, Any], steps: int) -> None:
    lines = [
        "# Which room: a probe on frozen features",
        "",
        f"`python -m benchmarks.apartments.probe --steps {steps}`: type of the room, of five, "
        "for every coarse voxel of 32 test apartments, after training on 150 others; mean and "
        "standard deviation over the seeds. Own room: share of a node's affinity that lies in its "
        "own room, before and after. Alike: mean cosine between latent nodes, after.",
        "",
        "| block | seeds | right, % | own room, % | alike |",
        "|---|---|---|---|---|",
    ]
    for row in PROBED:
        runs = [value for key, value in found.items() if key.rpartition("/")[0] == row]
        if not runs:
            continue
        own, alike = "none", "none"
        if runs[0]["before"] is not None:
            own = " to ".join(f"{mean(runs, when):.0f}" for when in ("before", "after"))
        if runs[0]["alike"] is not None:
            alike = f"{mean(runs, 'alike'):.2f}"
        lines.append(f"| {row} | {len(runs)} | {spread(runs, 'right')} | {own} | {alike} |")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def mean(runs: list[dict[str, Any]], key: str) -> float:
    return sum(run[key] for run in runs) / len(runs)


if __name__ == "__main__":
    main()
