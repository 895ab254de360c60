r"""How much of what a node hears comes from its own room, and how alike latent nodes are."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.apartments.blocks import GridMeans, PlacedNonLocal, some_graphs
from latentgraph.functional import Ragged
from latentgraph.inspection.affinity import dense
from latentgraph.nn import LatentGNN


@torch.no_grad()
def looked_at(segmenter: nn.Module, scenes: list[Any], true_rooms: bool = False) -> dict[str, Any]:
    r"""Means over scenes: share of a node's affinity in its own room, cosine between latents.

    Args:
        segmenter: a trained or untrained :class:`~latentgraph.scannet.segmenter.Segmenter`.
        scenes: as the dataset holds them, before voxels.
        true_rooms: whether the context is that of the true room.
    """
    was_training = segmenter.training
    segmenter.eval()
    found: list[tuple[float, float]] = []
    for scene in scenes:
        for block, inputs, room, _ in calls(segmenter, scene):
            if true_rooms:
                found.append((1.0, float("nan")))
                continue
            weight = pairs(block, *inputs).abs()
            same = room.unsqueeze(0) == room.unsqueeze(1)
            heard = weight.sum(1).clamp_min(1e-30)
            alike = float("nan")
            if isinstance(block, LatentGNN):
                x, graphs, affinity_x = inputs
                _, kernels = block(x, graphs, affinity_x=affinity_x, return_affinity=True)
                z = F.normalize(kernels[0].latent[0], dim=1)
                alike = float((z @ z.T)[~torch.eye(len(z), dtype=torch.bool)].mean())
            found.append((float(((weight * same).sum(1) / heard).mean()), alike))
    segmenter.train(was_training)
    if not found:
        return {"own_room": None, "alike": None}
    own, alike = torch.tensor(found).mean(0).tolist()
    return {"own_room": 100 * own, "alike": None if alike != alike else alike}


def calls(segmenter: Any, scene: Any) -> list[tuple[nn.Module, tuple[Any, ...], Tensor, Tensor]]:
    r"""The calls of context blocks on a scene: block, (x, graphs, affinity_x), room, position."""
    voxels = segmenter.voxelize(scene.clone())
    levels = segmenter.network.levels(voxels.coord)
    found = []

    def keep(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], level: int) -> None:
        room = levels.pool(voxels.room, level, "min")
        graphs = some_graphs(args[1], room)
        pos = levels.pool(voxels.pos, level)
        found.append((block, (args[0], graphs, kwargs.get("affinity_x")), room, pos))

    hooks = [
        block.register_forward_pre_hook(
            lambda b, a, k, level=int(level): keep(b, a, k, level), with_kwargs=True
        )
        for level, block in segmenter.network.context.items()
    ]
    segmenter.network(voxels.x, levels, pos=voxels.pos)
    for hook in hooks:
        hook.remove()
    return found


def pairs(block: nn.Module, x: Tensor, graphs: Ragged, affinity_x: Tensor | None) -> Tensor:
    r"""(N, N), the weight with which node i hears from node j of the same scene."""
    if isinstance(block, PlacedNonLocal):
        assert affinity_x is not None
        return block.weights(x, affinity_x)
    if isinstance(block, GridMeans):
        assert affinity_x is not None
        return block.weights(affinity_x)
    seen = {} if affinity_x is None else {"affinity_x": affinity_x}
    graph = block.message_graph(x, graphs, **seen)  # type: ignore[operator]
    return sum(dense(graph, 0, 2**26))
