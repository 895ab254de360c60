import torch
from voxels import random_voxels

from latentgraph.voxel import coarsen, neighbor_graph
from latentgraph.voxel.graph import block_size_for


def test_blocks_hold_every_edge_once_and_the_slots_of_their_targets() -> None:
    coord, batch = random_voxels()
    coarse = coarsen(coord, batch, block_size=17)
    for graph in (neighbor_graph(coord, batch, block_size=17), coarse.down, coarse.up):
        edges = graph.edges
        start = stop = 0
        for block in edges.blocks():
            assert block.targets.start == stop
            stop = block.targets.stop
            assert 0 < stop - block.targets.start <= 17
            count = len(block.source)
            assert torch.equal(block.source, edges.source[start : start + count])
            assert torch.equal(block.target, edges.target[start : start + count])
            assert sum(block.sizes) == count
            assert len(block.sizes) == graph.num_relations
            assert torch.equal(block.slot.sort().values, torch.arange(count))
            ends = [*block.offset[1:].tolist(), count]
            for i, (first, last) in enumerate(zip(block.offset.tolist(), ends, strict=True)):
                mine = block.slot[first:last]
                assert (block.target[mine] == block.targets.start + i).all()
            start += count
        assert start == len(edges.source)
        assert stop == graph.num_targets


def test_reverse_edges_are_the_edges_turned_round() -> None:
    coord, batch = random_voxels()
    coarse = coarsen(coord, batch)
    assert coarse.down.reverse is coarse.up.edges
    assert coarse.up.reverse is coarse.down.edges
    neighbors = neighbor_graph(coord, batch)
    assert neighbors.reverse is None
    forward = torch.stack([*neighbors.edge_index, neighbors.edge_type])
    backward = torch.stack([*neighbors.edge_index.flip(0), 26 - neighbors.edge_type])
    assert torch.equal(forward.unique(dim=1), backward.unique(dim=1))


def test_blocks_suit_the_device_unless_given() -> None:
    coord, batch = random_voxels()
    assert neighbor_graph(coord, batch).edges.block_size == block_size_for("cpu")
    assert neighbor_graph(coord, batch, block_size=7).edges.block_size == 7
