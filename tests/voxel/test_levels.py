import pytest
import torch
from voxels import random_voxels

from latentgraph.functional import Ragged
from latentgraph.voxel import VoxelGraph, VoxelLevels, coarsen, neighbor_graph


def same(a: VoxelGraph, b: VoxelGraph) -> bool:
    return torch.equal(a.edge_index, b.edge_index) and torch.equal(a.edge_type, b.edge_type)


def test_each_level_is_the_halved_one_before() -> None:
    coord, batch = random_voxels()
    found = VoxelLevels.build(coord, batch, 3, num_levels=4)
    assert found.batch_size == 3
    assert len(found.levels) == 4
    for i, level in enumerate(found.levels):
        assert torch.equal(level.coord, coord)
        assert torch.equal(level.batch, batch)
        assert level.num_voxels == len(coord)
        assert same(level.neighbors, neighbor_graph(coord, batch))
        if i == 3:
            assert level.parent is level.down is level.up is None
            continue
        coarse = coarsen(coord, batch)
        assert torch.equal(level.parent, coarse.parent)
        assert same(level.down, coarse.down)
        assert same(level.up, coarse.up)
        coord, batch = coarse.coord, coarse.batch
    assert found.stem is found.levels[0].neighbors


@pytest.mark.parametrize("stem", [1, 5])
def test_stem_of_its_own(stem: int) -> None:
    coord, batch = random_voxels()
    found = VoxelLevels.build(coord, batch, num_levels=1, stem_kernel_size=stem)
    assert same(found.stem, neighbor_graph(coord, batch, stem))
    assert same(found.levels[0].neighbors, neighbor_graph(coord, batch, 3))
    assert found.batch_size == 3


@pytest.mark.parametrize("as_ragged", [False, True])
def test_batch_is_checked(as_ragged: bool) -> None:
    coord, batch = random_voxels()
    given = Ragged(batch, 5) if as_ragged else batch
    assert VoxelLevels.build(coord, given, 5).batch_size == 5
    with pytest.raises(ValueError, match="expected batch with one entry for each of the"):
        VoxelLevels.build(coord[1:], given, 5)
    with pytest.raises(ValueError, match="expected batch"):
        VoxelLevels.build(coord, given, 2)


def test_one_grid() -> None:
    coord, _ = random_voxels(batch_size=1)
    found = VoxelLevels.build(coord)
    assert found.batch_size is None
    assert all(level.batch is None for level in found.levels)


def test_number_of_levels() -> None:
    with pytest.raises(ValueError, match="num_levels of 1 or more, got 0"):
        VoxelLevels.build(random_voxels(batch_size=1)[0], num_levels=0)


def test_pool_goes_from_child_to_parent() -> None:
    coord = torch.tensor([[0, 0, 0], [0, 0, 1], [0, 0, 2], [7, 7, 7]])
    found = VoxelLevels.build(coord)
    values = torch.tensor([[1.0], [3.0], [10.0], [5.0]])
    assert found.pool(values, 0).tolist() == [[1.0], [3.0], [10.0], [5.0]]
    assert found.pool(values, 1).tolist() == [[2.0], [10.0], [5.0]]
    assert found.pool(values, 2).tolist() == [[6.0], [5.0]]
    assert found.pool(torch.tensor([11, 7, 2, 3]), 2, "min").tolist() == [2, 3]


def test_repr() -> None:
    levels = VoxelLevels.build(torch.tensor([[0, 0, 0], [0, 0, 1], [0, 0, 7]]), num_levels=2)
    assert repr(levels) == "VoxelLevels(voxels=[3, 2], batch_size=None)"
    assert repr(levels.levels[0].down) == (
        "VoxelGraph(num_sources=3, num_targets=2, num_relations=8, num_edges=3)"
    )
