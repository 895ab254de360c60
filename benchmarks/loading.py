r"""How long an epoch of training waits for its data: ``python -m benchmarks.loading``.

Trains the recipe of the demo, and one with all augmentations at 5 cm, on generated rooms, and
counts the time between asking the loader for a batch and having it. The table goes to
``benchmarks/results/loading.md``.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import yaml
from torch.utils.data import DataLoader

from benchmarks.machine import machine
from benchmarks.tables import RESULTS, publish
from latentgraph.scannet.data_module import SceneDataModule
from latentgraph.scannet.lightning_module import SegmentationModule
from latentgraph.scannet.prepare import prepare
from latentgraph.scannet.rooms import write_rooms
from latentgraph.scannet.train import TrainCLI, recipes


class Waited:
    r"""A loader that adds up the seconds that its batches were waited for."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.loader = loader
        self.seconds: list[float] = []

    def __len__(self) -> int:
        return len(self.loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self.loader)
        self.seconds.append(0.0)
        while True:
            start = perf_counter()
            batch = next(batches, None)
            self.seconds[-1] += perf_counter() - start
            if batch is None:
                return
            yield batch


def epoch(arguments: list[str]) -> tuple[float, float]:
    r"""Seconds of the second epoch, and those of them spent on waiting.

    While it ends the workers go on with a third, as they do in the middle of a run.
    """
    cli = TrainCLI(arguments, SegmentationModule)
    data: SceneDataModule = cli.datamodule
    loaders: list[Waited] = []
    plain = data.train_dataloader

    def train_dataloader() -> Any:
        loaders.append(Waited(plain()))
        return loaders[-1]

    data.train_dataloader = train_dataloader  # type: ignore[method-assign]
    times: list[float] = []
    module = cli.model
    module.on_train_epoch_start = lambda: times.append(perf_counter())
    module.on_train_epoch_end = lambda: times.append(perf_counter())
    cli.trainer.fit(module, data)
    return times[3] - times[2], loaders[0].seconds[1]


def main() -> None:
    r"""Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scenes", type=int, default=24)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    full = yaml.safe_load(recipes()["scannet20"].read_text())["data"]["augment"]
    settings: dict[str, list[str]] = {
        "demo": [],
        "demo at 5 cm, widths 32-64-128, all augmentations of scannet20, mix 0.8": [
            "--model.network.voxel_size=0.05",
            "--model.network.channels=[32,64,128]",
            f"--data.augment={yaml.safe_dump(full, default_flow_style=True, width=10**6)}",
            "--data.mix=0.8",
        ],
    }
    lines = [
        f"`python -m benchmarks.loading`: {options.scenes} rooms, batches of 2, "
        f"{os.cpu_count()} cores, {machine()}. Training has one thread, and two processes load.",
        "",
        "| recipe | seconds of an epoch | of them waiting | share |",
        "| --- | --- | --- | --- |",
    ]
    with tempfile.TemporaryDirectory() as root:
        write_rooms(root, num_train=options.scenes, num_val=1, progress=False)
        prepare(root, progress=False)
        for name, changes in settings.items():
            arguments = ["--config", "demo", "--data.root", root, "--data.num_workers=2"]
            arguments += [f"--out={root}/{len(lines)}", "--trainer.max_epochs=2", *changes]
            arguments += ["--trainer.accelerator=cpu", "--trainer.limit_val_batches=0"]
            whole, waited = epoch(arguments)
            lines.append(f"| {name} | {whole:.1f} | {waited:.2f} | {100 * waited / whole:.1f} % |")
    publish("\n".join([*lines, ""]), options.out, "loading.md")


if __name__ == "__main__":
    main()
