import pickle
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data
from voxels import random_voxels

from latentgraph.voxel import VoxelLevels


def tensors(value: Any) -> list[Tensor]:
    found: list[Tensor] = []
    value.apply(lambda tensor: found.append(tensor) or tensor)
    return found


def test_travels_as_one() -> None:
    coord, batch = random_voxels()
    levels = VoxelLevels.build(coord, batch, block_size=13)
    copy = pickle.loads(pickle.dumps(levels))  # noqa: S301
    assert [level.num_voxels for level in copy.levels] == [x.num_voxels for x in levels.levels]
    assert all(map(torch.equal, tensors(copy), tensors(levels)))
    assert len(tensors(levels)) == len({id(t) for t in tensors(levels)})

    data = Data(graphs=levels).to("meta")
    assert {t.device.type for t in tensors(data.graphs)} == {"meta"}
    assert len(tensors(data.graphs)) == len(tensors(levels))
    assert data.graphs.stem is not levels.stem
