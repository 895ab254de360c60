import pytest
import torch
from properties import assert_all_equal, assert_equal
from samples import BATCHES, nodes, randomized
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GINConv, SAGEConv, Sequential
from torch_geometric.nn.aggr import Aggregation, MultiAggregation

from latentgraph.nn import LatentAggregation

CHANNELS, LATENTS = 7, 3


def made(**options) -> LatentAggregation:
    return randomized(LatentAggregation(CHANNELS, LATENTS, **options))


def reference(aggr: LatentAggregation, x: Tensor, batch: Tensor, batch_size: int) -> Tensor:
    score = x @ aggr.psi.linear.weight.T
    norm = aggr.psi.norm
    if isinstance(norm, nn.LayerNorm):
        mean, var = score.mean(1, keepdim=True), score.var(1, unbiased=False, keepdim=True)
    elif norm is not None:
        mean, var = score.mean(0), score.var(0, unbiased=False)
    if norm is not None:
        score = (score - mean) / (var + norm.eps).sqrt() * norm.weight + norm.bias
    out = []
    for graph in range(batch_size):
        rows = batch == graph
        P = score[rows].relu()
        P = P / P.norm(dim=0).clamp_min(1e-12)
        out.append(P.T @ x[rows])
    stacked = torch.stack(out) if out else x.new_zeros(0, LATENTS, CHANNELS)
    return stacked.flatten(1) if aggr.concat else stacked.mean(1)


@pytest.mark.parametrize("concat", [True, False])
@pytest.mark.parametrize("norm", ["layer_norm", "batch_norm", None])
@pytest.mark.parametrize("sizes", ["ragged", "one", "many"])
def test_equals_the_formula(sizes, norm, concat) -> None:
    aggr = made(norm=norm, concat=concat)
    x, batch, batch_size = nodes(BATCHES[sizes], CHANNELS)
    leaves = (x.requires_grad_(), *aggr.parameters())
    out, expected = aggr(x, batch, dim_size=batch_size), reference(aggr, x, batch, batch_size)
    assert out.shape == (batch_size, CHANNELS * (LATENTS if concat else 1))
    assert_equal(out, expected)
    grad = torch.randn_like(out)
    assert_all_equal(*(torch.autograd.grad(y, leaves, grad) for y in (out, expected)))


@pytest.mark.parametrize("sizes", ["all_empty", "none", "ragged"])
def test_a_graph_without_nodes_has_zeros(sizes) -> None:
    x, batch, batch_size = nodes(BATCHES[sizes], CHANNELS)
    out = made()(x, batch, dim_size=batch_size)
    assert out.shape == (batch_size, LATENTS * CHANNELS)
    empty = [b for b, size in enumerate(BATCHES[sizes]) if size == 0]
    assert torch.equal(out[empty], torch.zeros(len(empty), LATENTS * CHANNELS).double())


def test_every_way_to_name_the_graphs() -> None:
    aggr, (x, batch, batch_size) = made(), nodes((5, 0, 3), CHANNELS, in_order=True)
    expected = reference(aggr, x, batch, batch_size)
    assert isinstance(aggr, Aggregation)
    assert_equal(aggr(x, batch), expected)
    assert_equal(aggr(x, ptr=torch.tensor([0, 5, 5, 8])), expected)
    assert_equal(aggr(x, batch, ptr=torch.tensor([0, 5, 5, 8]), dim=0), expected)
    assert_equal(aggr(x), reference(aggr, x, torch.zeros(8), 1))


def test_as_global_pooling_of_a_batch_of_graphs() -> None:
    aggr = made()
    graphs = [Data(x=torch.randn(size, CHANNELS).double()) for size in (5, 1, 3)]
    batch = Batch.from_data_list(graphs)
    out = aggr(batch.x, batch.batch)
    assert_equal(out, torch.cat([aggr(graph.x) for graph in graphs]))


@pytest.mark.parametrize(
    "conv",
    [
        lambda aggr: SAGEConv(CHANNELS, 5, aggr=aggr),
        lambda aggr: GINConv(nn.Linear(CHANNELS, 5), aggr=aggr),
        lambda aggr: SAGEConv(CHANNELS, 5, aggr=MultiAggregation([aggr, "mean"], mode="sum")),
    ],
    ids=["SAGEConv", "GINConv", "MultiAggregation"],
)
def test_in_a_convolution_of_pyg(conv) -> None:
    aggr = made(concat=False)
    x = torch.randn(11, CHANNELS, dtype=torch.float64, requires_grad=True)
    edge_index = torch.randint(11, (2, 37))
    model = Sequential("x, edge_index", [(conv(aggr).double(), "x, edge_index -> x")])
    out = model(x, edge_index)
    assert out.shape == (11, 5)
    out.square().sum().backward()
    assert x.grad.abs().sum() > 0
    assert aggr.psi.linear.weight.grad.abs().sum() > 0


def test_what_a_convolution_of_pyg_hears() -> None:
    aggr = made(concat=False)
    conv = SAGEConv(CHANNELS, CHANNELS, aggr=aggr, root_weight=False, bias=False).double()
    nn.init.eye_(conv.lin_l.weight)
    x, edge_index = torch.randn(11, CHANNELS).double(), torch.randint(11, (2, 37))
    expected = reference(aggr, x[edge_index[0]], edge_index[1], 11)
    assert_equal(conv(x, edge_index), expected)


def test_gradients_and_their_gradients() -> None:
    aggr, (x, batch, _) = made(), nodes((3, 1, 0, 2), CHANNELS)
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: aggr(x, batch, dim_size=4), (x,))
    assert torch.autograd.gradgradcheck(lambda x: aggr(x, batch, dim_size=4), (x,), fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_precision(dtype) -> None:
    aggr, (x, batch, batch_size) = made().to(dtype), nodes((11, 0, 5), CHANNELS, dtype)
    out = aggr(x, batch, dim_size=batch_size)
    assert out.dtype == dtype
    assert_equal(out, aggr.double()(x.double(), batch, dim_size=batch_size))


def test_autocast() -> None:
    aggr, (x, batch, _) = made().float(), nodes((11, 0, 5), CHANNELS, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        out, narrow = aggr(x, batch), aggr(x.bfloat16(), batch)
    assert (out.dtype, narrow.dtype) == (torch.float32, torch.bfloat16)
    expected = aggr.double()(x.double(), batch)
    assert_equal(out, expected, tolerance=2e-2)
    assert_equal(narrow, expected)


def test_compiles_and_exports_with_any_number_of_nodes() -> None:
    torch._dynamo.reset()
    aggr, counter = made(), CompileCounter()
    compiled = torch.compile(aggr.forward, fullgraph=True, backend=counter)
    for num_nodes in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37):
        x, batch = torch.randn(num_nodes, CHANNELS).double(), torch.randint(3, (num_nodes,))
        assert_equal(compiled(x, batch, None, 3), aggr(x, batch, dim_size=3))
    assert counter.frame_count <= 2
    dynamic = {0: torch.export.Dim.DYNAMIC}
    exported = torch.export.export(
        aggr, (x, batch, None, 3), dynamic_shapes=(dynamic, dynamic, None, None)
    ).module()
    x, batch, _ = nodes((7, 0, 4), CHANNELS)
    assert_equal(exported(x, batch, None, 3), aggr(x, batch, dim_size=3))


def test_reset_parameters() -> None:
    aggr = made()
    before = aggr.psi.linear.weight.clone()
    aggr.reset_parameters()
    assert not torch.equal(aggr.psi.linear.weight, before)
    assert torch.equal(aggr.psi.norm.weight, torch.ones(LATENTS).double())
    assert repr(aggr) == "LatentAggregation(7, num_latents=3, concat=True)"


def test_one_latent_node_needs_another_norm() -> None:
    with pytest.raises(ValueError, match="at least 2 with norm='layer_norm', got 1"):
        LatentAggregation(CHANNELS, 1)
    assert LatentAggregation(CHANNELS, 1, norm=None)(torch.randn(3, CHANNELS)).shape == (1, 7)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda aggr, x: aggr(x[:, :5]), ValueError, r"\(N, 7\) .* got \(11, 5\)"),
        (lambda aggr, x: aggr(x[None]), ValueError, r"\(N, 7\) .* got \(1, 11, 7\) over dim=-2"),
        (lambda aggr, x: aggr(x, dim=1), ValueError, r"over dim=-2, got \(11, 7\) over dim=1"),
        (lambda aggr, x: aggr(x.float()), TypeError, "expected x of torch.float64"),
        (
            lambda aggr, x: aggr(x, torch.zeros(5, dtype=torch.int64)),
            ValueError,
            "one entry for each of the 11 nodes, got 5",
        ),
        (
            lambda aggr, x: aggr(x, torch.full((11,), 3), dim_size=2),
            ValueError,
            "entries from 0 to 1, got 3 to 3",
        ),
    ],
)
def test_bad_input_is_refused(call, error, message) -> None:
    with pytest.raises(error, match=message):
        call(made(), torch.randn(11, CHANNELS, dtype=torch.float64))
