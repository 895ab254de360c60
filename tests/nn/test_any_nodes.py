r"""What holds for every block, with any of its options, on any nodes."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import (
    assert_chunk_size_free,
    assert_equal,
    assert_finite,
    assert_formula,
    assert_graphs_independent,
    assert_nan_stays,
    assert_order_of_graphs_free,
    assert_permutation_equivariant,
    assert_precise,
    assert_same_bits,
    assert_sharding_free,
)
from reference_non_local import non_local
from references import latent_gnn, one_node
from samples import LARGER, complete_edges
from strategies import CHANNELS, KINDS, Aggregated, Placed, blocks, graphs, seeds, start_at
from torch import Tensor, nn

from latentgraph.nn import (
    LatentGNN,
    LatentToLatentConv,
    LatentToVisibleConv,
    NonLocal,
    OnGrid,
    VisibleToLatentConv,
    grid_to_nodes,
    nodes_to_grid,
    position_features,
)

# A drawn score may lie so close to a kink of the formula that rounding is enlarged a thousandfold.
CLOSE = 1e-7

# Every rank runs a block once for each exchange, and once more.
FEWER = settings(max_examples=settings.default.max_examples // 3)


def clear_of(x: Tensor) -> dict[str, Any]:
    r"""Options of a block that does not enlarge what was rounded."""
    # Without a norm the gradient at a row of zeros is 1e12 times that.
    return {} if x.any(1).all() else {"norm": st.just("layer_norm")}


every_kind = pytest.mark.parametrize("kind", KINDS)


def aggregated(block: Aggregated, x: Tensor, batch: Tensor, batch_size: int) -> Tensor:
    psi, norm = x @ block.aggr.psi.linear.weight.T, block.aggr.psi.norm
    if isinstance(norm, nn.LayerNorm):
        mean, var = psi.mean(1, keepdim=True), psi.var(1, unbiased=False, keepdim=True)
    elif norm is not None:
        mean, var = norm.running_mean, norm.running_var
    if norm is not None:
        psi = (psi - mean) / (var + norm.eps).sqrt() * norm.weight + norm.bias
    out = torch.zeros_like(x)
    for graph in range(batch_size):
        rows = batch == graph
        P = psi[rows].relu()
        P = P / P.norm(dim=0).clamp_min(1e-12)
        out[rows] = torch.arange(P.size(1), dtype=x.dtype) @ (P.T @ x[rows])
    return out


def formula(block: nn.Module, x: Tensor, batch: Tensor, batch_size: int) -> Tensor:
    if len(x) == 0:
        return x
    if isinstance(block, LatentGNN):
        return latent_gnn(block, x, batch, batch_size).out
    if isinstance(block, Placed):
        places = position_features(x[:, :3].detach(), batch, batch_size)
        return latent_gnn(block.block, x, batch, batch_size, places).out
    if isinstance(block, NonLocal):
        return non_local(block, x, batch, batch_size).out
    if isinstance(block, Aggregated):
        return aggregated(block, x, batch, batch_size)
    return one_node(block, x, batch, batch_size)


@every_kind
@given(data=st.data())
def test_equals_the_formula_with_its_gradients(kind, data) -> None:
    larger = () if kind == "non_local" else LARGER  # its formula goes from pair to pair
    sample = data.draw(graphs(("random", "twice", "mostly zero"), largest=5, larger=larger))
    assert_formula(data.draw(blocks(kind, **clear_of(sample.x))), formula, *sample, CLOSE)


@every_kind
@FEWER
@given(data=st.data(), sample=graphs(("random",), 5, larger=()))
def test_equals_the_formula_of_huge_numbers(kind, data, sample) -> None:
    # A number that is forgotten is wrong by all it is worth; gradients of scores, zero by theory,
    # are differences of products of huge numbers.
    assert_formula(data.draw(blocks(kind)), formula, 2e5 * sample.x, *sample[1:], 0.5)


@every_kind
@given(data=st.data(), sample=graphs())
def test_order_of_the_nodes(kind, data, sample) -> None:
    assert_permutation_equivariant(data.draw(blocks(kind, **clear_of(sample.x))), *sample, CLOSE)


@every_kind
@given(data=st.data(), sample=graphs())
def test_other_graphs_in_the_batch(kind, data, sample) -> None:
    assert_graphs_independent(data.draw(blocks(kind, **clear_of(sample.x))), *sample, CLOSE)


@every_kind
@FEWER
@given(data=st.data(), sample=graphs())
def test_nan_stays_in_its_own_graph(kind, data, sample) -> None:
    if len(sample.x):
        assert_nan_stays(data.draw(blocks(kind, **clear_of(sample.x))), *sample, CLOSE)


@every_kind
@given(data=st.data(), sample=graphs())
def test_numbers_of_the_graphs(kind, data, sample) -> None:
    assert_order_of_graphs_free(data.draw(blocks(kind, **clear_of(sample.x))), *sample, CLOSE)


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("non_local", "aggregation")])
@given(data=st.data(), sample=graphs(), size=st.integers(1, 23), alone=st.booleans())
def test_chunk_size(kind, data, sample, size, alone) -> None:
    given_batch = (None, None) if alone else sample[1:]
    assert_chunk_size_free(
        data.draw(blocks(kind, **clear_of(sample.x))), sample.x, *given_batch, (size,), CLOSE
    )


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "non_local"])
@FEWER
@given(data=st.data(), sample=graphs(), num_shards=st.integers(1, 4))
def test_sharding(kind, data, sample, num_shards) -> None:
    assert_sharding_free(data.draw(blocks(kind, **clear_of(sample.x))), *sample, num_shards, CLOSE)


@every_kind
@given(
    data=st.data(),
    sample=graphs(("random", "twice", "alike")),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
)
def test_dtype(kind, data, sample, dtype) -> None:
    if kind == "non_local":  # a product of three rounded maps: half precision loses all it is worth
        dtype = torch.float32
    # A wide layer norm, and nothing close to where a ReLU begins: elsewhere the formula itself
    # enlarges what is lost when numbers are rounded.
    wide = {"reduction": st.just(1), "ratio": st.just(1.0)}
    clear = wide | {"norm": st.just("layer_norm"), "top_k": st.none()}
    if dtype == torch.bfloat16:  # a vote is rounded to it, then squared
        clear["votes"] = st.just(False)
    block = data.draw(blocks(kind, **clear))
    for name, parameter in block.named_parameters():
        if name.endswith("norm.bias") and ("psi" in name or name.startswith(("add", "mul"))):
            nn.init.constant_(parameter, 2 if "psi" in name else 5)
        if name == "mul.first.bias" and block.mul.norm is None:
            nn.init.constant_(parameter, 5)
    assert_precise(block, *sample, dtype)


@every_kind
@given(data=st.data(), sample=graphs())
def test_same_bits_under_deterministic_algorithms(kind, data, sample) -> None:
    assert_same_bits(data.draw(blocks(kind)), *sample)


@every_kind
@given(
    data=st.data(),
    sample=graphs(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    scale=st.sampled_from([0.0, 1e-320, 1e-42, 1e-30, 1e-12, 1e6, 1e9]),
)
def test_huge_and_denormal_numbers_stay_finite(kind, data, sample, dtype, scale) -> None:
    if kind == "placed":  # a vote is squared before it is normalized
        scale = min(scale, 1e6)
    block = data.draw(blocks(kind)).to(dtype)
    assert_finite(block, (sample.x * scale).to(dtype), *sample[1:])


@given(
    sample=graphs(channels=3),
    seed=seeds,
    channels=st.integers(1, 5),
    weighted=st.booleans(),
)
def test_dense_weights_are_a_complete_graph(sample, seed, channels, weighted) -> None:
    start_at(seed)
    weight = sample.x if weighted else torch.ones_like(sample.x)
    _, batch, batch_size = sample
    d = weight.size(1)
    x = torch.randn(len(batch), channels, dtype=torch.float64)
    edges, shuffle = complete_edges(batch, d)
    edge_weight = weight.flatten()[shuffle] if weighted else None
    up, back = VisibleToLatentConv(), LatentToVisibleConv()
    z = up(x, None, weight, batch, batch_size)
    assert_equal(up(x, edges, edge_weight, batch, batch_size, d), z)
    y = back(z, None, weight, batch, batch_size)
    assert_equal(back(z, edges.flip(0), edge_weight, num_nodes=len(batch)), y)


@given(
    batch_size=st.integers(0, 4),
    d=st.integers(1, 5),
    temperature=st.sampled_from([0.1, 1.0, 3.0]),
    seed=seeds,
    scale=st.sampled_from([0.0, 1e-300, 1.0, 1e6]),
)
def test_latent_nodes_average_by_their_cosines(batch_size, d, temperature, seed, scale) -> None:
    start_at(seed)
    z = torch.randn(batch_size, d, 3, dtype=torch.float64) * scale
    unit = z / z.norm(dim=2, keepdim=True).clamp_min(1e-12)
    F = torch.empty(0, d, d, dtype=torch.float64)
    if batch_size:
        F = torch.stack([(u @ u.T / temperature).softmax(1) for u in unit])
    conv = LatentToLatentConv(temperature)
    out = conv(z.flatten(0, 1), batch_size=batch_size)
    assert_equal(out, conv(z.flatten(0, 1), None, F, batch_size=batch_size))
    for i in range(batch_size):
        assert_equal(out.view(z.shape)[i], F[i] @ z[i], tolerance=1e-12)


@given(
    kind=st.sampled_from([k for k in KINDS if k not in ("placed", "aggregation")]),
    data=st.data(),
    spatial=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    batch_size=st.integers(0, 3),
    channels_last=st.booleans(),
)
def test_maps_are_nodes(kind, data, spatial, batch_size, channels_last) -> None:
    block = data.draw(blocks(kind))
    x = torch.randn(batch_size, CHANNELS, *spatial, dtype=torch.float64)
    if channels_last and len(spatial) > 1:
        last = {2: torch.channels_last, 3: torch.channels_last_3d}[len(spatial)]
        x = x.contiguous(memory_format=last)
    out = OnGrid(block)(x)
    assert out.stride() == x.stride()
    rows, batch = grid_to_nodes(x)
    assert_equal(out, nodes_to_grid(block(rows, batch, batch_size), tuple(spatial)))


@given(
    sample=graphs(channels=3),
    scale=st.sampled_from([1e-6, 1.0, 1e9]),
    shift=st.floats(-100, 100),
)
def test_position_features_know_no_unit_and_no_origin(sample, scale, shift) -> None:
    pos, batch, batch_size = sample
    features = position_features(pos, batch, batch_size)
    assert features.isfinite().all()
    moved = position_features((pos + shift) * scale, batch, batch_size)
    for graph in batch.unique():
        rows = pos[batch == graph]
        if (rows != rows[0]).any():
            assert_equal(moved[batch == graph], features[batch == graph], tolerance=1e-8)
        else:
            assert not features[batch == graph].any()
