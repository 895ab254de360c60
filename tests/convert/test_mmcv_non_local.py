import pytest
import torch
from blocks import CHANNELS, non_local, run_non_local
from properties import assert_equal

from latentgraph.convert import from_non_local
from latentgraph.nn import OnGrid

MAPS = {1: (13,), 2: (5, 7), 3: (3, 5, 2)}


@pytest.mark.parametrize("with_norm", [False, True], ids=["plain", "norm"])
@pytest.mark.parametrize("sub_sample", [False, True], ids=["all", "sub_sample"])
@pytest.mark.parametrize("dims", MAPS)
@pytest.mark.parametrize(
    "pairwise", ["embedded_gaussian", "gaussian", "dot_product", "concatenation"]
)
def test_equals_the_formulas(pairwise, dims, sub_sample, with_norm) -> None:
    weights = non_local(pairwise, sub_sample, with_norm, dims)
    block, report = from_non_local(weights, pairwise=pairwise)
    x = torch.randn(2, CHANNELS, *MAPS[dims]).double() / 2
    pool_at = "projected" if sub_sample else None
    out = OnGrid(block, pool=2 if sub_sample else None)(x)
    assert_equal(out, run_non_local(weights, x, pairwise, pool_at=pool_at))
    assert set(report.used) == set(weights)
    assert report.filled == ({"out.bias": "zeros"} if with_norm else {})
    assert (report.settings["pairwise"], report.settings["pool_at"]) == (pairwise, pool_at)


@pytest.mark.parametrize("scale", [True, False, "gcnet"])
def test_scales_as_its_code_does(scale) -> None:
    weights, x = non_local(), torch.randn(2, CHANNELS, 5, 7).double() / 2
    block, report = from_non_local(weights, scale=scale)
    assert_equal(OnGrid(block)(x), run_non_local(weights, x, "embedded_gaussian", scale))
    assert report.settings["scale"] == scale


@pytest.mark.parametrize("pool_at", ["input", "projected"])
@pytest.mark.parametrize("pairwise", ["gaussian", "concatenation"])
def test_place_of_the_pool_may_be_given(pairwise, pool_at) -> None:
    weights, x = non_local(pairwise), torch.randn(2, CHANNELS, 5, 7).double() / 2
    block, _ = from_non_local(weights, pairwise=pairwise, pool_at=pool_at)
    assert_equal(OnGrid(block, pool=2)(x), run_non_local(weights, x, pairwise, pool_at=pool_at))


def test_sub_sampling_is_never_left_out_silently() -> None:
    block, _ = from_non_local(non_local(sub_sample=True))
    for call in (lambda: block(torch.zeros(5, CHANNELS).double()), lambda: run_on_grid(block)):
        with pytest.raises(ValueError, match=r"expected OnGrid\(block, pool=2\)"):
            call()


def run_on_grid(block: torch.nn.Module) -> torch.Tensor:
    return OnGrid(block)(torch.zeros(1, CHANNELS, 3, 5).double())


def test_eps_of_the_norm() -> None:
    weights, x = non_local(with_norm=True), torch.randn(2, CHANNELS, 5, 7).double() / 2
    block, _ = from_non_local(weights, eps=1e-1)
    assert_equal(OnGrid(block)(x), run_non_local(weights, x, "embedded_gaussian", eps=1e-1))


def test_another_pairwise_function_misses_its_keys() -> None:
    with pytest.raises(ValueError, match=r"'embedded_gaussian' .* missing: theta\.conv\.weight"):
        from_non_local(non_local("gaussian"))
    with pytest.raises(ValueError, match=r"left over: concat_project\.conv\.weight"):
        from_non_local(non_local("concatenation"), pairwise="dot_product")
    with pytest.raises(ValueError, match="which has no scale"):
        from_non_local(non_local("gaussian"), pairwise="gaussian", scale=False)


def test_a_width_that_no_reduction_gives() -> None:
    with pytest.raises(ValueError, match=r"'g\.conv\.weight' of shape \(23, 23\).* \(17, 23, 1, 1"):
        from_non_local(non_local(width=17))
