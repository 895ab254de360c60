import pytest
import torch
from properties import assert_all_equal, assert_equal

from latentgraph.functional import Ragged, cosine_softmax
from latentgraph.nn import LatentToLatentConv

B, C, D = 2, 5, 3


def complete_edges() -> tuple[torch.Tensor, torch.Tensor]:
    r"""All pairs of latents of each graph, shuffled, and where their weights lie in (B, d, d)."""
    receiver, sender = torch.cartesian_prod(torch.arange(D), torch.arange(D)).T
    offset = torch.arange(B).unsqueeze(1) * D
    edge_index = torch.stack([(sender + offset).flatten(), (receiver + offset).flatten()])
    shuffle = torch.randperm(edge_index.size(1))
    return edge_index[:, shuffle], shuffle


def test_dense_weights_equal_the_complete_graph_and_the_formula() -> None:
    z = torch.randn(B * D, C, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(B, D, D, dtype=torch.float64, requires_grad=True)
    edge_index, shuffle = complete_edges()
    conv = LatentToLatentConv()
    dense = conv(z, None, weight, batch_size=B)
    edges = conv(z, edge_index, weight.flatten()[shuffle])
    expected = (weight @ z.view(B, D, C)).flatten(0, 1)
    grad_out = torch.randn_like(z)
    wanted = torch.autograd.grad(expected, (z, weight), grad_out)
    for out in (dense, edges):
        assert_equal(out, expected)
        assert_all_equal(torch.autograd.grad(out, (z, weight), grad_out), wanted)


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_without_weights_latents_mix_by_the_cosine(temperature) -> None:
    z = torch.randn(B * D, C, dtype=torch.float64)
    expected = torch.empty(0, C)
    for own in z.view(B, D, C):
        cosine = torch.cosine_similarity(own.unsqueeze(1), own.unsqueeze(0), dim=-1)
        expected = torch.cat([expected, (cosine / temperature).softmax(1) @ own])
    assert_equal(LatentToLatentConv(temperature)(z, batch_size=B), expected)
    assert_equal(LatentToLatentConv()(z, batch_size=B, temperature=temperature), expected)
    tensor = torch.tensor([temperature])
    assert_equal(LatentToLatentConv()(z, batch_size=B, temperature=tensor), expected, 1e-6)
    weight = cosine_softmax(z.view(B, D, C), temperature)
    assert_equal(LatentToLatentConv()(z, None, weight, batch_size=B), expected)


def test_batch_tells_the_number_of_graphs() -> None:
    z, batch = torch.randn(B * D, C), torch.arange(B).repeat_interleave(D)
    expected = LatentToLatentConv()(z, batch_size=B)
    for given in (batch, Ragged(batch)):
        assert_equal(LatentToLatentConv()(z, batch=given), expected)
    assert_equal(LatentToLatentConv()(z[:D]), expected[:D])


def test_no_graphs() -> None:
    assert LatentToLatentConv()(torch.empty(0, C), batch_size=0).shape == (0, C)
    weight = torch.empty(0, D, D)
    assert LatentToLatentConv()(torch.empty(0, C), None, weight, batch_size=0).shape == (0, C)


def test_gradients() -> None:
    z = torch.randn(B * D, 2, dtype=torch.float64, requires_grad=True)
    tau = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)

    def function(z: torch.Tensor, tau: torch.Tensor) -> torch.Tensor:
        return LatentToLatentConv()(z, batch_size=B, temperature=tau)

    assert torch.autograd.gradcheck(function, (z, tau))
    assert torch.autograd.gradgradcheck(function, (z, tau))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 4}, "rows for 4 graphs, got 6 rows"),
        ({"batch_size": 0}, "rows for 0 graphs, got 6 rows"),
        ({"batch": torch.tensor([0, 0, 0, 0, 1, 1])}, r"equally many .* got sizes \[4, 2\]"),
        ({"batch": torch.tensor([0, 1, 0, 1, 0, 1])}, "equally many latent nodes"),
        ({"batch": torch.tensor([0, 1])}, "each of the 6 nodes, got 2"),
        (
            {"batch_size": 2, "edge_weight": torch.ones(2, 3, 2)},
            r"shape \(2, 3, 3\) and torch.float32, got \(2, 3, 2\)",
        ),
        (
            {"batch_size": 2, "edge_weight": torch.ones(2, 3, 3).double()},
            "got .* of torch.float64",
        ),
        ({"edge_index": torch.tensor([[0], [6]])}, "from 6 source to 6 target nodes"),
    ],
)
def test_bad_input_is_refused(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        LatentToLatentConv()(torch.randn(6, C), **arguments)


def test_z_of_a_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"z of shape \(B\*d, c\), got \(2, 3, 5\)"):
        LatentToLatentConv()(torch.randn(2, 3, C))


@pytest.mark.parametrize("weighted", [False, True])
def test_products_stay_in_full_precision_under_autocast(weighted) -> None:
    z = torch.randn(B * D, C)
    weight = torch.randn(B, D, D) if weighted else None
    conv = LatentToLatentConv()
    expected = conv(z, None, weight, batch_size=B)
    with torch.autocast("cpu", torch.bfloat16):
        assert_equal(conv(z, None, weight, batch_size=B), expected)
        assert cosine_softmax(z.view(B, D, C)).dtype == torch.float32
