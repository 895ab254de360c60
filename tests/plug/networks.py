r"""Small networks of a user's own, and blocks that change what they are given."""

from functools import partial

import torch
from torch import Tensor, nn
from torch_geometric.nn import GCNConv, GraphNorm, global_mean_pool

from latentgraph.nn import GlobalContext, LatentGNN

IDENTITY = partial(LatentGNN, latent_dims=(3,), reduction=2)
CHANGE = partial(IDENTITY, gamma_init=1.0)
GATE = partial(GlobalContext, ratio=1 / 2, fuse=("mul", "add"))


class Branch(nn.Module):
    r"""A module that calls two layers, and adds its input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bn(self.conv(x)).relu()


class Iterating(nn.Module):
    r"""A module that runs its children one after the other."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        for number, layer in enumerate(layers):
            self.add_module(f"layer_{number}", layer)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = layer(x)
        return x


class Doubling(nn.Sequential):
    r"""A Sequential with a forward of its own."""

    def forward(self, x: Tensor) -> Tensor:
        for layer in self:
            x = layer(x)
        return 2 * x


class ConvNet(nn.Module):
    r"""Maps of 11, 11, 13 and 13 channels, then five classes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 11, 3, padding=1)
        self.branch = Branch(11)
        self.body = nn.Sequential(nn.Conv2d(11, 13, 3), nn.BatchNorm2d(13), nn.ReLU())
        self.iterating = Iterating(nn.Conv2d(13, 13, 1), nn.ReLU())
        self.doubling = Doubling(nn.Conv2d(13, 13, 1), nn.BatchNorm2d(13))
        self.head = nn.Linear(13, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(self.branch(self.stem(x)))
        return self.head(self.doubling(self.iterating(x)).mean((2, 3)))


PLACES = ["stem", "branch", "branch.bn", "body", "body.1", "iterating", "doubling"]


class GraphNet(nn.Module):
    r"""A network on nodes that tells graphs apart."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = GCNConv(7, 11)
        self.norm = GraphNorm(11)
        self.mlp = nn.Sequential(nn.Linear(11, 13), nn.BatchNorm1d(13), nn.ReLU())

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor | None = None) -> Tensor:
        x = self.norm(self.conv(x, edge_index), batch).relu()
        return global_mean_pool(self.mlp(x), batch)


def images(num_samples: int = 2) -> Tensor:
    return torch.randn(num_samples, 3, 7, 5)


def outputs(model: nn.Module, at: str, *args: object) -> Tensor:
    r"""What the module of a name puts out in a run."""
    kept: list[Tensor] = []
    hook = model.get_submodule(at).register_forward_hook(
        lambda module, args, output: kept.append(output.clone())
    )
    model(*args)
    hook.remove()
    (output,) = kept
    return output
