r"""Training steps of voxel U-Nets against their bare matrix products, and the recipes' sizes.

``python -m benchmarks.voxel_unet`` prints two tables and writes them to ``benchmarks/results``.

Bare products are those of :mod:`benchmarks.voxel_conv`, for every convolution and linear map of a
network, forward and backward. A step is forward, backward and optimizer, its graphs found ahead as
the loader's processes do. Both run in turn, so that a busy machine slows down both.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from benchmarks.machine import machine
from benchmarks.tables import RESULTS, publish, with_spread
from benchmarks.voxel_conv import in_turn, surface_voxels
from latentgraph.inspection import costs
from latentgraph.models import VoxelUNet
from latentgraph.scannet.network_config import NetworkConfig
from latentgraph.scannet.train import recipes
from latentgraph.voxel import VoxelConv, VoxelGraph

NETWORKS: dict[str, Callable[[], VoxelUNet]] = {
    "wide, 32-64-128-256": lambda: VoxelUNet(6, 20, channels=(32, 64, 128, 256)),
    "sparse U-Net 34C": lambda: VoxelUNet.spunet34c(6, 20),
}
OVERLAYS = ("", "with_global_context", "with_latent_gnn", "with_latent_gnns", "with_color_alone")


def bare_products(model: VoxelUNet, x: Tensor, levels: Any) -> list[Callable[[], object]]:
    r"""The products of each layer of a network, of features gathered beforehand."""
    found: list[Callable[[], object]] = []

    def linear(a: Tensor, w: Tensor) -> None:
        g = torch.randn(a.size(0), w.size(1))
        found.append(lambda: (a @ w, g @ w.T, a.T @ g))

    def hook(module: nn.Module, given: tuple[Any, ...], out: Tensor) -> None:
        if isinstance(module, nn.Linear):
            linear(torch.randn(given[0].shape), module.weight.detach().T)
        elif isinstance(module, VoxelConv):
            graph: VoxelGraph = given[1]
            for w, size in zip(module.weight.detach(), _sizes(graph), strict=True):
                linear(torch.randn(size, w.size(0)), w)

    handles = [module.register_forward_hook(hook) for module in model.modules()]
    with torch.no_grad():
        model(x, levels)
    for handle in handles:
        handle.remove()
    return found


def _sizes(graph: VoxelGraph) -> list[int]:
    return torch.tensor(graph.edges.sizes).sum(0).tolist()


def measure(name: str, coord: Tensor, threads: int, repetitions: int) -> str:
    r"""A row of the first table."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = NETWORKS[name]()
    x, y = torch.randn(len(coord), 6), torch.randint(0, 20, (len(coord),))
    levels = model.levels(coord)
    products = bare_products(model, x, levels)
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, nesterov=True)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x, levels), y).backward()
        optimizer.step()

    entries = {"bare": lambda: [run() for run in products], "step": step}
    times = in_turn(entries, repetitions)
    # By themselves, as in the processes that load.
    times |= in_turn({"graphs": lambda: model.levels(coord)}, 3 * repetitions)
    ratios = [a / b for a, b in zip(times["step"], times["bare"], strict=True)]
    bare, whole, graphs = (with_spread(times[key], 0) for key in ("bare", "step", "graphs"))
    return f"| {threads} | {name} | {bare} | {whole} | {with_spread(ratios, 2)} | {graphs} |"


def sizes(coord: Tensor) -> list[str]:
    r"""Rows of the second table."""
    rows = []
    for base in ("scannet20", "scannet200"):
        for overlay in OVERLAYS:
            settings = yaml.safe_load(recipes()[base].read_text())["model"]["network"]
            if overlay:
                settings |= yaml.safe_load(recipes()[overlay].read_text())["model"]["network"]
            if settings.get("context"):
                settings["context"].setdefault("options", {})
            model = NetworkConfig.from_dict(settings).build()
            x = torch.randn(len(coord), model.in_channels)
            cost = costs(model, x, model.levels(coord)).total
            name = f"`{base}`" + (f" and `{overlay}`" if overlay else "")
            rows.append(f"| {name} | {cost.parameters:,} | {cost.multiply_adds / 1e9:.1f} |")
    return rows


def main() -> None:
    r"""Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--voxels", type=int, default=50_000)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, torch.get_num_threads()])
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    coord = surface_voxels(arguments.voxels)
    lines = [
        f"`{' '.join(['python -m benchmarks.voxel_unet', *sys.argv[1:]])}`: {len(coord):,} voxels, "
        f"{machine()}.",
        "",
        "Milliseconds, median (least to most); ratio: the step over the bare products of the same "
        "repetition. Graphs are found once for each input, in the loader's processes.",
        "",
        "| threads | network | bare products | training step | ratio | graphs |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for threads in dict.fromkeys(arguments.threads):
        lines += [measure(name, coord, threads, arguments.repetitions) for name in NETWORKS]
    lines += ["", "| recipe | parameters | multiply-adds, 10⁹ |", "| --- | --- | --- |"]
    lines += sizes(coord)
    publish("\n".join([*lines, ""]), arguments.out, "voxel_unet.md")


if __name__ == "__main__":
    main()
