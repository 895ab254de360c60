import pytest
import torch
from torch import Tensor
from voxels import Edge, neighbor_edges, random_voxels

from latentgraph.voxel import VoxelGraph, coarsen, neighbor_graph, voxel_keys

LAST = 2**16 - 1


def edges(graph: VoxelGraph) -> list[Edge]:
    return sorted(zip(graph.edge_type.tolist(), *graph.edge_index.tolist(), strict=True))


def test_keys_have_the_order_of_batch_and_coordinates() -> None:
    coord, batch = random_voxels()
    rows = [(b, *c) for b, c in zip(batch.tolist(), coord.tolist(), strict=True)]
    by_key = voxel_keys(coord, batch).argsort().tolist()
    assert by_key == sorted(range(len(rows)), key=rows.__getitem__)


def test_keys_of_the_largest_numbers_differ() -> None:
    coord = torch.tensor([[LAST, LAST, LAST], [LAST, LAST, 0], [0, LAST, LAST], [0, 0, LAST]])
    batch = torch.tensor([4095, 4095, 4095, 4094])
    keys = voxel_keys(coord, batch)
    assert keys.unique().numel() == 4
    assert keys.min() > 0


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_any_integers_are_coordinates(dtype: torch.dtype) -> None:
    coord, batch = random_voxels()
    assert torch.equal(voxel_keys(coord.to(dtype), batch), voxel_keys(coord, batch))
    expected = edges(neighbor_graph(coord, batch))
    assert edges(neighbor_graph(coord.to(dtype), batch)) == expected
    assert edges(coarsen(coord.to(dtype), batch).down) == edges(coarsen(coord, batch).down)


@pytest.mark.parametrize(
    ("kernel_size", "block_size"), [(1, 13), (3, None), (3, 1), (3, 13), (5, 13), (7, None)]
)
def test_neighbors_are_those_inside_the_kernel(kernel_size: int, block_size: int | None) -> None:
    coord, batch = random_voxels()
    graph = neighbor_graph(coord, batch, kernel_size, block_size)
    assert edges(graph) == sorted(neighbor_edges(coord, batch, kernel_size))
    assert graph.num_sources == graph.num_targets == len(coord)
    assert graph.num_relations == kernel_size**3


def test_sorted_voxels_and_one_grid() -> None:
    coord, _ = random_voxels(53, 5, batch_size=1)
    coord = coord[voxel_keys(coord).argsort()]
    expected = neighbor_edges(coord, torch.zeros(len(coord), dtype=torch.int64), 3)
    assert edges(neighbor_graph(coord)) == sorted(expected)


def test_what_lies_beside_the_grid_is_no_neighbor() -> None:
    # Neighbors in the order of the keys, each at the far end of an axis or in the next grid.
    coord = torch.tensor(
        [[0, 0, LAST], [0, 1, 0], [0, LAST, LAST], [1, 0, 0], [LAST, LAST, LAST], [0, 0, 0]]
    )
    batch = torch.tensor([0, 0, 0, 0, 0, 1])
    for kernel_size in (3, 5):
        found = edges(neighbor_graph(coord, batch, kernel_size))
        assert found == sorted(neighbor_edges(coord, batch, kernel_size))


@pytest.mark.parametrize("number", [0, 1])
def test_no_voxel_and_one(number: int) -> None:
    coord = torch.full((number, 3), 11)
    batch = torch.zeros(number, dtype=torch.int64)
    assert edges(neighbor_graph(coord, batch)) == [(13, i, i) for i in range(number)]
    coarse = coarsen(coord, batch)
    assert coarse.coord.tolist() == [[5, 5, 5]] * number
    assert edges(coarse.down) == edges(coarse.up) == [(7, i, i) for i in range(number)]


def test_coarse_voxels_are_the_halved_ones() -> None:
    coord, batch = random_voxels()
    coarse = coarsen(coord, batch, block_size=17)
    assert coarse.batch is not None
    assert torch.equal(coarse.coord[coarse.parent], coord // 2)
    assert torch.equal(coarse.batch[coarse.parent], batch)
    keys = voxel_keys(coarse.coord, coarse.batch)
    assert (keys[1:] > keys[:-1]).all()
    octant = (coord % 2 * torch.tensor([4, 2, 1])).sum(1).tolist()
    parent = coarse.parent.tolist()
    children = range(len(coord))
    assert edges(coarse.down) == sorted(zip(octant, children, parent, strict=True))
    assert edges(coarse.up) == sorted(zip(octant, parent, children, strict=True))
    assert coarse.down.num_targets == coarse.up.num_sources == len(coarse.coord)
    assert coarse.down.num_sources == coarse.up.num_targets == len(coord)


def test_coarse_voxels_of_one_grid() -> None:
    coord, _ = random_voxels(batch_size=1)
    coarse = coarsen(coord)
    assert coarse.batch is None
    assert torch.equal(coarse.coord[coarse.parent], coord // 2)


GOOD = torch.tensor([[2, 3, 5], [7, 11, 13]])
BATCH = torch.tensor([0, 1])


@pytest.mark.parametrize("function", [neighbor_graph, coarsen])
@pytest.mark.parametrize(
    ("coord", "batch", "error", "message"),
    [
        (GOOD.float(), None, TypeError, "coord of integers, got torch.float32"),
        (GOOD.bool(), None, TypeError, "coord of integers, got torch.bool"),
        (GOOD[:, :2], None, ValueError, r"coord of shape \(n, 3\), got \(2, 2\)"),
        (GOOD[0], None, ValueError, r"coord of shape \(n, 3\), got \(3,\)"),
        (GOOD - 3, None, ValueError, "coord from 0 to 65535, got -1 to 10"),
        (GOOD + LAST, None, ValueError, "coord from 0 to 65535, got 65537 to 65548"),
        (GOOD, BATCH.int(), TypeError, "batch of torch.int64, got torch.int32"),
        (GOOD, BATCH[:1], ValueError, r"batch of shape \(2,\), as coord has, got \(1,\)"),
        (GOOD, BATCH - 1, ValueError, "batch from 0 to 4095, got -1 to 0"),
        (GOOD, BATCH + 4095, ValueError, "batch from 0 to 4095, got 4095 to 4096"),
        (
            GOOD[[0, 1, 1, 0, 1]],
            None,
            ValueError,
            r"every voxel once, got 3 again; the first of them is at \[2, 3, 5\]",
        ),
        (GOOD[[1, 1, 1]], BATCH[[0, 1, 1]], ValueError, r"at \[7, 11, 13\] of grid 1"),
    ],
)
def test_bad_voxels(
    function: object, coord: Tensor, batch: Tensor | None, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        function(coord, batch)


@pytest.mark.parametrize("kernel_size", [0, 2, -1])
def test_bad_kernel_size(kernel_size: int) -> None:
    with pytest.raises(ValueError, match=f"an odd kernel_size of 1 or more, got {kernel_size}"):
        neighbor_graph(GOOD, kernel_size=kernel_size)
