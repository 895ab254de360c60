import pytest
import torch
from properties import assert_equal
from torch_geometric.nn import RGCNConv
from voxels import full_grid, random_voxels

from latentgraph.voxel import VoxelConv, coarsen, neighbor_graph


def test_bias_is_added() -> None:
    graph = neighbor_graph(*random_voxels())
    conv = VoxelConv(5, 3, dtype=torch.float64)
    reference = RGCNConv(5, 3, 27, aggr="add", root_weight=False).double()
    reference.weight, reference.bias = conv.weight, conv.bias
    x = torch.randn(graph.num_sources, 5, dtype=torch.float64)
    assert_equal(conv(x, graph), reference(x, graph.edge_index, graph.edge_type))


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_starts_like_the_dense_convolution(kernel_size: int) -> None:
    conv = VoxelConv(31, 37, kernel_size)
    dense = torch.nn.Conv3d(31, 37, kernel_size)
    assert conv.bias is not None
    assert dense.bias is not None
    for ours, theirs in ((conv.weight, dense.weight), (conv.bias, dense.bias)):
        largest = [p.detach().abs().max().item() for p in (ours, theirs)]
        assert largest[0] == pytest.approx(largest[1], rel=0.2)


def test_reset_draws_all_parameters_anew() -> None:
    conv = VoxelConv(2, 3)
    with torch.no_grad():
        for parameter in conv.parameters():
            parameter.fill_(11.0)
    conv.reset_parameters()
    assert all(parameter.abs().max() < 1.0 for parameter in conv.parameters())


def test_device_and_dtype_of_the_parameters() -> None:
    conv = VoxelConv(2, 3, device="meta", dtype=torch.float16)
    assert {(p.device.type, p.dtype) for p in conv.parameters()} == {("meta", torch.float16)}


def test_half_precision_with_bias_keeps_its_dtype() -> None:
    graph = neighbor_graph(full_grid((7, 1, 1)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert VoxelConv(2, 3)(torch.randn(7, 2), graph).dtype == torch.bfloat16


def test_a_graph_for_another_kernel() -> None:
    graph = coarsen(full_grid((7, 1, 1))).down
    with pytest.raises(ValueError, match=r"weight of shape \(8, .* got \(27, 2, 3\)"):
        VoxelConv(2, 3)(torch.randn(7, 2), graph)


@pytest.mark.parametrize("sizes", [(0, 3, 3), (2, 0, 3), (2, 3, 0)])
def test_bad_sizes(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"expected .* of 1 or more, got 0"):
        VoxelConv(*sizes)


def test_repr() -> None:
    assert repr(VoxelConv(2, 3, 5, bias=False)) == "VoxelConv(2, 3, kernel_size=5, bias=False)"
