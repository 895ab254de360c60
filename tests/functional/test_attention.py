import pytest
import torch
from properties import assert_all_equal, assert_equal
from torch import Tensor

from latentgraph.functional import Ragged
from latentgraph.functional import attention as module
from latentgraph.functional.attention import attention

# Among many, graphs of 4 and of 5 nodes are taken together; equal ones need no padding.
QUERIES = {
    "ragged": (5, 0, 3, 1, 7),
    "many": (4, 0, 5, 1, 5) * 53,
    "equal": (3,) * 7,
    "one": (7,),
    "none": (0, 0),
}
KEYS = {
    "ragged": (2, 3, 0, 1, 11),
    "many": (5, 1, 2, 0, 0) * 53,
    "equal": (2, 0, 5, 1, 1, 7, 2),
    "one": (3,),
    "none": (0, 2),
}


def sample(sizes, *channels: int, dtype=torch.float64) -> tuple[Tensor, ...]:
    batch = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    batch = batch[torch.randperm(len(batch))]
    features = (torch.randn(len(batch), c, dtype=dtype, requires_grad=True) for c in channels)
    return batch, *features


def reference(query, key, value, scale, batch, key_batch) -> Tensor:
    weight = (scale * query @ key.T).exp() * (batch.unsqueeze(1) == key_batch)
    return weight / weight.sum(1, keepdim=True).clamp_min(1e-300) @ value


@pytest.mark.parametrize("channels", [(5, 5), (7, 3), (3, 7)], ids=str)
@pytest.mark.parametrize("block_elements", [2**21, 1, 13])
@pytest.mark.parametrize("sizes", QUERIES)
def test_equals_the_formula(sizes, block_elements, channels, monkeypatch) -> None:
    monkeypatch.setattr(module, "BLOCK_ELEMENTS", block_elements)
    batch, query = sample(QUERIES[sizes], channels[0])
    key_batch, key, value = sample(KEYS[sizes], *channels)
    out = attention(
        query,
        key,
        value,
        0.7,
        Ragged(batch, len(QUERIES[sizes])),
        Ragged(key_batch, len(KEYS[sizes])),
    )
    expected = reference(query, key, value, 0.7, batch, key_batch)
    assert_equal(out, expected)
    grad, leaves = torch.randn_like(out), (query, key, value)
    found = (
        torch.autograd.grad(y, leaves, grad, allow_unused=True, materialize_grads=True)
        for y in (out, expected)
    )
    assert_all_equal(*found)


def test_nodes_that_ask_and_answer() -> None:
    batch, query, value = sample(QUERIES["many"], 5, 3)
    graphs = Ragged(batch)
    expected = reference(query, query, value, 1.0, batch, batch)
    assert_equal(attention(query, query, value, 1.0, graphs, graphs), expected)


@pytest.mark.parametrize("shape", [(7, 5), (3, 7, 5)])
def test_without_batch(shape) -> None:
    query = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    key, value = (torch.randn_like(query, requires_grad=True) for _ in range(2))
    weight = (query @ key.mT * 0.7).exp()
    expected = weight / weight.sum(-1, keepdim=True) @ value
    assert_equal(attention(query, key, value, 0.7), expected)
    with torch.no_grad():
        assert_equal(attention(query, key, value, 0.7), expected)


@pytest.mark.parametrize("batched", [True, False], ids=["batched", "one graph"])
def test_gradients_and_their_gradients(batched) -> None:
    batch, query, value = sample((3, 0, 2), 5, 2)
    key_batch, key = sample((1, 1, 3), 5)
    value = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    graphs = (Ragged(batch, 3), Ragged(key_batch, 3)) if batched else ()

    def function(query, key, value):
        return attention(query, key, value, 0.7, *graphs)

    assert torch.autograd.gradcheck(function, (query, key, value))
    assert torch.autograd.gradgradcheck(function, (query, key, value))


def test_gradients_of_a_tensor_that_is_query_and_key_and_makes_the_value() -> None:
    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: attention(x, x, x * x, 0.7), (x,))


def test_gradient_of_one_tensor_only() -> None:
    batch, query, value = sample((3, 2), 5, 2)
    graphs = Ragged(batch, 2)
    for leaf in (query, value):
        fixed = [t if t is leaf else t.detach() for t in (query, query.detach(), value)]
        out = attention(fixed[0], fixed[1], fixed[2], 1.0, graphs, graphs)
        (first,) = torch.autograd.grad(out.square().sum(), leaf, create_graph=True)
        assert torch.autograd.grad(first.square().sum(), leaf)[0].isfinite().all()


def test_large_scores_do_not_overflow() -> None:
    query = torch.randn(11, 5, requires_grad=True)
    out = attention(1e4 * query, query, query, 1.0)
    out.sum().backward()
    assert out.isfinite().all()
    assert query.grad.isfinite().all()


@pytest.mark.parametrize("batched", [True, False], ids=["batched", "one graph"])
def test_autocast_changes_nothing(batched) -> None:
    batch, query, key, value = sample((11, 7), 5, 5, 3, dtype=torch.float32)
    graphs = (Ragged(batch), Ragged(batch)) if batched else ()
    found = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            out = attention(query, key, value, 1.0, *graphs)
            found.append((out, *torch.autograd.grad(out.square().sum(), (query, key, value))))
    assert_all_equal(found[1], found[0], tolerance=0.0)


def test_a_nan_stays_in_its_graph() -> None:
    sizes = QUERIES["many"]
    batch, x = sample(sizes, 5)
    graphs = Ragged(batch, len(sizes))
    spoilt = x.detach().clone()
    spoilt[batch == 2] = torch.nan
    out, clean = (attention(t, t, t, 1.0, graphs, graphs) for t in (spoilt, x))
    assert out[batch == 2].isnan().all()
    assert_equal(out[batch != 2], clean[batch != 2])
