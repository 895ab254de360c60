import pytest
import torch
from properties import assert_all_equal, assert_equal
from torch import Tensor

from latentgraph.functional import Ragged
from latentgraph.functional.relu_sum import relu_sum

# Among many, graphs of 4 and of 5 nodes are taken together; equal ones need no padding.
SIZES = {
    "ragged": ((5, 0, 3, 1, 7), (2, 3, 0, 1, 11)),
    "many": ((4, 0, 5, 1, 5) * 53, (5, 1, 2, 0, 0) * 53),
    "equal": ((3,) * 7, (2, 0, 5, 1, 1, 7, 2)),
    "one": ((7,), (3,)),
    "none": ((0, 0), (0, 2)),
}


def sample(sizes, *channels: int) -> tuple[Tensor, ...]:
    batch = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    batch = batch[torch.randperm(len(batch))]
    features = (torch.randn(len(batch), c, requires_grad=True) for c in channels)
    return batch, *(t.detach().double().requires_grad_() for t in features)


def reference(a, b, g, batch, key_batch) -> Tensor:
    same = batch.unsqueeze(1) == key_batch
    return ((a + b.T).relu() * same) @ g


@pytest.mark.parametrize("sizes", SIZES)
def test_equals_the_formula(sizes) -> None:
    batch, a = sample(SIZES[sizes][0], 1)
    key_batch, b, g = sample(SIZES[sizes][1], 1, 3)
    num_graphs = len(SIZES[sizes][0])
    out = relu_sum(a, b, g, Ragged(batch, num_graphs), Ragged(key_batch, num_graphs))
    expected = reference(a, b, g, batch, key_batch)
    assert_equal(out, expected)
    grad, leaves = torch.randn_like(out), (a, b, g)
    assert_all_equal(*(torch.autograd.grad(y, leaves, grad) for y in (out, expected)))


@pytest.mark.parametrize("batched", [True, False], ids=["batched", "one graph"])
def test_gradients_and_their_gradients(batched) -> None:
    batch, a = sample((3, 0, 2), 1)
    key_batch, b, g = sample((1, 1, 3), 1, 2)
    graphs = (Ragged(batch, 3), Ragged(key_batch, 3)) if batched else ()

    def function(a, b, g):
        return relu_sum(a, b, g, *graphs)

    assert torch.autograd.gradcheck(function, (a, b, g))
    assert torch.autograd.gradgradcheck(function, (a, b, g))


def test_stacked_graphs() -> None:
    a, b, g = (torch.randn(3, n, c, dtype=torch.float64) for n, c in ((7, 1), (5, 1), (5, 2)))
    assert_equal(relu_sum(a, b, g), (a + b.mT).relu() @ g)


def test_ties_count_as_torch_counts_them() -> None:
    a, b = torch.tensor([[0.0], [1.0], [-1.0]]), torch.tensor([[-1.0], [0.0], [-1.0], [1.0]])
    found = []
    for function in (relu_sum, lambda a, b, g: (a + b.T).relu() @ g):
        leaves = tuple(t.clone().requires_grad_() for t in (a, b, torch.ones(4, 2)))
        out = function(*leaves)
        found.append((out, *torch.autograd.grad(out.sum(), leaves)))
    assert_all_equal(*found)


def test_sums_that_nearly_cancel_keep_their_digits() -> None:
    a, b = 1e4 + torch.randn(211, 1), -1e4 + torch.randn(197, 1)
    g = torch.randn(197, 3)
    expected = relu_sum(a.double(), b.double(), g.double())
    assert_equal(expected, (a.double() + b.double().T).relu() @ g.double())
    assert_equal(relu_sum(a, b, g), expected)


def test_a_nan_stays_in_its_graph() -> None:
    sizes = SIZES["many"][0]
    batch, a, g = sample(sizes, 1, 3)
    graphs = Ragged(batch, len(sizes))
    spoilt = a.detach().clone()
    spoilt[batch == 2] = torch.nan
    out, clean = (relu_sum(t, t, g, graphs, graphs) for t in (spoilt, a))
    assert out[batch == 2].isnan().all()
    assert_equal(out[batch != 2], clean[batch != 2])
