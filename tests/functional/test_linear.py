r"""Linear maps of few rows and of so many that another kernel takes them."""

import pytest
import torch
from properties import assert_all_equal, assert_equal
from torch import Tensor

from latentgraph.functional.linear import MANY_ROWS, linear

FEW, MANY = (13,), (MANY_ROWS + 7,)


def weights(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    return torch.randn(11, 5, dtype=dtype), torch.randn(11, dtype=dtype)


@pytest.mark.parametrize("rows", [FEW, MANY, (1, *MANY), (3, MANY_ROWS // 2), (0,), (0, *FEW)])
@pytest.mark.parametrize("has_bias", [False, True])
def test_values_and_gradients(rows: tuple[int, ...], has_bias: bool) -> None:
    weight, bias = weights()
    given = [torch.randn(*rows, 5), weight, *([bias] if has_bias else [])]
    grad = torch.randn(*rows, 11)

    def run(tensors: list[Tensor]) -> list[Tensor]:
        leaves = [t.detach().requires_grad_() for t in tensors]
        y = linear(*leaves)
        return [y, *torch.autograd.grad(y, leaves, grad.to(y.dtype))]

    x, w, *b = exact = [t.double() for t in given]
    y, *gradients = run(given)
    assert_equal(y, x @ w.T + (b[0] if b else 0))
    assert y.is_contiguous()
    assert_all_equal(gradients, run(exact)[1:])


@pytest.mark.parametrize("rows", [FEW, MANY])
def test_rows_do_not_see_each_other(rows: tuple[int, ...]) -> None:
    weight, bias = weights()
    x = torch.randn(*rows, 5)
    x[3], x[7] = torch.nan, torch.inf
    y = linear(x, weight, bias)
    assert y.isfinite().all(1).logical_not().nonzero().squeeze(1).tolist() == [3, 7]


@pytest.mark.parametrize("rows", [FEW[0], MANY[0]])
def test_maps_whose_channels_come_first_in_memory(rows: int) -> None:
    weight, bias = weights()
    x = torch.randn(2, 5, rows).mT
    assert_equal(linear(x, weight, bias), x.double() @ weight.T.double() + bias.double())


def test_second_gradients_of_many_rows() -> None:
    weight, _ = weights()
    x = torch.randn(*MANY, 5, requires_grad=True)

    def second(x: Tensor, weight: Tensor) -> Tensor:
        y = linear(x, weight).pow(2).sum() / 2
        (first,) = torch.autograd.grad(y, x, create_graph=True)
        (again,) = torch.autograd.grad(first.sum(), x)
        return again

    expected = (weight.double().T @ weight.double()).sum(0).expand(*MANY, 5)
    assert_equal(second(x, weight), expected)
