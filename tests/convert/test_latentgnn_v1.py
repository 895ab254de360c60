import pytest
import torch
from blocks import CHANNELS, latentgnn_v1, run_latentgnn_v1
from properties import assert_equal

from latentgraph.convert import from_latentgnn_v1
from latentgraph.nn import OnGrid


def maps() -> torch.Tensor:
    return torch.randn(3, CHANNELS, 7, 11).double()


@pytest.mark.parametrize("graph_conv", [False, True], ids=["plain", "graph_conv"])
@pytest.mark.parametrize("latent_dims", [(5,), (5, 13, 2)], ids=str)
@pytest.mark.parametrize("symmetric", [False, True], ids=["asymmetric", "symmetric"])
def test_equals_the_formulas(symmetric, latent_dims, graph_conv) -> None:
    weights, x = latentgnn_v1(symmetric, latent_dims, graph_conv), maps()
    block, report = from_latentgnn_v1(weights)
    assert_equal(OnGrid(block)(x), run_latentgnn_v1(weights, x))
    assert block.latent_dims == latent_dims
    assert set(report.used) == set(weights)
    assert report.filled == {}
    assert report.settings == {"residual": True, "eps": 1e-5}


def test_without_residual_gamma_is_not_used() -> None:
    weights, x = latentgnn_v1(False, (5,), True), maps()
    block, report = from_latentgnn_v1(weights, residual=False)
    assert_equal(OnGrid(block)(x), run_latentgnn_v1(weights, x, residual=False))
    assert report.used["gamma"].startswith("nothing")


def test_frozen_norms_have_no_eps_and_count_nothing() -> None:
    weights = latentgnn_v1(True, (5, 3), True)
    weights = {key: w for key, w in weights.items() if "num_batches" not in key}
    block, report = from_latentgnn_v1(weights, eps=0.0)
    x = maps()
    assert_equal(OnGrid(block)(x), run_latentgnn_v1(weights, x, eps=0.0))
    assert set(report.filled) == {k for k in block.state_dict() if k.endswith("tracked")}


def test_a_kernel_between_others_is_missed() -> None:
    weights = latentgnn_v1(False, (5, 3, 2), False)
    weights = {key: w for key, w in weights.items() if "Kernel_1" not in key}
    with pytest.raises(ValueError, match=r"missing: LatentGNN_Kernel_1\.psi_v2l\.0\.weight"):
        from_latentgnn_v1(weights)
