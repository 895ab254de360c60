r"""The sparse convolution against its bare matrix products, and against PyG's RGCNConv.

``python -m benchmarks.voxel_conv`` prints a table and writes it to ``benchmarks/results``.

Bare products are what the convolution cannot do without: one for each kernel offset, of features
that were gathered beforehand; forward :math:`X_k W_k`, backward :math:`G_k W_k^\top` and
:math:`X_k^\top G_k` as well. Whatever is compared is run in turn, again and again, so that a busy
machine slows down all of it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from torch_geometric.nn import RGCNConv

from benchmarks.machine import processor, today, versions
from benchmarks.tables import RESULTS, publish
from latentgraph.voxel import VoxelConv, VoxelGraph, VoxelLevels, neighbor_graph, voxel_keys

BARE = "bare products"
WARM_UP = 2


@dataclass(frozen=True)
class Row:
    r"""Milliseconds of one entry, and how much longer it takes than the bare products."""

    threads: int
    channels: int
    step: str
    name: str
    median_ms: float
    least_ms: float
    most_ms: float
    ratio: float


def surface_voxels(number: int, seed: int = 0) -> Tensor:
    r"""About ``number`` voxels, (n, 3), on eight spheres of different sizes."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(8, 5 * number, 3, generator=generator)
    radius = torch.arange(2, 10).view(8, 1, 1) / 2
    center = 3 * torch.randn(8, 1, 3, generator=generator)
    points = (center + radius * points / points.norm(dim=2, keepdim=True)).view(-1, 3)
    points -= points.amin(0)
    low, high = 0.01, 1.0
    for _ in range(16):
        size = (low * high) ** 0.5
        keys = voxel_keys((points / size).long())
        low, high = (size, high) if keys.unique().numel() > number else (low, size)
    return torch.unique((points / high).long(), dim=0)


def in_turn(entries: dict[str, Callable[[], object]], repetitions: int) -> dict[str, list[float]]:
    r"""Milliseconds of each entry in each repetition."""
    times: dict[str, list[float]] = {name: [] for name in entries}
    for repetition in range(WARM_UP + repetitions):
        for name, entry in entries.items():
            start = perf_counter()
            entry()
            if repetition >= WARM_UP:
                times[name].append(1e3 * (perf_counter() - start))
    return times


def entries(graph: VoxelGraph, channels: int) -> dict[str, dict[str, Callable[[], object]]]:
    r"""What is compared, by step and name."""
    conv = VoxelConv(channels, channels, bias=False)
    relational = RGCNConv(
        channels, channels, graph.num_relations, aggr="add", root_weight=False, bias=False
    )
    relational.weight = conv.weight
    weight = conv.weight.detach()
    edge_index, edge_type = graph.edge_index, graph.edge_type
    x = torch.randn(graph.num_sources, channels, requires_grad=True)
    grad = torch.randn(graph.num_targets, channels)
    layers: dict[str, Callable[[], Tensor]] = {
        "VoxelConv": lambda: conv(x, graph),
        "RGCNConv": lambda: relational(x, edge_index, edge_type),
    }
    _check(layers, x, conv.weight, grad, graph)

    relations = [edge_type == k for k in range(graph.num_relations)]
    sent = [x.detach()[edge_index[0, mask]] for mask in relations]
    wanted = [grad[edge_index[1, mask]] for mask in relations]

    def bare_forward() -> None:
        for a, w in zip(sent, weight, strict=True):
            torch.mm(a, w)

    def bare_both() -> None:
        for a, w, g in zip(sent, weight, wanted, strict=True):
            torch.mm(a, w)
            torch.mm(g, w.T)
            torch.mm(a.T, g)

    def forward(layer: Callable[[], Tensor]) -> Callable[[], object]:
        return torch.no_grad()(layer)

    def both(layer: Callable[[], Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(layer(), [x, conv.weight], grad)

    return {
        "forward": {BARE: bare_forward, **{name: forward(f) for name, f in layers.items()}},
        "forward and backward": {BARE: bare_both, **{name: both(f) for name, f in layers.items()}},
    }


def _check(
    layers: dict[str, Callable[[], Tensor]],
    x: Tensor,
    weight: Tensor,
    grad: Tensor,
    graph: VoxelGraph,
) -> None:
    r"""Each layer equals float64 arithmetic written out, values and gradients."""
    wide = [a.detach().double().requires_grad_() for a in (x, weight)]
    source, target = graph.edge_index
    out = torch.zeros(graph.num_targets, weight.size(2), dtype=torch.float64)
    for k in range(graph.num_relations):
        mask = graph.edge_type == k
        out = out.index_add(0, target[mask], wide[0][source[mask]] @ wide[1][k])
    expected = [out, *torch.autograd.grad(out, wide, grad.double())]
    for name, layer in layers.items():
        out = layer()
        for a, b in zip([out, *torch.autograd.grad(out, [x, weight], grad)], expected, strict=True):
            distance = float((a - b).abs().max() / b.abs().max())
            if not distance <= 1e-5:
                raise RuntimeError(f"{name} is off by {distance:.1e}")


def measure(coord: Tensor, threads: int, channels: int, repetitions: int) -> list[Row]:
    r"""The rows of one number of threads and one of channels."""
    torch.set_num_threads(threads)
    rows = []
    for step, compared in entries(neighbor_graph(coord), channels).items():
        times = in_turn(compared, repetitions)
        for name, ms in times.items():
            ratio = median(a / b for a, b in zip(ms, times[BARE], strict=True))
            rows.append(Row(threads, channels, step, name, median(ms), min(ms), max(ms), ratio))
    return rows


def graph_times(coord: Tensor, threads: int, repetitions: int) -> dict[str, float]:
    r"""Milliseconds for finding the neighbors, and for all graphs of four levels."""
    torch.set_num_threads(threads)
    found = {
        "neighbor_graph": lambda: neighbor_graph(coord),
        "neighbor_graph, kernel_size=5": lambda: neighbor_graph(coord, kernel_size=5),
        "VoxelLevels.build, 4 levels": lambda: VoxelLevels.build(coord, num_levels=4),
    }
    return {name: median(ms) for name, ms in in_turn(found, repetitions).items()}


def report(machine: dict[str, Any], graphs: dict[int, dict[str, float]], rows: list[Row]) -> str:
    r"""The results as Markdown."""
    facts = ", ".join(f"{name} {value}" for name, value in machine.items())
    lines = [
        f"`python -m benchmarks.voxel_conv`: {facts}.",
        "",
        "Milliseconds, median (least to most); ratio: median over the bare products of the same "
        "repetition.",
        "",
        "| threads | channels | step | | ms | ratio |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for r in rows:
        ms = f"{r.median_ms:.1f} ({r.least_ms:.1f} to {r.most_ms:.1f})"
        lines.append(f"| {r.threads} | {r.channels} | {r.step} | {r.name} | {ms} | {r.ratio:.2f} |")
    lines += ["", "| threads | graphs, once for each input | ms |", "| --- | --- | --- |"]
    for threads, times in graphs.items():
        lines += [f"| {threads} | {name} | {ms:.1f} |" for name, ms in times.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    r"""Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--voxels", type=int, default=47_000)
    parser.add_argument("--channels", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, torch.get_num_threads()])
    parser.add_argument("--repetitions", type=int, default=21)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()

    torch.manual_seed(0)
    coord = surface_voxels(arguments.voxels)
    neighbors = neighbor_graph(coord).edge_index.size(1) / len(coord)
    machine = {
        "voxels": len(coord),
        "messages per voxel": round(neighbors, 1),
        "processor": processor(),
        **versions(),
        "day": today(),
    }
    threads = list(dict.fromkeys(arguments.threads))
    graphs = {t: graph_times(coord, t, arguments.repetitions) for t in threads}
    rows = [
        row
        for t in threads
        for channels in arguments.channels
        for row in measure(coord, t, channels, arguments.repetitions)
    ]
    table = report(machine, graphs, rows)
    publish(table, arguments.out, "voxel_conv.md")
    results = {"machine": machine, "graph_ms": graphs, "rows": [asdict(row) for row in rows]}
    (arguments.out / "voxel_conv.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
