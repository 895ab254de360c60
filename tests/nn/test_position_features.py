import pytest
import torch
from properties import assert_equal
from samples import SIZES, nodes

from latentgraph.functional import Ragged
from latentgraph.nn import position_features


@pytest.mark.parametrize("scale", [6.0, 1.0])
def test_equals_the_formula_in_each_graph(scale) -> None:
    pos, batch, batch_size = nodes(SIZES, channels=3)
    out = position_features(pos, batch, batch_size, scale)
    for graph in range(batch_size):
        own = pos[batch == graph]
        centered = own - own.mean(0)
        radius = centered.square().sum(1).mean().sqrt().clamp_min(1e-12)
        unit = centered / radius
        expected = torch.cat([scale * unit, scale * unit.square().sum(1, keepdim=True)], 1)
        assert_equal(out[batch == graph], expected)
        if len(own) > 0:
            assert_equal(position_features(own, scale=scale), expected)
    assert_equal(position_features(pos, Ragged(batch, batch_size), scale=scale), out)


def test_unit_and_place_of_the_coordinates_do_not_matter() -> None:
    pos, batch, _ = nodes(SIZES, channels=3)
    moved = 100 * pos + torch.randn(len(SIZES), 3).double()[batch]
    assert_equal(position_features(moved, batch), position_features(pos, batch))


def test_a_graph_of_one_place_has_zeros() -> None:
    pos = torch.full((5, 3), 7.5, requires_grad=True)
    out = position_features(pos)
    assert not out.any()
    out.sum().backward()
    assert pos.grad is not None
    assert pos.grad.isfinite().all()


def test_any_number_of_dimensions_in_float32_or_wider() -> None:
    out = position_features(torch.randn(7, 2).half())
    assert out.shape == (7, 3)
    assert out.dtype == torch.float32
    assert position_features(torch.empty(0, 3)).shape == (0, 4)


def test_positions_of_a_wrong_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"pos of shape \(N, D\), got \(7,\)"):
        position_features(torch.randn(7))


@pytest.mark.parametrize("num_nodes", [1, 3, 7, 1_009])
def test_one_place_far_from_zero_has_zeros(num_nodes) -> None:
    pos = torch.tensor([[123.456, 7.77, -31.3]]).expand(num_nodes, 3)
    assert not position_features(pos).any()
    assert not position_features(pos, torch.arange(num_nodes) % 2).any()
