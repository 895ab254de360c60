import pytest
import torch
from properties import assert_equal
from samples import nodes

from latentgraph import functional as LF
from latentgraph.functional import Ragged
from latentgraph.functional.affinity import over_length_of

OVER_NODES = {
    LF.l2_over_nodes: lambda w: w / w.norm(dim=0).clamp_min(1e-12),
    LF.softmax_over_nodes: lambda w: w.softmax(0),
}


def test_l2_makes_rows_of_length_one() -> None:
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1e-20, 0.0]])
    assert_equal(LF.l2(x), torch.tensor([[0.6, 0.8], [0.0, 0.0], [1e-8, 0.0]]))
    assert_equal(LF.l2(x, 0)[:, 1], torch.tensor([1.0, 0.0, 0.0]))


def test_rows_over_the_length_of_others() -> None:
    x = torch.tensor([[3.0, 4.0, 5.0], [0.0, 0.0, 0.0], [1e-12, 0.0, 0.0]], requires_grad=True)
    other = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1e-13, 0.0]], requires_grad=True)
    out = over_length_of(x, other)
    assert_equal(out, torch.tensor([[0.6, 0.8, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]))
    of_x, of_other = torch.autograd.grad(out.sum(), (x, other))
    assert_equal(of_x, torch.tensor([[0.2], [1e12], [1e12]]).expand(3, 3))
    assert_equal(of_other, torch.tensor([[-0.288, -0.384], [0.0, 0.0], [0.0, 0.0]]))


def test_large_rows_over_the_length_of_nothing_have_finite_gradients() -> None:
    x, nothing = torch.full((1, 2), 1e4), torch.zeros(1, 3, requires_grad=True)
    (found,) = torch.autograd.grad(over_length_of(x, nothing).sum(), nothing)
    assert found.eq(0).all()


def test_gradients_of_rows_over_the_length_of_others() -> None:
    x, other = (torch.randn(5, c, dtype=torch.float64, requires_grad=True) for c in (3, 2))
    assert torch.autograd.gradcheck(over_length_of, (x, other))
    assert torch.autograd.gradgradcheck(over_length_of, (x, other))


@pytest.mark.parametrize("function", OVER_NODES, ids=lambda f: f.__name__)
def test_over_the_nodes_of_each_graph(function) -> None:
    weight, batch, batch_size = nodes(channels=5)
    out = function(weight, Ragged(batch, batch_size))
    assert_equal(function(weight, batch), out)
    for graph in range(batch_size):
        rows = batch == graph
        assert_equal(out[rows], OVER_NODES[function](weight[rows]))
        assert_equal(function(weight[rows]), out[rows])


@pytest.mark.parametrize("function", OVER_NODES, ids=lambda f: f.__name__)
def test_over_the_nodes_of_graphs_of_one_size(function) -> None:
    weight = torch.randn(3, 7, 5, dtype=torch.float64)
    assert_equal(function(weight), torch.stack([OVER_NODES[function](w) for w in weight]))


@pytest.mark.parametrize("function", OVER_NODES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("shape", [(0, 5), (3, 0, 5), (0, 7, 5)])
def test_over_no_nodes(function, shape) -> None:
    assert function(torch.empty(shape)).shape == shape


@pytest.mark.parametrize("function", [LF.l2, *OVER_NODES], ids=lambda f: f.__name__)
def test_gradients(function) -> None:
    weight, batch, _ = nodes((3, 0, 2), channels=3)
    arguments = () if function is LF.l2 else (batch,)
    weight.requires_grad_()
    assert torch.autograd.gradcheck(lambda w: function(w, *arguments), weight)
    assert torch.autograd.gradgradcheck(lambda w: function(w, *arguments), weight)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("function", [LF.l2, LF.l2_over_nodes], ids=lambda f: f.__name__)
def test_all_zero_rows_and_columns_stay_zero_with_finite_gradients(function, dtype) -> None:
    weight = torch.ones(5, 3, dtype=dtype)
    weight[2], weight[:, 1] = 0, 0
    weight.requires_grad_()
    out = function(weight.float().relu())
    assert function(weight).dtype == torch.float32
    assert not out[2].any()
    assert not out[:, 1].any()
    out.sum().backward()
    assert weight.grad is not None
    assert weight.grad.isfinite().all()


@pytest.mark.parametrize("batched", [False, True])
def test_many_equal_half_scores_sum_to_one(batched) -> None:
    batch = torch.zeros(70_000, dtype=torch.int64) if batched else None
    weight = LF.softmax_over_nodes(torch.full((70_000, 1), 3.0, dtype=torch.float16), batch)
    assert weight.dtype == torch.float32
    assert weight.sum().item() == pytest.approx(1, abs=1e-5)


def test_softmax_over_nodes_of_huge_scores() -> None:
    score = torch.tensor([[3e38], [3e38], [-3e38], [-3e38], [-3e38]], requires_grad=True)
    weight = LF.softmax_over_nodes(score, torch.tensor([0, 0, 0, 1, 1]))
    assert weight.flatten().tolist() == [0.5, 0.5, 0, 0.5, 0.5]
    weight[0].backward()
    assert score.grad is not None
    assert score.grad.flatten().tolist() == [0.25, -0.25, 0, 0, 0]


def test_nan_stays_in_its_own_graph() -> None:
    weight, batch, _ = nodes(channels=3)
    weight[batch == 2] = torch.nan
    for function in OVER_NODES:
        out = function(weight, batch)
        assert torch.equal(out.isfinite().all(1), batch != 2)


@pytest.mark.parametrize("temperature", [1.0, torch.tensor([0.3], dtype=torch.float64)])
def test_cosine_softmax_weighs_by_the_angle(temperature) -> None:
    z = torch.randn(3, 5, 7, dtype=torch.float64)
    cosine = torch.cosine_similarity(z.unsqueeze(2), z.unsqueeze(1), dim=-1)
    assert_equal(LF.cosine_softmax(z, temperature), (cosine / temperature).softmax(-1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_the_dtype_of_a_temperature_is_no_matter(dtype) -> None:
    z = torch.randn(3, 7, 5)
    out = LF.cosine_softmax(z, torch.tensor([0.5], dtype=dtype))
    assert out.dtype == torch.float32
    assert_equal(out, LF.cosine_softmax(z, 0.5))


def test_cosine_softmax_of_a_dead_latent_is_even() -> None:
    z = torch.zeros(1, 2, 3, requires_grad=True)
    out = LF.cosine_softmax(z)
    assert out.tolist() == [[[0.5, 0.5], [0.5, 0.5]]]
    out[0, 0, 0].backward()
    assert z.grad is not None
    assert not z.grad.any()
