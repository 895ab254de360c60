r"""LatentGNN on a graph that stays on disk.

Node features are read from a memory-mapped file, once for each of the two passes, and the output
goes to another. What the process itself holds does not grow with the number of nodes:

    python examples/larger_than_memory.py --nodes 10000000

takes a minute or two and 5 GB of disk. A PyG loader does as well as a file, see ``stream_chunks``.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from latentgraph.nn import LatentGNN
from latentgraph.out_of_core import stream_chunks

ROWS = 65_536
STATUS = Path("/proc/self/status")


class Watched:
    r"""The chunks of a file, and the most memory that was in use when one was asked for."""

    def __init__(self, x: np.ndarray) -> None:
        self.x, self.peak = x, 0

    def __iter__(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self.x), ROWS):
            yield self.x[start : start + ROWS]
            self.peak = max(self.peak, anonymous_bytes())


def anonymous_bytes() -> int:
    r"""Memory of this process that is not part of a file; 0 where the system does not tell."""
    lines = STATUS.read_text().splitlines() if STATUS.exists() else []
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def write_features(path: Path, num_nodes: int, channels: int) -> None:
    x = np.lib.format.open_memmap(path, "w+", np.float32, (num_nodes, channels))
    for start in range(0, num_nodes, ROWS):
        x[start : start + ROWS] = torch.randn(min(ROWS, num_nodes - start), channels)


def main(
    num_nodes: int = 200_003, channels: int = 64, folder: str | None = None
) -> dict[str, float]:
    torch.manual_seed(0)
    block = LatentGNN(channels, gamma_init=0.5).eval()
    with tempfile.TemporaryDirectory(dir=folder) as here:
        source, target = Path(here, "x.npy"), Path(here, "out.npy")
        write_features(source, num_nodes, channels)
        x = np.load(source, mmap_mode="r")
        chunks = Watched(x)
        start = time.perf_counter()
        out = stream_chunks(block, chunks, target)
        seconds = time.perf_counter() - start
        print(
            f"{num_nodes:,} nodes of {channels} channels, {x.nbytes / 1e6:,.0f} MB: {seconds:.1f} s"
        )
        print(f"most memory held beside the files: {chunks.peak / 1e6:,.0f} MB")
        facts = {"anonymous": float(chunks.peak), "seconds": seconds}
        if num_nodes <= 1_000_000:
            with torch.no_grad():
                at_once = block(torch.from_numpy(np.array(x)))
            difference = np.abs(at_once.numpy() - out).max()
            print(f"largest difference from all nodes at once: {difference:.0e}")
            facts["difference"] = float(difference)
    return facts


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=200_003)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--folder", help="with room for both files (default: the temporary one)")
    args = parser.parse_args()
    main(args.nodes, args.channels, args.folder)
