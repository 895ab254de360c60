import pytest
import torch
from properties import assert_all_equal, assert_equal
from samples import BATCHES, complete_edges, nodes

from latentgraph.functional import Ragged
from latentgraph.nn import LatentToVisibleConv

C, D = 5, 3


@pytest.mark.parametrize("in_order", [True, False], ids=["sorted", "unsorted"])
@pytest.mark.parametrize("sizes", BATCHES.values(), ids=BATCHES)
def test_dense_weights_equal_the_complete_graph_and_the_formula(sizes, in_order) -> None:
    weight, batch, batch_size = nodes(sizes, D, in_order=in_order)
    z = torch.randn(batch_size * D, C, dtype=torch.float64)
    leaves = (z.requires_grad_(), weight.requires_grad_())
    edge_index, shuffle = complete_edges(batch, D)
    edge_index = edge_index.flip(0)
    conv = LatentToVisibleConv()
    dense = conv(z, None, weight, batch, batch_size)
    edges = conv(z, edge_index, weight.flatten()[shuffle], batch, batch_size)
    counted = conv(z, edge_index, weight.flatten()[shuffle], num_nodes=len(batch))
    expected = (weight.unsqueeze(2) * z.view(batch_size, D, C)[batch]).sum(1)
    grad_out = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, leaves, grad_out)
    for out in (dense, edges, counted):
        assert_equal(out, expected)
        assert_all_equal(torch.autograd.grad(out, leaves, grad_out), wanted)


def test_one_graph_and_graphs_of_one_size_need_no_batch() -> None:
    conv = LatentToVisibleConv()
    z, weight = torch.randn(2 * D, C), torch.randn(2, 7, D)
    batch = torch.arange(2).repeat_interleave(7)
    ragged = conv(z, None, weight.flatten(0, 1), Ragged(batch))
    assert_equal(conv(z, None, weight).flatten(0, 1), ragged)
    assert_equal(conv(z[:D], None, weight[0]), ragged[:7])


def test_edges_without_weights_count_one_each() -> None:
    edge_index = torch.tensor([[0, 2, 2], [1, 1, 3]])
    out = LatentToVisibleConv()(torch.tensor([[1.0], [10.0], [100.0]]), edge_index, num_nodes=4)
    assert out.tolist() == [[0], [101], [0], [100]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"edge_weight of shape \(N, d\) or \(B, n, d\) and torch.float32, got None"),
        ({"edge_weight": torch.ones(7)}, r"got \(7,\) of torch.float32"),
        ({"edge_weight": torch.ones(7, D).double()}, r"got \(7, 3\) of torch.float64"),
        ({"edge_weight": torch.ones(7, D)}, "z with 1 x 3 rows, got 6"),
        ({"edge_weight": torch.ones(5, 7, D)}, "z with 5 x 3 rows, got 6"),
        ({"edge_weight": torch.ones(7, 6), "num_nodes": 5}, r"for 5 nodes, got \(7, 6\)"),
        ({"edge_weight": torch.ones(7, 6), "batch": torch.zeros(5).long()}, "the 7 nodes, got 5"),
        ({"edge_index": torch.zeros(2, 1).long()}, "num_nodes= or batch= beside edge_index"),
        ({"edge_index": torch.tensor([[6], [0]]), "num_nodes": 7}, "from 6 source to 7 target"),
    ],
)
def test_bad_input_is_refused(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        LatentToVisibleConv()(torch.randn(2 * D, C), **arguments)
