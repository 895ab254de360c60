r"""The mathematics below the blocks on any nodes, against loops over graphs and pairs."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from properties import assert_equal
from strategies import graphs, seeds, start_at

from latentgraph.functional import (
    Ragged,
    l2_over_nodes,
    latent_to_visible,
    softmax_over_nodes,
    sum_nodes,
    to_nodes,
    visible_to_latent,
)
from latentgraph.functional.attention import attention
from latentgraph.functional.relu_sum import relu_sum
from latentgraph.functional.spans import even_spans

C = 3


@given(graphs(channels=C), st.integers(0, 3))
def test_a_ragged_knows_sizes_and_order(sample, more) -> None:
    _, batch, batch_size = sample
    ragged = Ragged(batch, batch_size + more)
    assert ragged.sizes.tolist() == [int((batch == b).sum()) for b in range(batch_size + more)]
    in_order = batch if ragged.order is None else batch[ragged.order]
    assert in_order.tolist() == sorted(batch.tolist())
    assert ragged.is_sorted == (batch.tolist() == sorted(batch.tolist()))


@given(graphs(channels=C), seeds, st.integers(1, 7))
def test_the_two_products_are_loops_over_graphs(sample, seed, d) -> None:
    start_at(seed)
    x, batch, batch_size = sample
    graphs_of_x, weight = Ragged(batch, batch_size), torch.randn(len(x), d, dtype=torch.float64)
    z = visible_to_latent(x, weight, graphs_of_x)
    y = latent_to_visible(z, weight, graphs_of_x)
    totals = sum_nodes(x, graphs_of_x)
    assert_equal(to_nodes(totals, graphs_of_x), totals[batch])
    for graph in range(batch_size):
        rows = batch == graph
        assert_equal(z[graph], weight[rows].T @ x[rows])
        assert_equal(y[rows], weight[rows] @ (weight[rows].T @ x[rows]))
        assert_equal(totals[graph], x[rows].sum(0))


@given(graphs(channels=C), st.sampled_from([1e-300, 1e-30, 1.0, 1e30]))
def test_weights_have_length_one_or_sum_to_one_in_each_graph(sample, scale) -> None:
    x, batch, batch_size = sample
    unit, shares = l2_over_nodes(x * scale, batch), softmax_over_nodes(x * scale, batch)
    assert unit.isfinite().all()
    for graph in range(batch_size):
        rows = x[batch == graph] * scale
        if len(rows):
            assert_equal(shares[batch == graph], rows.softmax(0))
            length = rows.norm(dim=0)
            assert_equal(unit[batch == graph] * length.clamp_min(1e-12), rows)


@given(graphs(channels=C), graphs(channels=C), seeds)
def test_attention_and_relu_sums_are_loops_over_pairs(sample, other, seed) -> None:
    start_at(seed)
    batch_size = max(sample.batch_size, other.batch_size)
    (x, batch, _), (keys, key_batch, _) = sample, other
    graphs_of = Ragged(batch, batch_size), Ragged(key_batch, batch_size)
    values = torch.randn(len(keys), 5, dtype=torch.float64)
    heard = attention(x, keys, values, 0.7, *graphs_of)
    added = relu_sum(x[:, :1], keys[:, :1], values, *graphs_of)
    for graph in range(batch_size):
        rows, sends = batch == graph, key_batch == graph
        if sends.any():
            weight = (x[rows] @ keys[sends].T * 0.7).softmax(1)
            assert_equal(heard[rows], weight @ values[sends])
        else:
            assert not heard[rows].any()
        pairs = (x[rows, :1] + keys[sends, :1].T).relu()
        assert_equal(added[rows], pairs @ values[sends])


@given(graphs(channels=C), st.integers(1, 50))
def test_chunks_hold_every_node_once(sample, chunk_size) -> None:
    x, batch, batch_size = sample
    seen = torch.zeros(len(x), dtype=torch.int64)
    for span in even_spans(x, Ragged(batch, batch_size), chunk_size):
        where = torch.arange(len(x))[span.where]
        seen[where] += 1
        assert len(where) <= chunk_size
        assert torch.isin(batch[where], torch.arange(batch_size)[span.graphs]).all()
        if span.batch is not None:
            assert (span.batch.batch + span.graphs.start).tolist() == batch[where].tolist()
    assert (seen == 1).all()
