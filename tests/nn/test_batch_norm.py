import pytest
import torch
from one_after_another import one_after_another
from properties import assert_equal
from torch import Tensor, nn

from latentgraph.nn.batch_norm import batch_norm

WIDTH = 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_many_nodes_in_half_precision_on_two_ranks(dtype) -> None:
    x = (2 * torch.randn(70_001, WIDTH) + 5).to(dtype)  # their squares sum to more than 65,504
    weight = torch.randn(x.shape, dtype=dtype)
    norm = nn.BatchNorm1d(WIDTH, dtype=dtype)

    def share_of(rows: range) -> list[Tensor]:
        own = x[rows.start : rows.stop].requires_grad_()
        out = batch_norm(norm, own)
        return [out, *torch.autograd.grad(out, own, weight[rows.start : rows.stop])]

    parts, _ = one_after_another(share_of, [range(30_011), range(30_011, 70_001)])
    leaf = x.double().requires_grad_()
    expected = nn.BatchNorm1d(WIDTH, dtype=torch.float64)(leaf)
    (gradient,) = torch.autograd.grad(expected, leaf, weight.double())
    for actual, whole in zip(zip(*parts, strict=True), (expected, gradient), strict=True):
        assert actual[0].dtype == dtype
        assert_equal(torch.cat(actual), whole, 2e-2 if dtype == torch.bfloat16 else 5e-3)
