import pytest
import torch
from properties import assert_all_equal, assert_equal
from samples import BATCHES, complete_edges, nodes

from latentgraph.functional import Ragged
from latentgraph.nn import VisibleToLatentConv

C, D = 5, 3


@pytest.mark.parametrize("in_order", [True, False], ids=["sorted", "unsorted"])
@pytest.mark.parametrize("sizes", BATCHES.values(), ids=BATCHES)
def test_dense_weights_equal_the_complete_graph_and_the_formula(sizes, in_order) -> None:
    x, batch, batch_size = nodes(sizes, C, in_order=in_order)
    weight = torch.randn(len(x), D, dtype=torch.float64)
    leaves = (x.requires_grad_(), weight.requires_grad_())
    edge_index, shuffle = complete_edges(batch, D)
    conv = VisibleToLatentConv()
    dense = conv(x, None, weight, batch, batch_size)
    edges = conv(x, edge_index, weight.flatten()[shuffle], batch, batch_size, num_latents=D)
    expected = x.new_zeros(batch_size, D, C)
    expected = expected.index_add(0, batch, weight.unsqueeze(2) * x.unsqueeze(1)).flatten(0, 1)
    grad_out = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, leaves, grad_out)
    for out in (dense, edges):
        assert_equal(out, expected)
        assert_all_equal(torch.autograd.grad(out, leaves, grad_out), wanted)


def test_one_graph_and_graphs_of_one_size_need_no_batch() -> None:
    conv = VisibleToLatentConv()
    x, weight = torch.randn(2, 7, C), torch.randn(2, 7, D)
    batch = torch.arange(2).repeat_interleave(7)
    ragged = conv(x.flatten(0, 1), None, weight.flatten(0, 1), Ragged(batch))
    assert_equal(conv(x, None, weight), ragged)
    assert_equal(conv(x[0], None, weight[0]), ragged[:D])
    edge_index, shuffle = complete_edges(batch[:7], D)
    edges = conv(x[0], edge_index, weight[0].flatten()[shuffle], num_latents=D)
    assert_equal(edges, ragged[:D])


def test_edges_without_weights_count_one_each() -> None:
    edge_index = torch.tensor([[0, 2, 2], [1, 1, 3]])
    out = VisibleToLatentConv()(torch.tensor([[1.0], [10.0], [100.0]]), edge_index, num_latents=4)
    assert out.tolist() == [[0], [101], [0], [100]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"edge_weight of shape \(7, 'd'\) and torch.float32, got None"),
        ({"edge_weight": torch.ones(5, D)}, r"got \(5, 3\) of torch.float32"),
        ({"edge_weight": torch.ones(7, D).double()}, r"got \(7, 3\) of torch.float64"),
        ({"edge_weight": torch.ones(7, D), "num_latents": 2}, r"\(N, 2\), got \(7, 3\)"),
        ({"edge_index": torch.zeros(2, 1, dtype=torch.int64)}, "num_latents= beside edge_index"),
        (
            {"edge_index": torch.zeros(3, 2, dtype=torch.int64), "num_latents": D},
            r"edge_index of shape \(2, E\) and torch.int64, got \(3, 2\)",
        ),
        (
            {"edge_index": torch.tensor([[6], [D]]), "num_latents": D},
            "from 7 source to 3 target nodes, got entries from 6 to 6 and from 3 to 3",
        ),
        ({"edge_index": torch.tensor([[7], [0]]), "num_latents": D}, "from 7 source"),
        ({"edge_index": torch.tensor([[-1], [0]]), "num_latents": D}, "entries from -1"),
        (
            {
                "edge_index": torch.tensor([[6], [0]]),
                "num_latents": D,
                "edge_weight": torch.ones(2),
            },
            r"edge_weight of shape \(1,\), got \(2,\)",
        ),
    ],
)
def test_bad_input_is_refused(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        VisibleToLatentConv()(torch.randn(7, C), **arguments)


@pytest.mark.parametrize(
    "arguments", [{"batch": torch.zeros(7).long()}, {"batch_size": 3}], ids=str
)
def test_a_batch_beside_graphs_of_one_size_is_refused(arguments) -> None:
    with pytest.raises(ValueError, match="expected"):
        VisibleToLatentConv()(torch.randn(2, 7, C), None, torch.randn(2, 7, D), **arguments)
