r"""Nodes sharded over two processes of one thread, against one process of two threads.

``python -m benchmarks.sharding`` prints a table and writes it to ``benchmarks/results``. Both run
in turn, again and again, so that a busy machine slows down both.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
import torch.distributed as dist

from benchmarks.machine import processor, today, versions
from benchmarks.tables import RESULTS, publish, with_spread
from latentgraph.distributed import sharded_nodes, sum_gradients
from latentgraph.nn import GlobalContext, LatentGNN

BLOCKS: dict[str, Callable[[int], torch.nn.Module]] = {
    "LatentGNN": LatentGNN,
    "GlobalContext": GlobalContext,
}
STEPS = ("forward", "forward and backward")


def _work(
    pipe: Connection, name: str, shape: tuple[int, int], rank: int, num_ranks: int, store: str
) -> None:
    r"""A process with its share of the nodes, which runs the steps that it is told."""
    torch.set_num_threads(2 // num_ranks)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=num_ranks)
    torch.manual_seed(0)
    block = BLOCKS[name](shape[1])
    torch.manual_seed(rank)
    x = torch.randn(shape[0] // num_ranks, shape[1])
    weight = torch.randn_like(x)

    def run(step: str) -> None:
        if step == "forward":
            with torch.no_grad():
                block(x)
            return
        block.zero_grad()
        block(x.requires_grad_()).backward(weight)
        x.grad = None
        if num_ranks > 1:
            sum_gradients(block)

    pipe.send("ready")
    for step in iter(pipe.recv, None):
        if num_ranks == 1:
            run(step)
        else:
            with sharded_nodes():
                run(step)
        pipe.send("done")
    dist.destroy_process_group()


class Team:
    r"""Processes that share the nodes."""

    def __init__(self, name: str, shape: tuple[int, int], num_ranks: int, folder: str) -> None:
        store = Path(folder, f"{name}-{num_ranks}").as_uri()
        context = mp.get_context("spawn")
        self.pipes, self.processes = [], []
        for rank in range(num_ranks):
            ours, theirs = context.Pipe()
            job = (theirs, name, shape, rank, num_ranks, store)
            process = context.Process(target=_work, args=job, daemon=True)
            process.start()
            self.pipes.append(ours)
            self.processes.append(process)
        self._wait()

    def seconds(self, step: str) -> float:
        r"""From the word to the last process that is done."""
        start = perf_counter()
        for pipe in self.pipes:
            pipe.send(step)
        self._wait()
        return perf_counter() - start

    def close(self) -> None:
        for pipe in self.pipes:
            pipe.send(None)
        for process in self.processes:
            process.join()

    def _wait(self) -> None:
        for pipe in self.pipes:
            pipe.recv()


def measure(name: str, shape: tuple[int, int], repetitions: int) -> list[dict[str, Any]]:
    r"""The rows of one block: one process of two threads, and two of one, in turn."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        single, pair = (Team(name, shape, num_ranks, folder) for num_ranks in (1, 2))
        for step in STEPS:
            for team in (single, pair):
                team.seconds(step)
            times = [(single.seconds(step), pair.seconds(step)) for _ in range(repetitions)]
            rows.append(
                {
                    "block": name,
                    "step": step,
                    "single": [one for one, _ in times],
                    "pair": [two for _, two in times],
                    "ratio": median(one / two for one, two in times),
                }
            )
            print(f"{name}, {step}: {rows[-1]['ratio']:.2f}", flush=True)
        for team in (single, pair):
            team.close()
    return rows


def report(machine: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    r"""The results as Markdown."""
    facts = ", ".join(f"{name} {value}" for name, value in machine.items())
    blocks = " ".join(dict.fromkeys(row["block"] for row in rows))
    lines = [
        f"`python -m benchmarks.sharding --blocks {blocks} --repetitions {len(rows[0]['pair'])}`: "
        f"{facts}.",
        "",
        "Seconds, median (least to most); speed: median over pairs of runs of the time of one "
        "process over that of two.",
        "",
        "| block | step | 1 process, 2 threads | 2 processes, 1 thread each | speed |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        one, two = (with_spread(row[key], 2) for key in ("single", "pair"))
        lines.append(f"| {row['block']} | {row['step']} | {one} | {two} | {row['ratio']:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    r"""Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--nodes", type=int, default=2_000_000)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--blocks", nargs="+", choices=BLOCKS, default=[*BLOCKS])
    parser.add_argument("--repetitions", type=int, default=11)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    machine = {
        "nodes": args.nodes,
        "channels": args.channels,
        "processor": processor(),
        **versions(),
        "day": today(),
    }
    shape = (args.nodes, args.channels)
    rows = [row for name in args.blocks for row in measure(name, shape, args.repetitions)]
    publish(report(machine, rows), args.out, "sharding.md")
    results = {"machine": machine, "rows": rows}
    (args.out / "sharding.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
