r"""The handle."""

from functools import partial

import pytest
import torch
from networks import CHANGE, GATE, IDENTITY, ConvNet, images
from torch import nn

from latentgraph.nn import NonLocal, OnGrid, SqueezeExcitation
from latentgraph.plug import insert


def test_parameters_are_those_of_the_blocks() -> None:
    model = ConvNet()
    own = set(model.parameters())
    handle = insert(model, "body.*", IDENTITY, channels=13, layout="grid")
    assert set(handle.parameters()) == set(model.parameters()) - own
    assert {type(block).__name__ for block in handle.blocks.values()} == {"LatentGNN"}


@pytest.mark.parametrize(
    ("factory", "identity"),
    [
        (IDENTITY, True),
        (NonLocal, True),
        (lambda c: OnGrid(NonLocal(c), pool=2), True),
        (CHANGE, False),
        (GATE, False),
        (partial(SqueezeExcitation, ratio=1 / 2), False),
    ],
)
def test_identity_tells_whether_outputs_stay(factory, identity) -> None:
    model, x = ConvNet().eval(), images()
    out = model(x)
    handle = insert(model, "body", factory)
    assert handle.identity is identity
    assert torch.equal(model(x), out) is identity
    for parameter in handle.parameters():
        nn.init.normal_(parameter)
    assert not handle.identity
