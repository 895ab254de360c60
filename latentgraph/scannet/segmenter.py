r"""A network together with what its predictions mean: classes, voxel size, inputs, training set."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data

from latentgraph.models import cuts, in_columns
from latentgraph.scannet.labels import LabelSet, label_set
from latentgraph.scannet.network_config import NetworkConfig, TrainedOn
from latentgraph.scannet.transforms import Voxelize
from latentgraph.scannet.votes import ONE_VOTE, Look, Votes, batched


class Segmenter(nn.Module):
    r"""Semantic segmentation of scenes: a voxel U-Net that answers for each original vertex.

    Args:
        config: What to build.
        trained_on: The scenes it has learned from, None before training.
    """

    def __init__(self, config: NetworkConfig, trained_on: TrainedOn | None = None) -> None:
        super().__init__()
        self.config = config
        self.trained_on = trained_on
        self.labels: LabelSet = label_set(config.labels)
        self.voxelize = Voxelize(
            config.voxel_size, config.inputs, config.color_range, config.single
        )
        self.network = config.build()

    def forward(self, data: Data, context_batch: Tensor | None = None) -> Tensor:
        r"""Class scores of voxels.

        Args:
            data: One voxelized scene, or a batch of them. With ``data.levels``, the
                :class:`~latentgraph.voxel.VoxelLevels`, nothing has to be searched for.
            context_batch: (n,), which nodes share their context, in place of ``data.batch``.

        Returns:
            (n, number of classes), one row for each voxel.
        """
        grids = (data.coord, data.get("batch"), data.num_graphs if "batch" in data else None)
        scores: Tensor = self.network(
            data.x,
            *((data.levels,) if "levels" in data else grids),
            pos=data.pos,
            context_batch=context_batch,
        )
        return scores

    def predict(self, scene: Data, votes: Votes = ONE_VOTE) -> Tensor:
        r"""The class of every vertex of a scene.

        Args:
            scene: A scene as :class:`~latentgraph.scannet.ScanNet` holds it; labels are not needed.
            votes: How often the network looks at it, and how.

        Returns:
            (V,) int64, class indices of ``labels``.
        """
        return self.scores(scene, votes).argmax(dim=1).cpu()

    @torch.no_grad()
    def scores(self, scene: Data, votes: Votes = ONE_VOTE) -> Tensor:
        r"""The probability of every class at every vertex of a scene: the mean of all votes.

        Args:
            scene: A scene as :class:`~latentgraph.scannet.ScanNet` holds it; labels are not needed.
            votes: How often the network looks at it, and how.

        Returns:
            (V, number of classes) float32, on the network's device.
        """
        device = next(self.parameters()).device
        kept = {"pos", "color", "normal"} & set(scene.keys())
        scene = Data(**{key: scene[key] for key in kept}).to(device)
        was_training = self.training
        self.eval()
        try:
            total = torch.zeros(len(scene.pos), self.labels.num_classes, device=device)
            for looks in batched(votes.looks(scene, self.config), votes.max_voxels):
                for look, part in zip(looks, self._probabilities(looks, votes), strict=True):
                    total.index_add_(0, look.vertices, part[look.voxels.voxel_index])
            return total / total.sum(dim=1, keepdim=True)
        finally:
            self.train(was_training)

    def _probabilities(self, looks: list[Look], votes: Votes) -> Sequence[Tensor]:
        r"""For each look (n, number of classes), of its voxels."""
        if votes.fragment is None or not looks[0].voxels.num_nodes:
            batch = Batch.from_data_list([look.voxels for look in looks])
            sizes = [look.voxels.num_nodes for look in looks]
            return self(batch).float().softmax(dim=1).split(sizes)  # type: ignore[no-any-return]
        return [self._in_fragments(look.voxels, votes.fragment, votes.max_voxels) for look in looks]

    def _in_fragments(self, voxels: Data, fragment: float, max_voxels: int) -> Tensor:
        found = cuts(voxels.coord, fragment / self.config.voxel_size, len(self.network.channels))
        total = torch.zeros(voxels.num_nodes, self.labels.num_classes, device=voxels.x.device)
        for cut in found:
            scores = in_columns(self.network, voxels.x, voxels.coord, voxels.pos, cut, max_voxels)
            total += scores.float().softmax(dim=1) / len(found)
        return total
