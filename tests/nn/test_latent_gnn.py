import copy
from itertools import product
from typing import Any

import pytest
import torch
from properties import (
    assert_all_equal,
    assert_equal,
    assert_precise,
)
from references import latent_gnn
from samples import CHANNELS, block, nodes, randomized
from torch import Tensor, nn

from latentgraph.functional import Ragged
from latentgraph.nn import LatentGNN, position_features

WIDTH = 7  # CHANNELS // 3, the reduction of all these blocks
ONE, ONE_WIDE, THREE = (5,), (13,), (5, 3, 2)


def block_and_copy(norm: str | None, **options) -> tuple[LatentGNN, LatentGNN]:
    r"""The same block twice, for engine and reference; norm with its state, "batch_norm eval"."""
    kind, _, state = (norm or "").partition(" ")
    made = LatentGNN(CHANNELS, reduction=3, norm=kind or None, **options)
    randomized(made).train(state != "eval")
    return made, copy.deepcopy(made)


def assert_equals_reference(block, reference_block, affinity_x: Tensor | None = None) -> None:
    x, batch, batch_size = nodes()
    leaves, reference_leaves = (
        [x.clone().requires_grad_(), *b.parameters()] for b in (block, reference_block)
    )
    out = block(leaves[0], batch, batch_size, affinity_x=affinity_x)
    reference = latent_gnn(reference_block, reference_leaves[0], batch, batch_size, affinity_x)
    assert_equal(out, reference.out)
    grad_out = torch.randn_like(out)
    assert_all_equal(
        torch.autograd.grad(out, leaves, grad_out),
        torch.autograd.grad(reference.out, reference_leaves, grad_out),
    )


@pytest.mark.parametrize("norm", ["layer_norm", "batch_norm train", "batch_norm eval", None])
@pytest.mark.parametrize("graph_conv", [False, True], ids=["plain", "graph_conv"])
@pytest.mark.parametrize("latent_dims", [ONE, ONE_WIDE, THREE], ids=str)
@pytest.mark.parametrize("mode", ["asymmetric", "symmetric"])
def test_equals_the_formulas(mode, latent_dims, graph_conv, norm) -> None:
    options = {"mode": mode, "latent_dims": latent_dims, "graph_conv": graph_conv}
    assert_equals_reference(*block_and_copy(norm, **options))


@pytest.mark.parametrize("affinity_channels", [0, 4])
@pytest.mark.parametrize(
    ("mixing", "temperature"),
    [*product(("cosine", "residual"), (0.3, "learned")), ("none", 1.0)],
)
@pytest.mark.parametrize("mode", ["asymmetric", "symmetric"])
def test_equals_the_formulas_with_options(mode, mixing, temperature, affinity_channels) -> None:
    made = block_and_copy(
        "layer_norm",
        mode=mode,
        latent_dims=ONE,
        mixing=mixing,
        temperature=temperature,
        affinity_channels=affinity_channels,
    )
    _, batch, batch_size = nodes()
    affinity_x = None
    if affinity_channels:
        affinity_x = position_features(torch.randn(len(batch), 3).double(), batch, batch_size)
    assert_equals_reference(*made, affinity_x)


@pytest.mark.parametrize("norm", ["layer_norm", "batch_norm train", "batch_norm eval", None])
@pytest.mark.parametrize("mode", ["asymmetric", "symmetric"])
def test_equals_the_formulas_with_votes(mode, norm) -> None:
    made = block_and_copy(
        norm, mode=mode, latent_dims=THREE, affinity_channels=4, windows=True, votes=True
    )
    _, batch, batch_size = nodes()
    pos = torch.randn(len(batch), 3).double()
    assert_equals_reference(*made, position_features(pos, batch, batch_size))


@pytest.mark.parametrize("mode", ["asymmetric", "symmetric"])
def test_windows_start_around_places_of_their_own(mode) -> None:
    torch.manual_seed(0)
    made = LatentGNN(
        CHANNELS, THREE, mode=mode, norm="batch_norm", affinity_channels=3, windows=True
    )
    for kernel in made.kernels:
        weight = kernel.psi_v2l.linear.weight[:, -3:]
        assert (weight[:, 2] == -1).all()
        assert (kernel.psi_v2l.norm.bias == -1).all()
        if kernel.psi_l2v is not None:
            assert torch.equal(kernel.psi_l2v.linear.weight[:, -3:], weight)
        # Among places on a grid the score, a paraboloid, is highest next to that of the latent.
        grid = torch.cartesian_prod(*[torch.linspace(-5, 5, 101)] * 2)
        scores = torch.cat([grid, grid.square().sum(1, keepdim=True)], 1) @ weight.T
        assert torch.allclose(grid[scores.argmax(0)], weight[:, :2] / 2, atol=0.051)
    everywhere = torch.cat([k.psi_v2l.linear.weight[:, -3:-1] for k in made.kernels]) / 2
    assert 0.3 < everywhere.std() < 2


def test_votes_start_at_zero_and_learn() -> None:
    x, batch, batch_size = nodes(dtype=torch.float32)
    options = {"mode": "symmetric", "affinity_channels": 4, "windows": True, "gamma_init": 1.0}
    seen = position_features(torch.randn(len(x), 3), batch, batch_size)
    made, other = (LatentGNN(CHANNELS, ONE, votes=votes, **options) for votes in (True, False))
    assert made.votes is not None
    assert not made.votes.weight.any()
    other.load_state_dict({k: v for k, v in made.state_dict().items() if k != "votes.weight"})
    outs = [block(x, batch, batch_size, affinity_x=seen) for block in (made, other)]
    assert_equal(*outs)
    outs[0].square().sum().backward()
    assert made.votes.weight.grad.abs().max() > 0


@pytest.mark.parametrize("mode", ["asymmetric", "symmetric"])
def test_votes_stream_and_take_part_in_the_gradient(mode) -> None:
    made = randomized(
        LatentGNN(CHANNELS, ONE, mode=mode, affinity_channels=4, windows=True, votes=True)
    )
    x, batch, batch_size = nodes()
    x.requires_grad_()
    seen = position_features(torch.randn(len(x), 3).double(), batch, batch_size).requires_grad_()
    leaves = (x, seen, *made.parameters())
    results = []
    for made.chunk_size in (100, 3):
        out = made(x, Ragged(batch, batch_size), affinity_x=seen)
        results.append((out, *torch.autograd.grad(out.square().sum(), leaves)))
    assert_all_equal(*results)
    (of_votes,) = [
        g for g, p in zip(results[0][3:], made.parameters(), strict=True) if p is made.votes.weight
    ]
    assert of_votes.abs().max() > 1e-3
    order = torch.randperm(len(x))
    assert_equal(made(x[order], batch[order], batch_size, affinity_x=seen[order]), out[order])


PLACED = {"mode": "symmetric", "affinity_channels": 4, "windows": True, "votes": True}
MIXED = [
    {},
    {"reduction": 1, "mixing": "none"},
    {"reduction": 1, "mixing": "residual", "temperature": 0.1},
    {"reduction": 1, "top_k": 2},
]


@pytest.mark.parametrize("options", MIXED, ids=str)
@pytest.mark.parametrize("with_batch", [False, True])
def test_votes_export_with_any_number_of_nodes(options, with_batch) -> None:
    made = randomized(LatentGNN(CHANNELS, (5, 3), **PLACED, **options), torch.float32).eval()
    n = torch.export.Dim("n", min=2, max=1000)
    shapes = {"x": {0: n}, "affinity_x": {0: n}}
    if with_batch:
        shapes |= {"batch": {0: n}, "batch_size": None}

    def inputs(count: int) -> dict[str, Any]:
        given = {"x": torch.randn(count, CHANNELS), "affinity_x": torch.randn(count, 4)}
        further = {"batch": torch.arange(count) % 3, "batch_size": 3} if with_batch else {}
        return given | further

    program = torch.export.export(made, (), inputs(13), dynamic_shapes=shapes).module()
    given = inputs(29)
    assert_equal(program(**given), made(**given))


@pytest.mark.parametrize("options", MIXED, ids=str)
def test_votes_have_right_gradients_of_gradients(options) -> None:
    made = randomized(LatentGNN(CHANNELS, (5, 3), **PLACED, **options))
    x, batch, batch_size = nodes()
    seen = position_features(torch.randn(len(x), 3).double(), batch, batch_size)
    made.chunk_size = 3
    leaves = (x.requires_grad_(), seen.requires_grad_(), made.votes.weight, made.gamma)

    def function(x: Tensor, seen: Tensor, *_: Tensor) -> Tensor:
        return made(x, batch, batch_size, affinity_x=seen)

    assert torch.autograd.gradcheck(function, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, leaves, fast_mode=True)


@pytest.mark.parametrize("option", ["windows", "votes"])
def test_options_on_positions_need_positions(option) -> None:
    with pytest.raises(ValueError, match="affinity_channels of at least 2,"):
        LatentGNN(CHANNELS, affinity_channels=1, **{option: True})


@pytest.mark.parametrize("chunk_size", [None, 3])
@pytest.mark.parametrize("graph_conv", [False, True], ids=["plain", "graph_conv"])
def test_without_residual_x_is_not_added(graph_conv, chunk_size) -> None:
    made, copied = block_and_copy(
        "layer_norm",
        latent_dims=ONE,
        graph_conv=graph_conv,
        residual=False,
        chunk_size=chunk_size,
    )
    assert_equals_reference(made, copied)
    x, batch, batch_size = nodes(dtype=torch.bfloat16)
    with torch.autocast("cpu"):
        assert made.float()(x, batch, batch_size).dtype == torch.bfloat16


@pytest.mark.parametrize("top_k", [1, 2, 4])
@pytest.mark.parametrize("mode", ["asymmetric", "symmetric"])
def test_equals_the_formulas_with_the_largest_scores_alone(mode, top_k) -> None:
    made = block_and_copy("layer_norm", mode=mode, latent_dims=THREE, top_k=top_k)
    assert_equals_reference(*made)
    x, batch, batch_size = nodes()
    _, affinities = made[0](x, batch, batch_size, return_affinity=True)
    for affinity in affinities:
        for weights in affinity[:2]:
            assert (weights.count_nonzero(1) <= top_k).all()


@pytest.mark.parametrize("mode", ["asymmetric", "symmetric"])
def test_all_scores_are_the_dense_block(mode) -> None:
    made, sparse = block_and_copy("layer_norm", mode=mode, latent_dims=THREE)
    sparse.top_k = max(THREE)
    sample = nodes()
    assert torch.equal(made(*sample), sparse(*sample))


@pytest.mark.parametrize("top_k", [0, -1, 6, 1.5, True])
def test_an_impossible_top_k_is_refused(top_k) -> None:
    with pytest.raises(ValueError, match=f"top_k from 1 to 5, the most latent_dims, got {top_k}"):
        LatentGNN(CHANNELS, latent_dims=THREE, top_k=top_k)


@pytest.mark.parametrize("mode", ["asymmetric", "symmetric"])
def test_return_affinity_gives_the_weights_of_the_formulas(mode) -> None:
    made = randomized(LatentGNN(CHANNELS, THREE, mode=mode))
    x, batch, batch_size = nodes()
    out, affinities = made(x, batch, batch_size, return_affinity=True)
    reference = latent_gnn(made, x, batch, batch_size)
    assert_equal(out, reference.out)
    for affinity, kernel in zip(affinities, reference.kernels, strict=True):
        assert_all_equal(affinity, kernel)

    _, stacked = made(x[:14].view(2, 7, -1), return_affinity=True)
    assert [a.visible_to_latent.shape for a in stacked] == [(2, 7, d) for d in THREE]
    _, single = made(x, return_affinity=True)
    assert [a.latent_to_visible.shape for a in single] == [(len(x), d) for d in THREE]


@pytest.mark.parametrize(
    "mode",
    [
        "asymmetric",
        "symmetric",
    ],
)
@pytest.mark.parametrize("latent_dims", [ONE, THREE], ids=str)
def test_batch_norm_updates_its_running_statistics_once(mode, latent_dims) -> None:
    made, untouched = block_and_copy(
        "batch_norm train", mode=mode, latent_dims=latent_dims, graph_conv=True
    )
    sample = nodes()
    made(*sample)
    statistics = latent_gnn(untouched, *sample).statistics
    norms = [m for m in made.modules() if isinstance(m, nn.BatchNorm1d)]
    before = [m for m in untouched.modules() if isinstance(m, nn.BatchNorm1d)]
    assert norms
    assert set(statistics) == set(before)
    for norm, old in zip(norms, before, strict=True):
        mean, variance = statistics[old]
        assert norm.num_batches_tracked == 1
        assert_equal(norm.running_mean, 0.9 * old.running_mean + 0.1 * mean)
        assert_equal(norm.running_var, 0.9 * old.running_var + 0.1 * variance)


def test_looking_at_affinities_leaves_running_statistics_alone() -> None:
    looked, other = block_and_copy("batch_norm train", latent_dims=ONE)
    sample = nodes()
    looked(*sample, return_affinity=True)
    other(*sample)
    assert_all_equal(list(looked.buffers()), list(other.buffers()))


def test_starts_as_the_identity_and_gamma_scales_the_context() -> None:
    x, batch, batch_size = nodes(dtype=torch.float32)
    made = LatentGNN(CHANNELS)
    assert torch.equal(made(x, batch, batch_size), x)
    with torch.no_grad():
        made.gamma.fill_(1)
        once = made(x, batch, batch_size) - x
        made.gamma.fill_(3)
        assert_equal(made(x, batch, batch_size) - x, 3 * once)
    assert torch.equal(LatentGNN(CHANNELS, gamma_init=0.5).gamma, torch.tensor([0.5]))


def test_learned_temperature_starts_at_an_eighth_and_learns() -> None:
    made = LatentGNN(CHANNELS, temperature="learned", gamma_init=1.0)
    assert made.log_temperature is not None
    assert made.log_temperature.exp().item() == pytest.approx(1 / 8)
    made(*nodes(dtype=torch.float32)).square().sum().backward()
    assert made.log_temperature.grad is not None
    assert made.log_temperature.grad.abs() > 0


def test_layer_norm_is_over_channels_and_batch_norm_over_all_nodes() -> None:
    for name, kind in (("layer_norm", nn.LayerNorm), ("batch_norm", nn.BatchNorm1d)):
        norms = [m.norm for m in LatentGNN(CHANNELS, norm=name).modules() if hasattr(m, "norm")]
        assert norms
        assert all(isinstance(norm, kind) for norm in norms)


def test_batch_norm_in_training_sees_all_nodes_whatever_the_chunk_size() -> None:
    whole, chunked = block_and_copy("batch_norm train", latent_dims=ONE)
    chunked.chunk_size = 3
    sample = nodes()
    assert_equal(chunked(*sample), whole(*sample))
    assert_all_equal(list(chunked.buffers()), list(whole.buffers()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("norm", ["batch_norm train", "batch_norm eval", None])
@pytest.mark.parametrize("mode", ["asymmetric", "symmetric"])
def test_precision_with_any_norm(mode, norm, dtype) -> None:
    made, _ = block_and_copy(norm, mode=mode, latent_dims=ONE)
    with torch.no_grad():
        for psi in (made.kernels[0].psi_v2l, made.kernels[0].psi_l2v):
            if psi is not None and psi.norm is not None:
                psi.norm.bias.fill_(2)
    assert_precise(made, *nodes(), dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("mode", ["asymmetric", "symmetric"])
def test_dead_latents_and_silent_nodes_give_zero_messages_and_finite_gradients(mode, dtype) -> None:
    made = randomized(
        LatentGNN(CHANNELS, ONE, mode=mode, norm=None, mixing="none", gamma_init=1.0), dtype
    )
    x, batch, batch_size = nodes(dtype=dtype)
    x[batch == 4][:3] = 0
    x[3] = 0
    with torch.no_grad():
        for psi in (made.kernels[0].psi_v2l, made.kernels[0].psi_l2v):
            if psi is not None:
                psi.linear.weight[2] = 0
    x.requires_grad_()
    out, (affinity,) = made(x, batch, batch_size, return_affinity=True)
    assert not affinity.latent[:, 2].any()
    assert torch.equal(out[3], x[3])
    out.float().square().sum().backward()
    for leaf in (x, *made.parameters()):
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()


@pytest.mark.parametrize("mode", ["asymmetric", "symmetric"])
@pytest.mark.parametrize("chunk_size", [None, 10**6])
@pytest.mark.parametrize("latent_dims", [(2,), (3,)], ids=["folded", "unfolded"])
def test_many_half_precision_nodes_neither_overflow_nor_drift(
    mode, chunk_size, latent_dims
) -> None:
    made = randomized(
        LatentGNN(8, latent_dims, reduction=2, mode=mode, chunk_size=chunk_size), torch.float16
    )
    with torch.no_grad():
        for psi in (made.kernels[0].psi_v2l, made.kernels[0].psi_l2v):
            if psi is not None:
                # Where all weights of a node come close to zero, the direction of S jumps.
                psi.norm.bias.fill_(2)
    x = torch.randn(8).half() + torch.randn(70_000, 8).half() / 8
    out = made(x)
    wide = made.double()
    expected = latent_gnn(wide, x.double(), torch.zeros(70_000, dtype=torch.int64), 1)
    if mode == "symmetric":
        sent = expected.kernels[0].P.T @ torch.ones(70_000, 1).double()
        assert sent.max() > torch.finfo(torch.float16).max / 2
    assert_equal(out, expected.out)


@pytest.mark.parametrize("graph_conv", [False, True])
@pytest.mark.parametrize("autocast", [False, True])
def test_sums_of_symmetric_mode_do_not_overflow_on_the_way_up(autocast, graph_conv) -> None:
    made = randomized(
        LatentGNN(8, (3,), 2, "symmetric", graph_conv=graph_conv, mixing="none"), torch.float32
    )
    with torch.no_grad():
        made.visible.norm.bias.mul_(5)  # so that all q point in one direction
    x = torch.randn(8) + torch.randn(300_007, 8) / 16
    expected = made(x)
    if autocast:
        with torch.autocast("cpu", torch.float16):
            out = made(x)
    else:
        out = made.half()(x.half())
    assert_equal(out.half(), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "other"}, "mode 'asymmetric' or 'symmetric', got 'other'"),
        ({"mixing": "other"}, "mixing 'cosine', 'residual' or 'none', got 'other'"),
        ({"norm": "group"}, "norm 'layer_norm', 'batch_norm' or None, got 'group'"),
        ({"latent_dims": ()}, "at least one kernel, got none"),
        ({"latent_dims": (5, 1)}, "inner width to be at least 2 with norm='layer_norm', got 1"),
        ({"latent_dims": (0,), "norm": None}, "inner width to be at least 1 with norm=None, got 0"),
        ({"reduction": 12}, "at least 2 with norm='layer_norm', got 1"),
        ({"reduction": 24, "norm": None}, "at least 1 with norm=None, got 0"),
        ({"temperature": 0.0}, "temperature above 0 or 'learned', got 0.0"),
        ({"temperature": "other"}, "temperature above 0 or 'learned', got 'other'"),
    ],
    ids=str,
)
def test_bad_options_are_refused(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        LatentGNN(CHANNELS, **options)


@pytest.mark.parametrize(
    ("affinity_channels", "shape", "message"),
    [
        (4, None, r"affinity_x of shape \(22, 4\), got None"),
        (4, (22, 3), r"affinity_x of shape \(22, 4\), got \(22, 3\)"),
        (4, (21, 4), r"affinity_x of shape \(22, 4\), got \(21, 4\)"),
        (0, (22, 4), r"affinity_x of shape \(22, 0\), got \(22, 4\)"),
    ],
)
def test_affinity_x_that_does_not_fit_is_refused(affinity_channels, shape, message) -> None:
    made = LatentGNN(CHANNELS, affinity_channels=affinity_channels)
    affinity_x = None if shape is None else torch.randn(shape)
    with pytest.raises(ValueError, match=message):
        made(*nodes(dtype=torch.float32), affinity_x=affinity_x)


def test_affinity_x_streams_and_takes_part_in_the_gradient() -> None:
    made = randomized(LatentGNN(CHANNELS, ONE, affinity_channels=4))
    x, batch, batch_size = nodes()
    affinity_x = torch.randn(len(x), 4).double().requires_grad_()
    results = []
    for made.chunk_size in (100, 3):
        out = made(x, Ragged(batch, batch_size), affinity_x=affinity_x)
        results.append((out, *torch.autograd.grad(out.square().sum(), affinity_x)))
    assert_all_equal(*results)
    assert results[0][1].abs().max() > 1e-3


def test_repr_names_the_sizes() -> None:
    assert repr(block("latent_gnn_symmetric")).startswith("LatentGNN(23, latent_dims=(5, 3)")
