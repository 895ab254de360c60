import pytest
import torch
from blocks import CHANNELS, run_timm_context, timm_context
from properties import assert_equal

from latentgraph.convert import from_timm
from latentgraph.nn import OnGrid


@pytest.mark.parametrize("attention", [True, False], ids=["attention", "mean"])
@pytest.mark.parametrize("fuse", [("add",), ("scale",), ("add", "scale")], ids="-".join)
def test_equals_the_formulas(fuse, attention) -> None:
    weights = timm_context(fuse, attention)
    weights |= {key: 1e-3 * w for key, w in weights.items() if "fc1" in key}  # eps counts
    block, report = from_timm(weights)
    x = torch.randn(3, CHANNELS, 7, 11).double()
    assert_equal(OnGrid(block)(x), run_timm_context(weights, x))
    assert set(report.used) == set(weights)
    assert block.eps == 1e-6
