r"""One point cloud, its points spread over processes.

Each process reads its share of the points from memory-mapped files and calls an ordinary model
inside ``sharded_nodes``: LatentGNN exchanges its latent state, and all gradients are those of one
process on all points. The task needs the whole cloud: which points lie nearer to its center than
half of them do, for a cloud that is moved and stretched at random.

    python examples/sharded_points.py --points 20000000

takes some minutes and 8 GB of memory for the two processes together, 0.5 GB of disk.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from latentgraph.distributed import sharded_nodes, sum_gradients
from latentgraph.nn import LatentGNN, position_features

ROWS = 1_000_000
STATUS = Path("/proc/self/status")


class Segmenter(nn.Module):
    r"""Inside or outside, for each point."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, channels), nn.Linear(channels, 2)
        self.context = LatentGNN(channels, latent_dims=(16,), affinity_channels=4, gamma_init=0.1)

    def forward(self, pos: Tensor) -> Tensor:
        features = position_features(pos)
        x = self.first(features / 10).relu()
        y: Tensor = self.last(self.context(x, affinity_x=features))
        return y


def write_cloud(folder: Path, num_points: int) -> None:
    r"""A cloud far from the origin, and which half of its points is the inner one."""
    pos = np.lib.format.open_memmap(folder / "pos.npy", "w+", np.float32, (num_points, 3))
    inner = np.lib.format.open_memmap(folder / "inner.npy", "w+", np.int64, (num_points,))
    half = 1.538  # median length of a normal vector in three dimensions
    torch.manual_seed(0)
    center, size = 50 * torch.randn(3), 10.0
    for start in range(0, num_points, ROWS):
        unit = torch.randn(min(ROWS, num_points - start), 3)
        pos[start : start + ROWS] = center + size * unit
        inner[start : start + ROWS] = unit.norm(dim=1) < half


def own_rows(path: Path, rank: int, num_ranks: int) -> Tensor:
    r"""The rows of one rank; those of others are never read."""
    rows = np.load(path, mmap_mode="r")
    return torch.from_numpy(
        np.array(rows[len(rows) * rank // num_ranks : len(rows) * (rank + 1) // num_ranks])
    )


def train(folder: Path, channels: int, steps: int) -> None:
    r"""What every process runs."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // int(os.environ["WORLD_SIZE"])))
    dist.init_process_group("gloo")
    rank, num_ranks = dist.get_rank(), dist.get_world_size()
    pos = own_rows(folder / "pos.npy", rank, num_ranks)
    inner = own_rows(folder / "inner.npy", rank, num_ranks)
    counted = torch.tensor(float(len(pos)), dtype=torch.float64)
    dist.all_reduce(counted)
    torch.manual_seed(0)
    model = Segmenter(channels)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for number in range(steps):
        start = time.perf_counter()
        optimizer.zero_grad()
        with sharded_nodes():
            logits = model(pos)
        loss = F.cross_entropy(logits, inner, reduction="sum") / float(counted)
        loss.backward()
        sum_gradients(model)
        optimizer.step()
        facts = torch.stack([loss.detach().double(), (logits.argmax(1) == inner).sum() / counted])
        del logits, loss
        dist.all_reduce(facts)
        if rank == 0:
            seconds = time.perf_counter() - start
            print(f"step {number}: loss {facts[0]:.3f}, right {facts[1]:.1%}, {seconds:.1f} s")
    for each in range(num_ranks):
        dist.barrier()
        if rank == each:
            print(
                f"process {rank}: {len(pos):,} points, {pos.nbytes / 1e6:,.0f} MB of them, "
                f"at most {peak_bytes() / 1e6:,.0f} MB of memory",
                flush=True,
            )
    if counted <= ROWS:
        compare(model, pos, folder)
    dist.destroy_process_group()


@torch.no_grad()
def compare(model: nn.Module, pos: Tensor, folder: Path) -> None:
    r"""Say how far the rows of this process are from those of one process on all points."""
    with sharded_nodes():
        own = model(pos)
    whole = own_rows(folder / "pos.npy", 0, 1)
    rank, num_ranks = dist.get_rank(), dist.get_world_size()
    start = len(whole) * rank // num_ranks
    expected = model(whole)[start : start + len(own)]
    difference = (own - expected).abs().max() / expected.abs().max()
    dist.all_reduce(difference, op=dist.ReduceOp.MAX)
    if rank == 0:
        print(f"largest difference from one process: {difference:.0e}", flush=True)


def peak_bytes() -> int:
    r"""The most memory that this process has had; 0 where the system does not tell."""
    lines = STATUS.read_text().splitlines() if STATUS.exists() else []
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=200_003)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="with room for the files")
    args = parser.parse_args()
    if "WORLD_SIZE" in os.environ:
        train(args.folder, args.channels, args.steps)
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        write_cloud(Path(folder), args.points)
        launcher = ["-m", "torch.distributed.run", "--standalone"]
        sizes = [f"--channels={args.channels}", f"--steps={args.steps}", f"--folder={folder}"]
        command = [*launcher, f"--nproc-per-node={args.processes}", __file__, *sizes]
        subprocess.run([sys.executable, *command], check=True)  # noqa: S603


if __name__ == "__main__":
    main()
