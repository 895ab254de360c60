r"""How long a step of training takes with each block: the same two apartments, in turn, alone.

Rows alternate, so that a slower minute of the machine meets all of them. One thread; run it on an
idle machine, after ``python -m benchmarks.apartments`` has made the scenes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.data import Batch, Data

from benchmarks.apartments.blocks import CONTROLS, ROWS
from benchmarks.machine import machine
from latentgraph.scannet.dataset import ScanNet
from latentgraph.scannet.labels import IGNORE_INDEX
from latentgraph.scannet.network_config import Context, NetworkConfig
from latentgraph.scannet.segmenter import Segmenter

VOXEL_SIZE, LEARNING_RATE = 0.14, 0.005  # of the recipe
WARM_UP = 2


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.apartments.cost", description=__doc__)
    parser.add_argument("--steps", type=int, default=15, help="of each row (15)")
    parser.add_argument("--runs", type=Path, default=Path("runs/apartments"))
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    some = ScanNet(options.runs / "scenes", "train")
    scenes = [some[0], some[1]]
    rows = [row for row, values in ROWS.items() if not values.true_rooms]
    text = render(measure({row: network(row) for row in rows}, scenes, options.steps))
    (options.results / "apartments_cost.md").write_text(text, encoding="utf-8")
    print(text)


def network(row: str) -> Segmenter:
    block, options, channels, _, level = ROWS[row]
    context = Context(block, options) if block is not None and block not in CONTROLS else None
    config = NetworkConfig(
        voxel_size=VOXEL_SIZE, channels=channels, context=context, context_levels=(level,)
    )
    segmenter = Segmenter(config)
    if block in CONTROLS:
        segmenter.network.context[str(len(channels) - 1)] = CONTROLS[block](channels[-1])
    return segmenter


def measure(
    networks: dict[str, Segmenter], scenes: list[Data], steps: int
) -> dict[str, list[float]]:
    r"""Seconds of each step of each network."""
    batch = Batch.from_data_list([networks[next(iter(networks))].voxelize(s) for s in scenes])
    step = {row: trainer(segmenter, batch) for row, segmenter in networks.items()}
    found: dict[str, list[float]] = {row: [] for row in networks}
    for i in range(WARM_UP + steps):
        for row in networks:
            begin = time.perf_counter()
            step[row]()
            if i >= WARM_UP:
                found[row].append(time.perf_counter() - begin)
    return found


def trainer(segmenter: nn.Module, batch: Data) -> Callable[[], None]:
    r"""One step of training on a batch."""
    optimizer = torch.optim.AdamW(segmenter.parameters(), lr=LEARNING_RATE)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(segmenter(batch), batch.y, ignore_index=IGNORE_INDEX).backward()
        optimizer.step()

    return step


def render(found: dict[str, list[float]]) -> str:
    r"""Milliseconds, and how they compare with those of mean pooling."""
    lines = [
        "# What a step of training costs",
        "",
        "`python -m benchmarks.apartments.cost`: forward, backward and update on two apartments, "
        f"median of {len(next(iter(found.values())))} steps, the rows in turn. "
        f"{machine()}; one thread.",
        "",
        "| block | ms | times mean pooling |",
        "|---|---|---|",
    ]
    unit = median(found["mean pooling, MLP"])
    for row, seconds in found.items():
        lines.append(f"| {row} | {1000 * median(seconds):.0f} | {median(seconds) / unit:.2f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
