r"""Blocks side by side in one network on the same scenes: ``make compare``.

Each run trains the recipe of its scenes with another block at the bottleneck, on one thread,
several runs at a time. A finished run is a JSON file, so a comparison that was stopped goes on. The
table holds what is finished.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.machine import machine

POSITIONS = {
    "latent_dims": [32],
    "mode": "symmetric",
    "norm": "batch_norm",
    "mixing": "none",
    "affinity_channels": 4,
    "gamma_init": 1.0,
}
ORACLE = "mean pooling over the true room, MLP (oracle)"
BLOCKS: dict[str, dict[str, Any] | None] = {
    "no context": None,
    "mean pooling, MLP (control)": {"block": "GlobalContext", "options": {"pool": "mean"}},
    "GlobalContext": {"block": "GlobalContext", "options": {}},
    "LatentGNN as published": {
        "block": "LatentGNN",
        "options": {"latent_dims": [32], "norm": "batch_norm"},
    },
    "LatentGNN, positions, no mixing": {"block": "LatentGNN", "options": POSITIONS},
    "dense non-local": {"block": "NonLocal", "options": {"norm": "batch_norm"}},
    ORACLE: {"block": "GlobalContext", "options": {"pool": "mean"}},
}
LOOK_ALIKES = (
    ("desk", "table", "counter"),
    ("curtain", "shower curtain"),
    ("picture", "window"),
    ("cabinet", "refrigerator", "bookshelf"),
)
NUM_TRAIN = 150
NUM_VAL = {"rooms": 40, "apartments": 32}
RECIPE = {"rooms": "demo", "apartments": "apartments"}
MINUTES = {"rooms": 5.0, "apartments": 12.0}  # of one run, until one is measured
PREPARING = 2  # processes


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.compare", description=__doc__)
    parser.add_argument("--scenes", choices=RECIPE, default="rooms")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each block (1)")
    parser.add_argument("--blocks", nargs="+", choices=BLOCKS, default=None, metavar="BLOCK")
    parser.add_argument("--at-once", type=int, default=2, help="runs at a time (2)")
    parser.add_argument("--runs", type=Path, default=Path("runs/compare"))
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--only", nargs=2, metavar=("BLOCK", "SEED"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    folder, scenes = options.runs / options.scenes, options.scenes
    if options.only:
        run(folder, scenes, options.only[0], int(options.only[1]))
        return

    blocks = [block for block in BLOCKS if block != ORACLE or scenes == "apartments"]
    jobs = [(block, s) for s in range(options.seeds) for block in options.blocks or blocks]
    missing = [job for job in jobs if finished(folder, scenes, *job) is None]
    print(estimate(folder, scenes, jobs, missing, options.at_once), flush=True)
    if missing:
        make_scenes(folder / "scenes", scenes)
    with ThreadPoolExecutor(options.at_once) as pool:
        list(pool.map(lambda job: start(options.runs, scenes, *job), missing))

    found = {
        block: [one for s in range(options.seeds) if (one := finished(folder, scenes, block, s))]
        for block in blocks
    }
    table = render(scenes, options.seeds, {block: runs for block, runs in found.items() if runs})
    options.results.mkdir(parents=True, exist_ok=True)
    path = options.results / f"compare_{scenes}.md"
    path.write_text(table, encoding="utf-8")
    print(f"\n{table}\n{path}")


def settings(folder: Path, scenes: str, block: str, seed: int) -> list[str]:
    r"""What ``latentgraph train`` is called with."""
    return [
        *("--config", RECIPE[scenes]),
        *("--data.root", str(folder / "scenes")),
        *("--out", str(place(folder, block, seed))),
        *("--seed_everything", str(seed)),
        *("--model.network.context", json.dumps(BLOCKS[block])),
        *("--data.num_workers", "0"),
    ]


def place(folder: Path, block: str, seed: int) -> Path:
    name = "".join(c if c.isalnum() else "_" for c in block)
    return folder / f"{name}_{seed}"


def finished(folder: Path, scenes: str, block: str, seed: int) -> dict[str, Any] | None:
    r"""The result of a run, if it is there and was made with these settings."""
    path = place(folder, block, seed) / "result.json"
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found if found["settings"] == settings(folder, scenes, block, seed) else None


def estimate(
    folder: Path,
    scenes: str,
    jobs: list[tuple[str, int]],
    missing: list[tuple[str, int]],
    at_once: int,
) -> str:
    known = [found["seconds"] for job in jobs if (found := finished(folder, scenes, *job))]
    minutes = sum(known) / len(known) / 60 if known else MINUTES[scenes]
    left = minutes * -(-len(missing) // at_once)
    return (
        f"{len(jobs)} runs, {len(missing)} of them still to do, {at_once} at a time and about "
        f"{minutes:.0f} minutes each: about {left:.0f} minutes on {at_once} cores. "
        f"Stop and start at will; what happens is told in {folder}/*/log.txt"
    )


def make_scenes(root: Path, scenes: str) -> None:
    from latentgraph.scannet.prepare import prepare
    from latentgraph.scannet.rooms import write_rooms

    write_rooms(root, num_train=NUM_TRAIN, num_val=NUM_VAL[scenes], kind=scenes)
    prepare(root, num_workers=PREPARING)


def start(runs: Path, scenes: str, block: str, seed: int) -> None:
    r"""One run in a process of its own, on one thread."""
    out = place(runs / scenes, block, seed)
    if (out / "result.json").is_file():
        shutil.rmtree(out)  # of other settings
    out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "benchmarks.compare", "--runs", str(runs)]
    command += ["--scenes", scenes, "--only", block, str(seed)]
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with (out / "log.txt").open("a", encoding="utf-8") as log:
        done = subprocess.run(  # noqa: S603
            command, env=os.environ | threads, stdout=log, stderr=subprocess.STDOUT
        )
    if done.returncode:
        raise SystemExit(f"{block}, seed {seed} failed: see {out / 'log.txt'}")
    result = finished(runs / scenes, scenes, block, seed)
    assert result is not None
    print(f"{block}, seed {seed}: mIoU {result['miou']:.1f}", flush=True)


def run(folder: Path, scenes: str, block: str, seed: int) -> None:
    import torch
    from torch import Tensor
    from torch_geometric.data import Data

    from latentgraph.scannet.lightning_module import SegmentationModule
    from latentgraph.scannet.train import TrainCLI

    class TrueRooms(SegmentationModule):
        def context_batch(self, batch: Data) -> Tensor:
            rooms = int(batch.room.max()) + 1
            return torch.unique(batch.batch * rooms + batch.room, return_inverse=True)[1]

    arguments = settings(folder, scenes, block, seed)
    begin = time.process_time()
    cli = TrainCLI([*arguments, "--resume"], TrueRooms if block == ORACLE else SegmentationModule)
    cli.trainer.fit(cli.model, cli.datamodule, ckpt_path=cli.resume_from)
    seconds = time.process_time() - begin
    cli.trainer.validate(cli.model, cli.datamodule, verbose=False)
    score = cli.model.score()
    iou = dict(zip(score.labels.names, score.iou.tolist(), strict=True))
    result = {
        "settings": arguments,
        "miou": 100 * score.miou,
        "look_alikes": 100 * sum(iou[n] for group in LOOK_ALIKES for n in group) / 10,
        "iou": iou,
        "steps": cli.trainer.global_step,
        "parameters": sum(p.numel() for p in cli.model.segmenter.parameters()),
        "seconds": seconds,
        "machine": machine(),
    }
    path = place(folder, block, seed) / "result.json"
    part = path.with_suffix(".part")
    part.write_text(json.dumps(result, indent=1), encoding="utf-8")
    os.replace(part, path)


def render(scenes: str, seeds: int, results: dict[str, list[dict[str, Any]]]) -> str:
    r"""The table as Markdown."""
    one = next(iter(results.values()))[0]
    lines = [
        f"# Blocks at the bottleneck, on {scenes}",
        "",
        f"`python -m benchmarks.compare --scenes {scenes} --seeds {seeds}`: recipe "
        f"`{RECIPE[scenes]}`, {NUM_TRAIN} scenes, {one['steps']:,} steps, {NUM_VAL[scenes]} "
        f"held-out scenes. Look-alikes is the mean over "
        f"{', '.join(name for group in LOOK_ALIKES for name in group)}. "
        f"Mean and standard deviation over the seeds. "
        f"{one['machine']}; one thread a run, whose time is that of the CPU.",
        "",
        "| block | seeds | mIoU | look-alikes | parameters | minutes |",
        "|---|---|---|---|---|---|",
    ]
    for block, runs in results.items():
        minutes = sum(r["seconds"] for r in runs) / len(runs) / 60
        lines.append(
            f"| {block} | {len(runs)} | {spread(runs, 'miou')} | {spread(runs, 'look_alikes')} "
            f"| {runs[0]['parameters']:,} | {minutes:.1f} |"
        )
    return "\n".join(lines) + "\n"


def spread(runs: list[dict[str, Any]], key: str) -> str:
    r"""Mean over the seeds, with the standard deviation where there are several."""
    values = [run[key] for run in runs]
    mean = sum(values) / len(values)
    if len(values) == 1:
        return f"{mean:.1f}"
    deviation = (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5
    return f"{mean:.1f} ± {deviation:.1f}"


if __name__ == "__main__":
    main()
