r"""Memory that ``latentgraph predict`` takes for a large scan of one's own, as a whole process.

``python -m benchmarks.own_scan`` writes points on the surfaces of a generated apartment to a file
without normals, labels them with networks of random weights, and writes a table to
``benchmarks/results/own_scan.md``. Linux only.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import yaml

from benchmarks.machine import machine
from benchmarks.tables import RESULTS, publish
from latentgraph.scannet import NetworkConfig, Segmenter
from latentgraph.scannet.checkpoint import save_checkpoint
from latentgraph.scannet.network_config import Context
from latentgraph.scannet.ply import write_ply
from latentgraph.scannet.rooms import make_scene
from latentgraph.scannet.train import recipes

CONTEXT = Context("LatentGNN", {"latent_dims": (32,), "norm": "batch_norm"})
SPUNET = yaml.safe_load(recipes()["scannet20"].read_text())["model"]["network"]
NETWORKS = {
    "that of the demo, 0.14 m": NetworkConfig(
        voxel_size=0.14, channels=(16, 32, 64), context=CONTEXT
    ),
    "four levels, 0.05 m": NetworkConfig(context=CONTEXT),
    "sparse U-Net 34C, 0.02 m": NetworkConfig.from_dict(SPUNET),
}
# The command in a process that tells how much memory it took at most; getrusage would count what
# its parent had as well.
PROCESS = """
import sys
from latentgraph.cli import main
main(sys.argv[1:])
(line,) = (line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
print("peak", 1024 * int(line.split()[1]), file=sys.stderr)
"""


def main() -> None:
    r"""Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=2_000_000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table = report(Path(folder), arguments.points)
    publish(table, arguments.out, "own_scan.md")


def report(folder: Path, count: int) -> str:
    r"""The results as Markdown."""
    write_cloud(folder / "scan.ply", count)
    megabytes = (folder / "scan.ply").stat().st_size / 1e6
    lines = [
        f"`python -m benchmarks.own_scan --points {count}`: `latentgraph predict` on a PLY of "
        f"{count:,} colored points without normals, {megabytes:.0f} MB, on the surfaces of a "
        f"generated apartment. Memory of the whole process at its peak; "
        f"{machine()}.",
        "",
        "| network and voxels | GB |",
        "| --- | --- |",
    ]
    for name, config in NETWORKS.items():
        torch.manual_seed(0)
        save_checkpoint(Segmenter(config), folder / "network.ckpt")
        lines.append(f"| {name} | {peak(folder) / 1e9:.2f} |")
    return "\n".join([*lines, ""])


def peak(folder: Path) -> int:
    r"""Bytes that a process takes which labels the scan and writes page and PLY."""
    command = [sys.executable, "-c", PROCESS, "predict", str(folder / "scan.ply")]
    command += ["--checkpoint", str(folder / "network.ckpt"), "--out", str(folder / "out")]
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        raise RuntimeError(done.stderr)
    return int(done.stderr.rpartition("peak ")[2])


def write_cloud(path: Path, count: int) -> None:
    r"""Points all over the surfaces of an apartment, in the colors of the corner next to them."""
    random = np.random.default_rng(0)
    scene = make_scene(0, kind="apartments")
    corners = scene.pos[scene.faces].astype(np.float64)
    sides = corners[:, 1:] - corners[:, :1]
    area = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1)
    face = random.choice(len(area), count, p=area / area.sum())
    share = random.dirichlet((1.0, 1.0, 1.0), count)
    pos = np.einsum("nc,ncd->nd", share, corners[face]).astype(np.float32)
    write_ply(path, pos, scene.color[scene.faces[face, share.argmax(axis=1)]])


if __name__ == "__main__":
    main()
