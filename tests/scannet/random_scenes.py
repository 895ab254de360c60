r"""Scenes of random vertices, and what turns leave as it is."""

import torch
from torch import Tensor
from torch_geometric.data import Data


def scene(num_vertices: int = 499, classes: int = 5) -> Data:
    r"""Random vertices with everything that a scene may have."""
    return Data(
        pos=torch.rand(num_vertices, 3) * torch.tensor([3.0, 2.0, 1.0]) - 0.7,
        color=torch.rand(num_vertices, 3),
        normal=torch.nn.functional.normalize(torch.randn(num_vertices, 3), dim=1),
        y=torch.randint(-1, classes, (num_vertices,)),
        room=torch.randint(0, 2, (num_vertices,)),
        name="scene0000_00",
    )


def distances(pos: Tensor) -> Tensor:
    r"""Between the first vertices."""
    return (pos[:97, None] - pos[None, :97]).norm(dim=2)


def slopes(data: Data) -> Tensor:
    r"""How far each vertex lies along the normal of each other one: no turn changes it."""
    return data.normal @ data.pos.T - (data.normal * data.pos).sum(dim=1, keepdim=True)
