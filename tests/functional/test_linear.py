r"""Products of few rows and of so many that another kernel takes them."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from properties import assert_all_equal, assert_equal
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from latentgraph.functional.linear import (
    MANY_CHANNELS,
    MANY_NUMBERS,
    MANY_PRODUCTS,
    MANY_ROWS,
    channels_first,
    laid_out_as,
    linear,
    over_rows,
)

IN, OUT = 37, 29
FEW, MANY = (13,), (MANY_PRODUCTS // (IN * OUT) + 7,)
DEEP, PIXELS = MANY_CHANNELS + 5, MANY_PRODUCTS // (2 * (MANY_CHANNELS + 5) * OUT) + 11
MANY_COLUMN = MANY_NUMBERS // MANY[0] + 1  # as many beside a single one


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def weights(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    return torch.randn(OUT, IN, dtype=dtype), torch.randn(OUT, dtype=dtype)


def deep_maps(columns: int, num_maps: int = 2, beside: int = 0) -> Tensor:
    r"""Maps, or a slice of maps that have further pixels ``beside`` it."""
    pixels = 2 * PIXELS // num_maps
    return torch.randn(num_maps, columns, pixels + beside)[..., :pixels].mT


def values_and_gradients(given: list[Tensor], grad: Tensor) -> list[Tensor]:
    leaves = [t.detach().requires_grad_() for t in given]
    y = linear(*leaves)
    return [y, *torch.autograd.grad(y, leaves, grad.to(y.dtype))]


@pytest.mark.parametrize("rows", [FEW, MANY, (1, *MANY), (3, MANY[0] // 2), (0,), (0, *FEW)])
@pytest.mark.parametrize("shape", [(OUT, IN), (1, MANY_COLUMN), (MANY_COLUMN, 1), (1, 1)])
@pytest.mark.parametrize("has_bias", [False, True])
def test_values_and_gradients(
    rows: tuple[int, ...], shape: tuple[int, int], has_bias: bool
) -> None:
    given = [torch.randn(*rows, shape[1]), torch.randn(shape), torch.randn(shape[0])]
    given = given if has_bias else given[:2]
    grad = torch.randn(*rows, shape[0])

    x, w, *b = exact = [t.double() for t in given]
    y, *gradients = values_and_gradients(given, grad)
    assert_equal(y, x @ w.T + (b[0] if b else 0))
    assert y.is_contiguous()
    assert_all_equal(gradients, values_and_gradients(exact, grad)[1:])


@pytest.mark.parametrize("rows", [FEW, MANY])
def test_products_can_be_written_to(rows: tuple[int, ...]) -> None:
    weight, bias = (t.requires_grad_() for t in weights())
    x = torch.randn(*rows, IN)
    y = linear(x, weight, bias)
    assert not y._is_view()  # whose gradients would take a copy
    (found,) = torch.autograd.grad(y.relu_().sum(), weight)
    above = x.double() @ weight.T.double() + bias.double() > 0
    assert_equal(found, above.double().T @ x.double())


@pytest.mark.parametrize("rows", [FEW, MANY])
def test_gradients_in_any_strides(rows: tuple[int, ...]) -> None:
    weight, bias = (t.requires_grad_() for t in weights())
    x = torch.randn(*rows, IN, requires_grad=True)
    exact = [t.detach().double().requires_grad_() for t in (x, weight, bias)]
    for grad in (torch.randn(OUT).expand(*rows, OUT), torch.randn(OUT, *rows).T):
        found = torch.autograd.grad(linear(x, weight, bias), (x, weight, bias), grad)
        expected = exact[0] @ exact[1].T + exact[2]
        assert_all_equal(found, torch.autograd.grad(expected, exact, grad.double()))


@pytest.mark.parametrize("rows", [FEW, MANY, "maps"])
def test_rows_do_not_see_each_other(rows: tuple[int, ...]) -> None:
    x = deep_maps(DEEP, 1) if rows == "maps" else torch.randn(*rows, IN)
    x[..., 3, :], x[..., 7, :] = torch.nan, torch.inf
    y = linear(x, torch.randn(OUT, x.size(-1)), torch.randn(OUT)).flatten(0, -2)
    assert y.isfinite().all(1).logical_not().nonzero().squeeze(1).tolist() == [3, 7]


@pytest.mark.parametrize("rows", [FEW[0], MANY[0]])
def test_maps_whose_channels_come_first_in_memory(rows: int) -> None:
    weight, bias = weights()
    x = torch.randn(2, IN, rows).mT
    assert_equal(linear(x, weight, bias), x.double() @ weight.T.double() + bias.double())


@pytest.mark.parametrize("num_maps", [1, 2])
@pytest.mark.parametrize("columns", [(DEEP, OUT), (OUT, DEEP)])
@pytest.mark.parametrize("beside", [0, 11])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("num_threads", [1, 2])
def test_maps_of_many_channels_stay_as_they_are(
    num_maps: int, columns: tuple[int, int], beside: int, has_bias: bool, num_threads: int
) -> None:
    x, grad = deep_maps(columns[0], num_maps, beside), deep_maps(columns[1], num_maps)
    given = [x, torch.randn(columns[::-1]), torch.randn(columns[1])]
    given = given if has_bias else given[:2]
    exact = [t.double() for t in given]
    with threads(num_threads):
        found = [values_and_gradients(given, g) for g in (grad, grad.contiguous())]
        without = linear(*given)
    expected = values_and_gradients(exact, grad)
    for each in found:
        assert_all_equal(each, expected)
    assert_equal(without, expected[0])
    stay = columns[1] == DEEP and not beside
    for y in (without, *(each[0] for each in found)):
        assert channels_first(y) == stay
        assert y.is_contiguous() != stay
        assert not y._is_view()
    if columns[0] == DEEP:
        assert all(channels_first(each[1]) for each in found)


@pytest.mark.parametrize("num_maps", [1, 2])
def test_layouts(num_maps: int) -> None:
    deep = deep_maps(DEEP, num_maps)
    rows = torch.randn(*deep.shape[:-1], OUT)
    for like in (deep, deep_maps(DEEP, num_maps, beside=7)):
        assert channels_first(laid_out_as(like, rows))
        assert torch.equal(laid_out_as(like, rows), rows)
    for like in (deep[..., :OUT], deep_maps(OUT, num_maps), deep.contiguous(), deep.double()):
        assert laid_out_as(like, rows) is rows
    few, many = rows[:, :11], torch.randn(1, MANY_PRODUCTS // OUT**2 + 3, OUT)
    assert laid_out_as(deep[:, :11], few) is few
    assert laid_out_as(many.mT.contiguous().mT, many) is many
    with torch.autocast("cpu"):
        assert laid_out_as(deep, rows) is rows
    assert channels_first(deep[:, 1:])
    assert not channels_first(rows)
    assert not channels_first(rows[:, :, 1:])


@pytest.mark.parametrize("rows", [MANY, (3, MANY[0] // 2), "maps"])
def test_second_gradients_of_all_inputs(rows: tuple[int, ...]) -> None:
    x = deep_maps(DEEP) if rows == "maps" else torch.randn(*rows, IN)
    given = [x, torch.randn(OUT, x.size(-1)), torch.randn(OUT)]

    def second(tensors: list[Tensor]) -> list[Tensor]:
        leaves = [t.detach().requires_grad_() for t in tensors]
        y = linear(*leaves).pow(2).sum() / 2
        first = torch.autograd.grad(y, leaves, create_graph=True)
        return list(torch.autograd.grad([g.pow(2).mean() for g in first], leaves))

    assert_all_equal(second(given), second([t.double() for t in given]))


@pytest.mark.parametrize("rows", [FEW, MANY, "maps"])
@pytest.mark.parametrize("num_threads", [1, 2])
def test_batched_gradients(rows: tuple[int, ...], num_threads: int) -> None:
    x = deep_maps(DEEP) if rows == "maps" else torch.randn(*rows, IN)
    given = [t.requires_grad_() for t in (x, torch.randn(OUT, x.size(-1)), torch.randn(OUT))]
    grads = torch.randn(3, *x.shape[:-1], OUT)
    with threads(num_threads):
        y = linear(*given)
        batched = torch.autograd.grad(y, given, grads, retain_graph=True, is_grads_batched=True)
        one_by_one = [torch.autograd.grad(y, given, grad, retain_graph=True) for grad in grads]
    assert_all_equal(batched, [torch.stack(each) for each in zip(*one_by_one, strict=True)])


@pytest.mark.parametrize("rows", [FEW, MANY])
def test_only_what_gradients_of_a_product_need_is_kept(rows: tuple[int, ...]) -> None:
    for i in (0, 1):
        given = [torch.randn(*rows, IN), weights()[0]]
        given[i] = given[i].requires_grad_() * 1
        y = linear(*given)
        given[i].mul_(2)  # whose own gradient it does not change
        y.sum().backward()


def test_functions_of_functions_of_many_rows() -> None:
    weight, bias = weights()
    x, tangent = torch.randn(*MANY, IN), torch.randn(*MANY, IN)
    _, change = torch.func.jvp(lambda x: linear(x, weight, bias), (x,), (tangent,))
    assert_equal(change, tangent.double() @ weight.T.double())
    each = torch.func.vmap(linear, (None, 0))(x, torch.stack([weight, 2 * weight]))
    assert_all_equal(each, [x.double() @ (i * weight).T.double() for i in (1, 2)])


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


@pytest.mark.parametrize(
    "rows", [(1, *FEW), (1, *MANY), (3, MANY_ROWS + 5), (0, MANY_ROWS), (2, 0)]
)
@pytest.mark.parametrize("channels_first", [False, True])
@pytest.mark.parametrize("num_threads", [1, 2])
def test_products_over_rows(rows: tuple[int, ...], channels_first: bool, num_threads: int) -> None:
    def rows_of(columns: int) -> Tensor:
        return (
            torch.randn(rows[0], columns, rows[1]).mT
            if channels_first
            else torch.randn(*rows, columns)
        )

    given, grad = [rows_of(IN), rows_of(OUT)], torch.randn(rows[0], IN, OUT)

    def run(tensors: list[Tensor]) -> list[Tensor]:
        leaves = [t.detach().requires_grad_() for t in tensors]
        product = over_rows(*leaves)
        first = torch.autograd.grad(product, leaves, grad.to(product.dtype), create_graph=True)
        second = torch.autograd.grad([g.pow(2).sum() / 2 for g in first], leaves, allow_unused=True)
        return [product, *first, *(torch.zeros(()) if s is None else s for s in second)]

    x, y = exact = [t.double() for t in given]
    with threads(num_threads):
        product, *gradients = run(given)
    assert_equal(product, x.mT @ y)
    assert_all_equal(gradients, run(exact)[1:])


@pytest.mark.parametrize("columns", [(1, 1), (1, 17), (7, 5), (8, 8), (9, 100)])
@pytest.mark.parametrize("num_graphs", [1, 3])
@pytest.mark.parametrize("num_threads", [1, 2])
def test_products_of_many_rows_keep_six_digits(
    columns: tuple[int, int], num_graphs: int, num_threads: int
) -> None:
    x, y = (torch.rand(num_graphs, 131_101, c) for c in columns)
    with threads(num_threads):
        product = over_rows(x, y)
    assert_equal(product, x.double().mT @ y.double(), 1e-6)


@pytest.mark.parametrize("rows", [FEW[0], MANY_ROWS + 5, MANY[0]])
@pytest.mark.parametrize("columns", [(IN, OUT), (OUT, IN)])
def test_sums_over_rows_have_memory_of_their_own(rows: int, columns: tuple[int, int]) -> None:
    x, y = (torch.randn(1, rows, c, requires_grad=True) for c in columns)
    with threads(2):  # where many rows go to oneDNN
        products = over_rows(x, y), over_rows(x.detach(), y.detach())
    for product in products:
        assert product.is_contiguous()
        product *= 2
    (found,) = torch.autograd.grad(products[0].sum(), x)
    assert_equal(found, 2 * y.double().sum(2, keepdim=True).expand_as(x))


def test_gradients_lie_in_memory_as_their_rows_do() -> None:
    x = torch.randn(1, 3, MANY_ROWS).mT.requires_grad_()
    y = torch.randn(1, MANY_ROWS, 5, requires_grad=True)
    of_x, of_y = torch.autograd.grad(over_rows(x, y).sum(), (x, y))
    assert of_x.stride() == x.stride()
    assert of_y.stride() == y.stride()


def test_half_precision_is_rounded_once() -> None:
    x, y = (torch.rand(1, MANY_ROWS + 5, c).bfloat16() for c in (3, 5))
    assert torch.equal(over_rows(x, y)[0], x[0].mT @ y[0])


def test_only_what_gradients_need_is_kept() -> None:
    x, y = torch.randn(1, MANY_ROWS, 3), torch.randn(1, MANY_ROWS, 5, requires_grad=True) * 1
    product = over_rows(x, y)
    y.mul_(2)
    product.sum().backward()


@pytest.mark.parametrize("rows", [FEW[0], MANY[0]])
def test_functions_of_functions_over_rows(rows: int) -> None:
    x, y, tangent = (torch.randn(1, rows, c) for c in (IN, OUT, OUT))
    _, change = torch.func.jvp(over_rows, (x, y), (torch.zeros_like(x), tangent))
    assert_equal(change, x.double().mT @ tangent.double())
    each = torch.func.vmap(over_rows, (None, 0))(x, torch.stack([y, tangent]))
    assert_all_equal(each, [x.double().mT @ t.double() for t in (y, tangent)])

    def scaled(scale: Tensor) -> Tensor:
        return over_rows(x * scale, y * scale)

    twice = torch.func.jacfwd(torch.func.jacfwd(scaled))(torch.tensor(1.0))
    assert_equal(twice, 2 * x.double().mT @ y.double())


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without it")
def test_kernels_by_number_of_rows() -> None:
    aten, kernels = torch.ops.aten, []
    for rows in (FEW, MANY):
        x, y = torch.randn(*rows, IN), torch.randn(*rows, OUT)
        with FlopCounterMode(display=False) as counter:
            linear(x, weights()[0])
            with threads(2):
                over_rows(x.unsqueeze(0), y.unsqueeze(0))
        kernels.append(counter.get_flop_counts()["Global"].keys())
    assert kernels == [{aten.mm}, {aten.convolution, aten.convolution_backward}]


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without it")
@pytest.mark.parametrize(
    ("columns", "beside", "forward", "backward"),
    [
        (DEEP, 0, {"convolution"}, {"convolution", "convolution_backward"}),
        (DEEP, 5, {"bmm"}, {"bmm", "convolution", "convolution_backward"}),
        (MANY_CHANNELS - 1, 0, {"bmm"}, {"bmm"}),
    ],
)
def test_kernels_of_maps(columns: int, beside: int, forward: set[str], backward: set[str]) -> None:
    x, weight = deep_maps(columns, 2, beside), torch.randn(OUT, columns)
    with FlopCounterMode(display=False) as counter, threads(2):
        linear(x, weight)
        before = set(counter.get_flop_counts()["Global"])
        linear(x.requires_grad_(), weight.requires_grad_()).sum().backward()
        after = set(counter.get_flop_counts()["Global"])
    assert before == {getattr(torch.ops.aten, name) for name in forward}
    assert after == {getattr(torch.ops.aten, name) for name in backward}


def test_backward_of_many_rows_inside_autocast() -> None:
    weight, bias = (t.requires_grad_() for t in weights())
    x, grad = torch.randn(*MANY, IN, requires_grad=True), torch.randn(*MANY, OUT)
    y = linear(x, weight, bias)
    with torch.autocast("cpu"):
        found = torch.autograd.grad(y, (x, weight, bias), grad)
    exact = [t.double() for t in (grad, x, weight)]
    expected = (exact[0] @ exact[2], exact[0].T @ exact[1], exact[0].sum(0))
    assert_all_equal(found, expected)


def test_backward_inside_autocast() -> None:
    x, y = torch.randn(1, *MANY, IN, requires_grad=True), torch.randn(1, *MANY, OUT)
    product, grad = over_rows(x, y), torch.randn(1, IN, OUT)
    with torch.autocast("cpu"):
        (found,) = torch.autograd.grad(product, x, grad)
    assert_equal(found, y.double() @ grad.double().mT)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without it")
def test_one_thread_has_the_same_kernel() -> None:
    with threads(1), torch.autograd.profiler.profile() as profile:
        linear(torch.randn(*MANY, IN), weights()[0])
    assert "aten::mkldnn_convolution" in {event.name for event in profile.function_events}
