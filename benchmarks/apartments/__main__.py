r"""Train the rows on generated apartments, choose on validation, report on test.

Each run trains the recipe of the apartments on one thread, several runs at a time. A finished run
is a JSON file and an unfinished one goes on from its last epoch, so an experiment that was stopped
goes on. The table holds what is finished.
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

from benchmarks.apartments.blocks import CONTROLS, ROWS
from benchmarks.apartments.table import render
from benchmarks.compare import LOOK_ALIKES
from benchmarks.machine import machine

NUM_TRAIN, NUM_VAL, NUM_TEST = 150, 32, 32
EPOCHS = 16  # 1,200 steps
MINUTES_AN_EPOCH = 0.4  # until a run is finished
LOOKED_AT = 4  # scenes whose N x N affinities are written out


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.apartments", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="runs of each row (3)")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of training (16)")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW")
    parser.add_argument("--at-once", type=int, default=2, help="runs at a time (2)")
    parser.add_argument("--runs", type=Path, default=Path("runs/apartments"))
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--only", nargs=2, metavar=("ROW", "SEED"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    runs, epochs = options.runs, options.epochs
    if options.only:
        run(runs, epochs, options.only[0], int(options.only[1]))
        return

    jobs = [(row, seed) for seed in range(options.seeds) for row in options.rows]
    missing = [job for job in jobs if finished(runs, epochs, *job) is None]
    print(estimate(runs, epochs, jobs, missing, options.at_once), flush=True)
    if missing:
        make_scenes(runs)

    def one(job: tuple[str, int]) -> None:
        start(runs, epochs, *job)
        write_table(options.results, runs, epochs)

    with ThreadPoolExecutor(options.at_once) as pool:
        list(pool.map(one, missing))
    print(write_table(options.results, runs, epochs))


def place(runs: Path, epochs: int, row: str, seed: int) -> Path:
    name = "".join(c if c.isalnum() else "_" for c in row)
    return runs / f"{epochs}_epochs" / f"{name}_{seed}"


def settings(runs: Path, epochs: int, row: str, seed: int) -> list[str]:
    r"""What ``latentgraph train`` is called with."""
    block, options, channels, _, level = ROWS[row]
    context = None
    if block is not None and block not in CONTROLS:
        context = {"block": block, "options": options}
    levels = [] if level == -1 else [f"--model.network.context_levels=[{level}]"]
    return [
        *("--config", "apartments"),
        *("--data.root", str(runs / "scenes")),
        *("--out", str(place(runs, epochs, row, seed))),
        *("--seed_everything", str(seed)),
        *("--model.network.context", json.dumps(context)),
        *("--model.network.channels", json.dumps(channels)),
        *levels,
        *("--data.num_workers", "0"),
        *("--trainer.max_epochs", str(epochs)),
        *("--trainer.check_val_every_n_epoch", str(epochs)),
        *("--trainer.enable_progress_bar", "false"),
    ]


def finished(runs: Path, epochs: int, row: str, seed: int) -> dict[str, Any] | None:
    r"""The result of a run, if it is there and was made with these settings."""
    path = place(runs, epochs, row, seed) / "result.json"
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found if found["settings"] == settings(runs, epochs, row, seed) else None


def estimate(
    runs: Path,
    epochs: int,
    jobs: list[tuple[str, int]],
    missing: list[tuple[str, int]],
    at_once: int,
) -> str:
    known = [found["seconds"] for job in jobs if (found := finished(runs, epochs, *job))]
    minutes = sum(known) / len(known) / 60 if known else MINUTES_AN_EPOCH * epochs
    left = minutes * -(-len(missing) // at_once)
    return (
        f"{len(jobs)} runs, {len(missing)} of them still to do, {at_once} at a time and about "
        f"{minutes:.0f} minutes each: about {left:.0f} minutes on {at_once} cores. Stop and start "
        f"at will; what happens is told in {runs}/*/*/log.txt"
    )


def make_scenes(runs: Path) -> None:
    r"""Train and validation from one seed, test from another."""
    from latentgraph.scannet.prepare import prepare
    from latentgraph.scannet.rooms import write_rooms

    write_rooms(runs / "scenes", NUM_TRAIN, NUM_VAL, kind="apartments", seed=0)
    write_rooms(runs / "test", 0, NUM_TEST, kind="apartments", seed=1)
    for folder in ("scenes", "test"):
        prepare(runs / folder, num_workers=2)


def start(runs: Path, epochs: int, row: str, seed: int) -> None:
    r"""One run in a process of its own, on one thread."""
    out = place(runs, epochs, row, seed)
    if (out / "result.json").is_file():  # of other settings, which its checkpoint has too
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "benchmarks.apartments", "--runs", str(runs)]
    command += ["--epochs", str(epochs), "--only", row, str(seed)]
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with (out / "log.txt").open("a", encoding="utf-8") as log:
        done = subprocess.run(  # noqa: S603
            command, env=os.environ | threads, stdout=log, stderr=subprocess.STDOUT
        )
    if done.returncode:
        raise SystemExit(f"{row}, seed {seed} failed: see {out / 'log.txt'}")
    result = finished(runs, epochs, row, seed)
    assert result is not None
    print(f"{row}, seed {seed}: validation {result['val']:.1f}", flush=True)


def run(runs: Path, epochs: int, row: str, seed: int) -> None:
    import torch
    from torch import Tensor
    from torch_geometric.data import Data

    from benchmarks.apartments.rooms import looked_at
    from latentgraph.scannet.data_module import SceneDataModule
    from latentgraph.scannet.dataset import ScanNet
    from latentgraph.scannet.lightning_module import SegmentationModule
    from latentgraph.scannet.train import TrainCLI

    block, _, channels, true_rooms, _ = ROWS[row]

    class TrueRooms(SegmentationModule):
        def context_batch(self, batch: Data) -> Tensor:
            rooms = int(batch.room.max()) + 1
            return torch.unique(batch.batch * rooms + batch.room, return_inverse=True)[1]

    def score() -> tuple[float, float]:
        iou = dict(zip(names, module.score().iou.tolist(), strict=True))
        alike = [iou[name] for group in LOOK_ALIKES for name in group]
        return 100 * module.score().miou, 100 * sum(alike) / len(alike)

    arguments = settings(runs, epochs, row, seed)
    cli = TrainCLI([*arguments, "--resume"], TrueRooms if true_rooms else SegmentationModule)
    module, names = cli.model, cli.model.segmenter.labels.names
    if block in CONTROLS:
        module.segmenter.network.context[str(len(channels) - 1)] = CONTROLS[block](channels[-1])
    scenes = SceneDataModule(runs / "test", num_workers=0)
    some = list(ScanNet(runs / "test", "val"))[:LOOKED_AT]
    before = looked_at(module.segmenter, some, true_rooms)
    begin = time.perf_counter()
    cli.trainer.fit(module, cli.datamodule, ckpt_path=cli.resume_from)
    seconds = time.perf_counter() - begin
    cli.trainer.validate(module, cli.datamodule, verbose=False)
    val, _ = score()
    cli.trainer.validate(module, scenes, verbose=False)
    test, look_alikes = score()
    result = {
        "settings": arguments,
        "val": val,
        "test": test,
        "look_alikes": look_alikes,
        "before": before,
        "after": looked_at(module.segmenter, some, true_rooms),
        "steps": cli.trainer.global_step,
        "parameters": sum(p.numel() for p in module.segmenter.parameters()),
        "seconds": seconds,
        "machine": machine(),
    }
    path = place(runs, epochs, row, seed) / "result.json"
    part = path.with_suffix(".part")
    part.write_text(json.dumps(result, indent=1), encoding="utf-8")
    os.replace(part, path)


def write_table(results: Path, runs: Path, epochs: int) -> str:
    r"""The table of what is finished, written and returned."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in ROWS:
        seeds = sorted(
            int(path.parent.name.rpartition("_")[2])
            for path in place(runs, epochs, row, 0).parent.glob("*/result.json")
            if path.parent.name.rpartition("_")[0] == place(runs, epochs, row, 0).name[:-2]
        )
        done = [finished(runs, epochs, row, seed) for seed in seeds]
        if kept := [result for result in done if result is not None]:
            found[row] = kept
    text = render(found, epochs)
    results.mkdir(parents=True, exist_ok=True)
    (results / "apartments.md").write_text(text, encoding="utf-8")
    return text


if __name__ == "__main__":
    main()
