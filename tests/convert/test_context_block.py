from itertools import product

import pytest
import torch
from blocks import CHANNELS, context_block, run_context_block
from properties import assert_equal

from latentgraph.convert import from_context_block
from latentgraph.convert.context_block import ratio_of
from latentgraph.nn import OnGrid


@pytest.mark.parametrize("attention", [True, False], ids=["attention", "mean"])
@pytest.mark.parametrize("fuse", [("add",), ("mul",), ("add", "mul")], ids="-".join)
def test_equals_the_formulas(fuse, attention) -> None:
    weights = context_block(fuse, attention)
    block, report = from_context_block(weights)
    x = torch.randn(3, CHANNELS, 7, 11).double()
    assert_equal(OnGrid(block)(x), run_context_block(weights, x))
    assert (block.pool, set(block.fuse)) == ("attention" if attention else "mean", set(fuse))
    assert set(report.used) == set(weights)
    for key, name in report.used.items():
        assert torch.equal(block.state_dict()[name].flatten(), weights[key].flatten())


def test_any_hidden_width_has_a_ratio() -> None:
    for hidden in range(2, 60):
        block, _ = from_context_block(context_block(("add",), attention=True, hidden=hidden))
        assert block.add.first.out_features == hidden == int(CHANNELS * block.ratio)
    for hidden, channels in product(range(2, 400), (49, 107)):  # 1 / 49 * 49 is below 1
        assert int(channels * ratio_of(hidden, channels)) == hidden
