r"""Products of few rows and of so many that another kernel takes them."""

import pytest
import torch
from properties import assert_all_equal, assert_equal
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from latentgraph.functional.linear import MANY_PRODUCTS, PIECE, linear, over_rows

IN, OUT = 37, 29
FEW, MANY = (13,), (MANY_PRODUCTS // (IN * OUT) + 7,)


def weights(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    return torch.randn(OUT, IN, dtype=dtype), torch.randn(OUT, dtype=dtype)


@pytest.mark.parametrize("rows", [FEW, MANY, (1, *MANY), (3, MANY[0] // 2), (0,), (0, *FEW)])
@pytest.mark.parametrize("has_bias", [False, True])
def test_values_and_gradients(rows: tuple[int, ...], has_bias: bool) -> None:
    weight, bias = weights()
    given = [torch.randn(*rows, IN), weight, *([bias] if has_bias else [])]
    grad = torch.randn(*rows, OUT)

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
    x = torch.randn(*rows, IN)
    x[3], x[7] = torch.nan, torch.inf
    y = linear(x, weight, bias)
    assert y.isfinite().all(1).logical_not().nonzero().squeeze(1).tolist() == [3, 7]


@pytest.mark.parametrize("rows", [FEW[0], MANY[0]])
def test_maps_whose_channels_come_first_in_memory(rows: int) -> None:
    weight, bias = weights()
    x = torch.randn(2, IN, rows).mT
    assert_equal(linear(x, weight, bias), x.double() @ weight.T.double() + bias.double())


def test_second_gradients_of_many_rows() -> None:
    weight, _ = weights()
    x = torch.randn(*MANY, IN, requires_grad=True)

    def second(x: Tensor, weight: Tensor) -> Tensor:
        y = linear(x, weight).pow(2).sum() / 2
        (first,) = torch.autograd.grad(y, x, create_graph=True)
        (again,) = torch.autograd.grad(first.sum(), x)
        return again

    expected = (weight.double().T @ weight.double()).sum(0).expand(*MANY, IN)
    assert_equal(second(x, weight), expected)


@pytest.mark.parametrize("rows", [FEW, MANY, (1, *MANY), (3, MANY[0] // 2), (2, PIECE), (0,)])
def test_products_over_rows(rows: tuple[int, ...]) -> None:
    given = [torch.randn(*rows, IN), torch.randn(*rows, OUT)]
    grad = torch.randn(*rows[:-1], IN, OUT)

    def run(tensors: list[Tensor]) -> list[Tensor]:
        leaves = [t.detach().requires_grad_() for t in tensors]
        product = over_rows(*leaves)
        first = torch.autograd.grad(product, leaves, grad.to(product.dtype), create_graph=True)
        second = torch.autograd.grad([g.pow(2).sum() / 2 for g in first], leaves, allow_unused=True)
        return [product, *first, *(torch.zeros(()) if s is None else s for s in second)]

    x, y = exact = [t.double() for t in given]
    product, *gradients = run(given)
    assert_equal(product, x.mT @ y)
    assert_all_equal(gradients, run(exact)[1:])


@pytest.mark.parametrize("columns", [(1, 1), (1, 17), (7, 5)])
@pytest.mark.parametrize("num_graphs", [1, 3])
def test_narrow_products_of_many_rows_keep_six_digits(
    columns: tuple[int, int], num_graphs: int
) -> None:
    x, y = (torch.rand(num_graphs, 100_003, c) for c in columns)
    assert_equal(over_rows(x, y), x.double().mT @ y.double(), 1e-6)


@pytest.mark.parametrize("rows", [FEW[0], MANY[0]])
def test_functions_of_functions_over_rows(rows: int) -> None:
    x, y, tangent = torch.randn(rows, IN), torch.randn(rows, OUT), torch.randn(rows, OUT)
    _, change = torch.func.jvp(over_rows, (x, y), (torch.zeros_like(x), tangent))
    assert_equal(change, x.double().T @ tangent.double())
    each = torch.func.vmap(over_rows, (None, 0))(x, torch.stack([y, tangent]))
    assert_all_equal(each, [x.double().T @ t.double() for t in (y, tangent)])


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without it")
def test_kernels_by_number_of_rows() -> None:
    aten, kernels = torch.ops.aten, []
    for rows in (FEW, MANY):
        x, y = torch.randn(*rows, IN), torch.randn(*rows, OUT)
        with FlopCounterMode(display=False) as counter:
            linear(x, weights()[0])
            over_rows(x, y)
        kernels.append(counter.get_flop_counts()["Global"].keys())
    assert kernels == [{aten.mm}, {aten.convolution, aten.convolution_backward}]


def test_backward_inside_autocast() -> None:
    x, y = torch.randn(*MANY, IN, requires_grad=True), torch.randn(*MANY, OUT)
    product, grad = over_rows(x, y), torch.randn(IN, OUT)
    with torch.autocast("cpu"):
        (found,) = torch.autograd.grad(product, x, grad)
    assert_equal(found, y.double() @ grad.double().T)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without it")
def test_one_thread_has_the_same_kernel() -> None:
    assert torch.get_num_threads() == 1  # as in all tests
    with torch.autograd.profiler.profile() as profile:
        linear(torch.randn(*MANY, IN), weights()[0])
    assert "aten::mkldnn_convolution" in {event.name for event in profile.function_events}
