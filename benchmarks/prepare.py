r"""How long it takes to prepare one large scan, on one core.

``python -m benchmarks.prepare`` writes a generated scan with a fine mesh to a temporary folder,
prepares it again and again, and writes a table to ``benchmarks/results/prepare.md``.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from time import perf_counter

import torch

from benchmarks.machine import machine
from benchmarks.memory import peak_of
from benchmarks.tables import RESULTS, publish, with_spread
from latentgraph.scannet.prepare import prepare
from latentgraph.scannet.reader import read_scan
from latentgraph.scannet.rooms import make_scene, write_scan
from latentgraph.scannet.rooms.raw import label_table
from latentgraph.scannet.truth import TABLE_NAME

SCAN = "scene0000_00"


def main() -> None:
    r"""Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edge", type=float, default=0.02, help="meters between vertices")
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        table = report(Path(folder), arguments.edge, arguments.repetitions)
    publish(table, arguments.out, "prepare.md")


def report(root: Path, edge: float, repetitions: int) -> str:
    r"""The results as Markdown."""
    scan = root / "scans" / SCAN
    scan.mkdir(parents=True)
    scene = make_scene(0, edge=edge)
    write_scan(scene, scan, SCAN)
    (root / TABLE_NAME).write_text(label_table(), encoding="utf-8")

    def whole() -> None:
        (root / "prepared" / f"{SCAN}.pt").unlink(missing_ok=True)
        made = prepare(root, progress=False)
        if not made.clean:
            raise RuntimeError(str(made))

    _, peak = peak_of(whole)
    lines = [
        f"`python -m benchmarks.prepare`: one scan of {len(scene.pos):,} vertices and "
        f"{len(scene.faces):,} faces, one core, {machine()}. "
        f"At its peak preparing takes {peak.above / 1e6:.0f} MB more.",
        "",
        "Seconds, median (least to most) of " + f"{repetitions}:",
        "",
        "| step | seconds |",
        "| --- | --- |",
    ]
    for name, step in (("read the raw files", lambda: read_scan(scan)), ("prepare", whole)):
        seconds = []
        for _ in range(repetitions):
            begun = perf_counter()
            step()
            seconds.append(perf_counter() - begun)
        lines.append(f"| {name} | {with_spread(seconds, 2)} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
