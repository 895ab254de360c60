r"""A linear map and its norm: with gradients, and without, where layer norm goes another way."""

import pytest
import torch
from properties import TOLERANCE, assert_equal
from torch import Tensor

from latentgraph.nn import NonLocal
from latentgraph.nn.linear_norm import LinearNorm, RowFunction

IN, OUT = 37, 29


@pytest.fixture
def layer() -> LinearNorm:
    layer = LinearNorm(IN, OUT, "layer_norm")
    with torch.no_grad():
        layer.linear.weight.normal_().add_(5)
        layer.norm.weight.normal_()
        layer.norm.bias.normal_()
    return layer


def formula(layer: LinearNorm, x: Tensor) -> Tensor:
    y = x.double() @ layer.linear.weight.double().T
    centered = y - y.mean(-1, keepdim=True)
    variance = centered.square().mean(-1, keepdim=True)
    scaled = centered / (variance + layer.norm.eps).sqrt()
    return scaled * layer.norm.weight.double() + layer.norm.bias.double()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
@pytest.mark.parametrize("rows", [(0,), (1,), (53,), (3, 53)])
@pytest.mark.parametrize("size", [0.0, 1e-3, 1.0, 1e3])
def test_layer_norm(layer, mode, rows, size) -> None:
    x = size * torch.randn(*rows, IN)
    with mode():
        y = layer(x)
    assert_equal(y, formula(layer, x))
    assert_equal(layer.rows(scale=torch.tensor([0.7]))(x), 0.7 * formula(layer, x))


def test_without_gradients_the_mean_of_the_outputs_costs_no_digits(layer) -> None:
    x = 1e3 + torch.randn(53, IN)
    with torch.no_grad():
        assert_equal(layer(x), formula(layer, x), 1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("has_bias", [False, True])
def test_rows_of_float32_beside_weights_of_half(dtype, has_bias) -> None:
    x = torch.randn(53, IN)
    weight, bias, gain, shift = (torch.randn(OUT, n).squeeze(1).to(dtype) for n in (IN, 1, 1, 1))
    norm, scale = (gain, shift, 1e-5), torch.tensor([0.7])
    rows = RowFunction(weight + 3, bias if has_bias else None, layer_norm=norm, scale=scale)
    with torch.no_grad():
        y = rows(x)
    exact = x.double() @ (weight + 3).double().T + (bias.double() if has_bias else 0)
    expected = 0.7 * torch.nn.functional.layer_norm(exact, (OUT,), gain.double(), shift.double())
    assert y.dtype == torch.float32
    assert_equal(y, expected)
    assert_equal(rows(x), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rows_of_half_precision(dtype) -> None:
    layer = LinearNorm(IN, OUT, "layer_norm", dtype=dtype)
    x = torch.randn(53, IN, dtype=dtype)
    with torch.no_grad():
        assert_equal(layer(x), formula(layer, x), TOLERANCE[dtype])


def test_a_map_with_a_bias_without_gradients() -> None:
    block = NonLocal(IN, norm="layer_norm")
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(53, IN)
    expected = block.double()(x.double())
    with torch.no_grad():
        assert_equal(block.float()(x), expected, 1e-4)


def test_outputs_that_are_all_alike_stay_so(layer) -> None:
    x = 100 + torch.randn(53, IN)
    with torch.no_grad():
        layer.linear.weight.copy_(torch.randn(IN))
        assert_equal(layer(x), layer.norm.bias.expand(53, -1), 1e-2)


def test_under_vmap_and_forward_derivatives(layer) -> None:
    x, tangent = torch.randn(3, 53, IN), torch.randn(3, 53, IN)
    with torch.no_grad():
        assert_equal(torch.func.vmap(layer)(x), formula(layer, x))
        _, moved = torch.func.jvp(layer, (x,), (tangent,))
    expected = torch.func.jvp(lambda x: formula(layer, x), (x.double(),), (tangent.double(),))[1]
    assert_equal(moved, expected)
