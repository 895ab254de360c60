r"""A block of one's own that never holds all nodes at once.

Every node belongs softly to a few regions. A region is the mean of its nodes, and nodes add what
they read from their regions. Two functions of rows and one of what they leave are all that the
engine needs: it runs them on chunks, does so again in the backward pass, handles graphs of any
sizes, and takes nodes from files.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss, one_hot

from latentgraph.functional import (
    Chunk,
    Passes,
    Ragged,
    State,
    latent_to_visible,
    stream,
    sum_nodes,
    visible_to_latent,
)
from latentgraph.out_of_core import stream_chunks

COLORS, CHANNELS = 4, 16


class RegionContext(nn.Module):
    def __init__(self, channels: int, num_regions: int, chunk_size: int | None = None) -> None:
        super().__init__()
        self.channels, self.chunk_size = channels, chunk_size
        self.region = nn.Linear(channels, num_regions)
        self.value = nn.Linear(channels, channels)
        self.up = nn.Linear(channels, channels)

    def forward(
        self, x: Tensor, batch: Tensor | None = None, batch_size: int | None = None
    ) -> Tensor:
        graphs = Ragged.of(batch, batch_size, num_nodes=x.size(0))
        return stream(self.passes(), (x,), graphs, self.chunk_size)

    def passes(self) -> Passes:
        return Passes(self.encode, self.update, self.decode, tuple(self.parameters()))

    def encode(self, chunk: Chunk) -> State:
        r"""Visible to latent: sums over the nodes of a chunk, which the engine adds up."""
        weight = self.region(chunk.x).softmax(-1)
        total = visible_to_latent(self.value(chunk.x), weight, chunk.batch)
        return State((total, sum_nodes(weight, chunk.batch)))

    def update(self, state: State) -> tuple[Tensor]:
        r"""Latent to latent: sums to means."""
        total, weight = state.sums
        return (total / weight.clamp_min(1e-6).unsqueeze(2),)

    def decode(self, chunk: Chunk, message: tuple[Tensor]) -> Tensor:
        r"""Latent to visible: what each node of a chunk reads."""
        weight = self.region(chunk.x).softmax(-1)
        return chunk.x + self.up(latent_to_visible(message[0], weight, chunk.batch))


def graphs(count: int) -> tuple[Tensor, Tensor, Tensor]:
    r"""Nodes with a color and a number; each has to tell the mean number of its color."""
    batch = torch.arange(count).repeat_interleave(torch.randint(11, 47, (count,)))
    color = torch.randint(COLORS, batch.shape)
    group = batch * COLORS + color
    number = torch.randn(count * COLORS)[group] + torch.randn(batch.shape)
    total = torch.zeros(count * COLORS).index_add(0, group, number)
    mean = total / torch.bincount(group, minlength=count * COLORS).clamp_min(1)
    return torch.cat([one_hot(color, COLORS), number.view(-1, 1)], 1), batch, mean[group]


def main(steps: int = 300, num_nodes: int = 30_011) -> tuple[float, float, float]:
    torch.manual_seed(0)
    enter, leave = nn.Linear(COLORS + 1, CHANNELS), nn.Linear(CHANNELS, 1)
    block = RegionContext(CHANNELS, COLORS, chunk_size=128)
    model = nn.ModuleList([enter, block, leave])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(steps):
        x, batch, y = graphs(16)
        optimizer.zero_grad()
        mse_loss(leave(block(enter(x), batch)).squeeze(1), y).backward()
        optimizer.step()

    x, batch, y = graphs(200)
    with torch.no_grad():
        error = (mse_loss(leave(block(enter(x), batch)).squeeze(1), y) / y.var()).item()
        large = torch.randn(num_nodes, CHANNELS)
        block.chunk_size = None
        at_once = block(large)
        block.chunk_size = 1_000
        chunks = (block(large) - at_once).abs().max().item()
        with tempfile.TemporaryDirectory() as folder:
            np.save(Path(folder, "x.npy"), large.numpy())
            mapped = np.load(Path(folder, "x.npy"), mmap_mode="r")
            out = np.array(stream_chunks(block, mapped, Path(folder, "out.npy")))
        from_file = (torch.from_numpy(out) - at_once).abs().max().item()
    print(f"squared error on new graphs, as a share of the variance: {error:.1%}")
    print(f"{num_nodes:,} nodes in chunks, largest difference from all at once: {chunks:.0e}")
    print(f"{num_nodes:,} nodes of a file, largest difference from all at once: {from_file:.0e}")
    return error, chunks, from_file


if __name__ == "__main__":
    main()
