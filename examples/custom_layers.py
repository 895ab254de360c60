r"""A block of one's own from the three layers, in both of their forms.

Nodes carry a color and a number. Each has to tell the mean number of the next color in its graph,
and as there are no edges, all that it hears of the others comes through latent nodes. With dense
weights every node writes to all latent nodes; with edges only to the two that suit it best.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss, one_hot
from torch_geometric.utils import softmax

from latentgraph.functional import softmax_over_nodes
from latentgraph.nn import LatentToLatentConv, LatentToVisibleConv, VisibleToLatentConv

COLORS, CHANNELS, LATENTS = 3, 32, 8


class Exchange(nn.Module):
    r"""Nodes write to latent nodes, these exchange what they hold, and nodes read from them."""

    def __init__(self, top_k: int | None) -> None:
        super().__init__()
        self.top_k = top_k
        self.to_write = nn.Linear(CHANNELS, LATENTS)
        self.to_read = nn.Linear(CHANNELS, LATENTS)
        self.value = nn.Linear(CHANNELS, CHANNELS)
        self.write = VisibleToLatentConv()
        self.exchange = LatentToLatentConv(temperature=0.1)
        self.read = LatentToVisibleConv()

    def forward(self, x: Tensor, batch: Tensor, batch_size: int) -> Tensor:
        write, read = self.to_write(x), self.to_read(x)
        if self.top_k is None:
            edges, back = None, None
            write, read = softmax_over_nodes(write, batch), read.softmax(1)
        else:
            edges, write = self.best(write, batch)
            write = softmax(write, edges[1], num_nodes=batch_size * LATENTS)
            back, read = self.best(read, batch)
            read, back = softmax(read, back[0], num_nodes=x.size(0)), back.flip(0)
        z = self.write(self.value(x), edges, write, batch, batch_size, LATENTS)
        z = self.exchange(z, batch_size=batch_size)
        return x + self.read(z, back, read, batch, batch_size)

    def best(self, score: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
        r"""Edges from each node to the latent nodes that it likes best, and how much."""
        score, latent = score.topk(self.top_k)
        node = torch.arange(len(batch)).view(-1, 1).expand_as(latent)
        latent = latent + LATENTS * batch.view(-1, 1)  # latent nodes are numbered across graphs
        return torch.stack([node.flatten(), latent.flatten()]), score.flatten()


class Model(nn.Module):
    def __init__(self, top_k: int | None = None) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Linear(COLORS + 1, CHANNELS), nn.ReLU())
        self.exchange = Exchange(top_k)
        self.leave = nn.Sequential(nn.Linear(CHANNELS, CHANNELS), nn.ReLU(), nn.Linear(CHANNELS, 1))

    def forward(self, x: Tensor, batch: Tensor, batch_size: int) -> Tensor:
        return self.leave(self.exchange(self.enter(x), batch, batch_size)).squeeze(1)


def graphs(count: int) -> tuple[Tensor, Tensor, Tensor]:
    batch = torch.arange(count).repeat_interleave(torch.randint(11, 47, (count,)))
    color = torch.randint(COLORS, batch.shape)
    group = batch * COLORS + color
    number = torch.randn(count * COLORS)[group] + 0.1 * torch.randn(batch.shape)
    total = torch.zeros(count * COLORS).index_add(0, group, number)
    mean = total / torch.bincount(group, minlength=count * COLORS).clamp_min(1)
    x = torch.cat([one_hot(color, COLORS), number.view(-1, 1)], 1)
    return x, batch, mean[batch * COLORS + (color + 1) % COLORS]


def error_after_training(top_k: int | None, steps: int) -> float:
    model = Model(top_k)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(steps):
        x, batch, y = graphs(32)
        optimizer.zero_grad()
        mse_loss(model(x, batch, 32), y).backward()
        optimizer.step()
    x, batch, y = graphs(200)
    with torch.no_grad():
        return (mse_loss(model(x, batch, 200), y) / y.var()).item()


def main(steps: int = 300) -> tuple[float, float]:
    torch.manual_seed(0)
    dense = error_after_training(None, steps)
    edges = error_after_training(2, steps)
    print("squared error on new graphs, as a share of the variance")
    print(f"  dense weights, {LATENTS} latent nodes each    {dense:6.1%}")
    print(f"  edges to the best 2 of them          {edges:6.1%}")
    return dense, edges


if __name__ == "__main__":
    main()
