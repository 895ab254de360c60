import copy
import re
import subprocess
import sys

import pytest
import torch
from properties import (
    assert_all_equal,
    assert_equal,
    assert_graphs_independent,
    assert_precise,
)
from reference_non_local import non_local
from samples import BATCHES, nodes, randomized
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from latentgraph.functional import Ragged
from latentgraph.nn import GlobalContext, NonLocal, OnGrid, grid_to_nodes, nodes_to_grid

CHANNELS = 11
# Graphs of 4 and of 5 nodes are taken together where there are many.
SIZES = {**BATCHES, "many": (4, 0, 5, 1) * 53}
PAIRWISE = ("embedded_gaussian", "gaussian", "dot_product", "concatenation")

every_function = pytest.mark.parametrize("pairwise", PAIRWISE)
every_place = pytest.mark.parametrize("pool_at", ["input", "projected"])


def block(pairwise: str = "embedded_gaussian", **options) -> nn.Module:
    return randomized(NonLocal(CHANNELS, reduction=3, pairwise=pairwise, **options))


def sample(sizes=SIZES["ragged"]) -> tuple[Tensor, Tensor, int]:
    return nodes(sizes, CHANNELS)


def every_second(x: Tensor, batch: Tensor | None) -> tuple[Tensor, Tensor | None]:
    return x[..., ::2, :], None if batch is None else batch[::2]


@every_function
@pytest.mark.parametrize("sizes", SIZES)
def test_equals_the_formula(sizes, pairwise) -> None:
    made, (x, batch, batch_size) = block(pairwise), sample(SIZES[sizes])
    leaves, grad = (x.requires_grad_(), *made.parameters()), torch.randn_like(x)
    out = made(x, batch, batch_size)
    expected = non_local(made, x, batch, batch_size).out
    assert_equal(out, expected)
    assert_all_equal(
        *(
            torch.autograd.grad(y, leaves, grad, allow_unused=True, materialize_grads=True)
            for y in (out, expected)
        )
    )


@pytest.mark.parametrize("scale", [True, False, "gcnet"])
def test_scales_of_the_scores(scale) -> None:
    made, (x, batch, batch_size) = block(scale=scale), sample()
    assert_equal(made(x, batch, batch_size), non_local(made, x, batch, batch_size).out)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("norm", ["layer_norm", "batch_norm"])
def test_norms(norm, training) -> None:
    made = block(norm=norm).train(training)
    x, batch, batch_size = sample()
    expected = non_local(made, x, batch, batch_size).out
    assert_equal(made(x, batch, batch_size), expected)


@every_function
@pytest.mark.parametrize("norm", [None, "layer_norm", "batch_norm"])
def test_starts_as_the_identity(norm, pairwise) -> None:
    made = NonLocal(CHANNELS, pairwise=pairwise, norm=norm, dtype=torch.float64)
    x, batch, batch_size = sample()
    assert torch.equal(made(x, batch, batch_size), x)
    randomized(made)
    assert not torch.equal(made(x, batch, batch_size), x)
    made.reset_parameters()
    assert torch.equal(made(x, batch, batch_size), x)


@every_function
def test_independent_of_other_graphs_among_many(pairwise) -> None:
    assert_graphs_independent(block(pairwise), *sample(SIZES["many"]))


@every_function
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_precision(dtype, pairwise) -> None:
    assert_precise(block(pairwise), *sample(), dtype)


@every_function
def test_autocast_keeps_the_dtype_and_all_but_the_projections(pairwise) -> None:
    made, (x, batch, batch_size) = block(pairwise).float(), sample()
    x = x.float()
    with torch.autocast("cpu", torch.bfloat16):
        out = made(x, batch, batch_size)
        narrow = made(x.bfloat16(), batch, batch_size)
    assert out.dtype == torch.float32
    assert narrow.dtype == torch.bfloat16
    expected = made.double()(x.double(), batch, batch_size)
    assert_equal(out, expected, tolerance=2e-2)
    assert_equal(narrow, expected)


@every_function
def test_gradients_and_their_gradients(pairwise) -> None:
    made = randomized(NonLocal(5, pairwise=pairwise))
    x, batch, batch_size = nodes((2, 0, 3), channels=5)
    parameters = dict(made.named_parameters())

    def function(x, *values):
        return torch.func.functional_call(
            made, dict(zip(parameters, values, strict=True)), (x, Ragged(batch, batch_size))
        )

    leaves = (x.requires_grad_(), *parameters.values())
    assert torch.autograd.gradcheck(function, leaves)
    assert torch.autograd.gradgradcheck(function, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x: made(x), (x,), fast_mode=True)


@every_function
@pytest.mark.parametrize(
    "shape", [(0, CHANNELS), (1, CHANNELS), (0, 7, CHANNELS), (3, 0, CHANNELS), (3, 1, CHANNELS)]
)
def test_few_nodes_or_none(shape, pairwise) -> None:
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    made = block(pairwise)
    out = made(x)
    out.sum().backward()
    assert out.shape == x.shape
    assert torch.isfinite(out).all()
    assert torch.isfinite(x.grad).all()


@every_function
def test_a_nan_stays_in_its_graph(pairwise) -> None:
    made, (x, batch, batch_size) = block(pairwise), sample(SIZES["many"])
    clean = made(x, batch, batch_size)
    x[batch == 2] = torch.nan
    out = made(x, batch, batch_size)
    assert out[batch == 2].isnan().all()
    assert_equal(out[batch != 2], clean[batch != 2])


@every_function
@every_place
@pytest.mark.parametrize("sizes", ["ragged", "many", "all_empty"])
def test_pool_on_nodes(sizes, pool_at, pairwise) -> None:
    made = block(pairwise, pool=every_second, pool_at=pool_at)
    x, batch, batch_size = sample(SIZES[sizes])
    leaves, grad = (x.requires_grad_(), *made.parameters()), torch.randn_like(x)
    out = made(x, batch, batch_size)
    # Leaving nodes out commutes with the projections.
    expected = non_local(made, x, batch, batch_size, *every_second(x, batch)).out
    assert_equal(out, expected)
    assert_all_equal(
        *(
            torch.autograd.grad(y, leaves, grad, allow_unused=True, materialize_grads=True)
            for y in (out, expected)
        )
    )


def windows(maps: Tensor) -> Tensor:
    r"""(B, C, \*spatial) to nodes (B, m, C), by hand: the largest of each 2, 2x2 or 1x2x2."""
    spatial = maps.shape[2:]
    even = [n - n % 2 for n in spatial]
    if len(spatial) == 3:
        even[0] = spatial[0]
    maps = maps[(..., *(slice(n) for n in even))]
    for dim in range(2 + (len(spatial) == 3), maps.dim()):
        maps = torch.stack([maps.movedim(dim, 0)[::2], maps.movedim(dim, 0)[1::2]]).amax(0)
        maps = maps.movedim(0, dim)
    return maps.flatten(2).mT


GRIDS = [
    pytest.param((11,), torch.contiguous_format, id="1-d"),
    pytest.param((5, 7), torch.contiguous_format, id="2-d"),
    pytest.param((5, 7), torch.channels_last, id="2-d channels-last"),
    pytest.param((3, 5, 4), torch.contiguous_format, id="3-d"),
    pytest.param((3, 5, 4), torch.channels_last_3d, id="3-d channels-last"),
]


@every_function
@every_place
@pytest.mark.parametrize(("spatial", "memory_format"), GRIDS)
def test_sub_sampled_maps_equal_the_formula(spatial, memory_format, pool_at, pairwise) -> None:
    made = block(pairwise)
    maps = torch.randn(2, CHANNELS, *spatial, dtype=torch.float64)
    maps = maps.contiguous(memory_format=memory_format)
    out = OnGrid(made, pool=2, pool_at=pool_at)(maps)
    assert out.stride() == maps.stride()

    x, batch = grid_to_nodes(maps)
    senders = windows(maps)
    of_sender = torch.arange(2).repeat_interleave(senders.size(1))
    projected = None
    if pool_at == "projected":
        phi = x if made.phi is None else x @ made.phi.weight.T + made.phi.bias
        g = x @ made.g.weight.T + made.g.bias
        projected = tuple(windows(nodes_to_grid(t, spatial)).flatten(0, 1) for t in (phi, g))
    expected = non_local(made, x, batch, 2, senders.flatten(0, 1), of_sender, projected).out
    assert_equal(out, nodes_to_grid(expected, spatial))


@every_function
@every_place
def test_sub_sampled_grid_equals_graph(pool_at, pairwise) -> None:
    made, maps = block(pairwise), torch.randn(3, CHANNELS, 5, 7, dtype=torch.float64)

    def pool(x: Tensor, batch: Tensor | None) -> tuple[Tensor, Tensor]:
        kept = nn.functional.max_pool2d(nodes_to_grid(x, (5, 7)), 2)
        return grid_to_nodes(kept)

    on_nodes = copy.deepcopy(made)
    on_nodes.pool, on_nodes.pool_at = pool, pool_at
    x, batch = grid_to_nodes(maps)
    leaves = []
    for module, call in (
        (made, lambda: OnGrid(made, pool=2, pool_at=pool_at)(maps)),
        (on_nodes, lambda: nodes_to_grid(on_nodes(x, batch, 3), (5, 7))),
    ):
        out = call()
        leaves.append((out, *torch.autograd.grad(out.square().sum(), list(module.parameters()))))
    assert_all_equal(*leaves)


@every_function
def test_maps_equal_nodes(pairwise) -> None:
    made, maps = block(pairwise), torch.randn(3, CHANNELS, 5, 7, dtype=torch.float64)
    x, batch = grid_to_nodes(maps)
    assert_equal(OnGrid(made)(maps), nodes_to_grid(made(x, batch), (5, 7)))


def test_sub_sampling_of_narrow_maps() -> None:
    maps = torch.randn(2, CHANNELS, 5, 7)
    for dtype in (torch.float16, torch.bfloat16):
        made = block().to(dtype)
        assert_equal(
            OnGrid(made, pool=2)(maps.to(dtype)),
            OnGrid(copy.deepcopy(made).double(), pool=2)(maps.to(dtype).double()),
        )


def test_sub_sampling_of_no_samples() -> None:
    for spatial in ((5,), (5, 7), (2, 5, 7)):
        maps = torch.randn(0, CHANNELS, *spatial, dtype=torch.float64)
        assert OnGrid(block(), pool=2)(maps).shape == maps.shape


@pytest.mark.parametrize("batched", [True, False], ids=["batched", "one graph"])
@every_function
def test_twelve_sizes_make_at_most_two_graphs(pairwise, batched) -> None:
    torch._dynamo.reset()
    made, counter = block(pairwise), CompileCounter()
    compiled = torch.compile(made, fullgraph=True, backend=counter)
    for num_nodes in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37):
        x = torch.randn(num_nodes, CHANNELS, dtype=torch.float64)
        given = (x, torch.randint(3, (num_nodes,)), 3) if batched else (x,)
        assert_equal(compiled(*given), made(*given))
    assert counter.frame_count <= 2


@pytest.mark.parametrize("pairwise", ["embedded_gaussian", "concatenation"])
def test_gradients_through_a_compiled_block(pairwise) -> None:
    torch._dynamo.reset()
    made = block(pairwise)
    compiled = torch.compile(made, fullgraph=True, dynamic=True, backend="aot_eager")
    for num_nodes in (7, 11):
        x = torch.randn(num_nodes, CHANNELS, dtype=torch.float64, requires_grad=True)
        leaves, grad = (x, *made.parameters()), torch.randn_like(x)
        batch = torch.randint(3, (num_nodes,))
        outs = (f(x, batch, 3) for f in (compiled, made))
        assert_all_equal(*(torch.autograd.grad(out, leaves, grad) for out in outs))


@every_function
def test_export_with_any_number_of_nodes(pairwise) -> None:
    made, dynamic = block(pairwise), {0: torch.export.Dim.DYNAMIC}
    x, batch, batch_size = sample()
    batched = torch.export.export(
        made, (x, batch, batch_size), dynamic_shapes=(dynamic, dynamic, None)
    ).module()
    exported = torch.export.export(made, (x,), dynamic_shapes=(dynamic,))
    assert not any("latentgraph" in str(node.target) for node in exported.graph.nodes)
    single = exported.module()
    for sizes in ((2, 0, 1, 0, 0, 5), (17, 1, 0, 0, 0, 0)):
        x, batch, _ = sample(sizes)
        assert_equal(batched(x, batch, batch_size), made(x, batch, batch_size))
        assert_equal(single(x), made(x))


def test_export_with_sub_sampling() -> None:
    grid = OnGrid(block(), pool=2)
    dynamic = {0: torch.export.Dim.DYNAMIC}
    exported = torch.export.export(
        grid, (torch.randn(3, CHANNELS, 5, 7, dtype=torch.float64),), dynamic_shapes=(dynamic,)
    ).module()
    maps = torch.randn(2, CHANNELS, 5, 7, dtype=torch.float64)
    assert_equal(exported(maps), grid(maps))


@pytest.mark.parametrize("pool_at", ["input", "projected", None])
@every_function
def test_multiply_adds_are_those_of_the_docstring(pairwise, pool_at) -> None:
    made, maps = block(pairwise), torch.randn(1, CHANNELS, 5, 7, dtype=torch.float64)
    grid = OnGrid(made) if pool_at is None else OnGrid(made, pool=2, pool_at=pool_at)
    with (
        torch.no_grad(),
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):
        grid(maps)
    N, M, C, c = 35, 35 if pool_at is None else 6, CHANNELS, CHANNELS // 3
    maps_of = (N + (N if pool_at == "projected" else M)) * C * c
    expected = {
        "embedded_gaussian": 2 * maps_of + 2 * N * M * c,
        "gaussian": maps_of + N * M * (C + c),
        "dot_product": 2 * maps_of + (N + M) * c**2,
        "concatenation": 2 * maps_of + (N + M) * c,
    }
    assert counter.get_total_flops() == 2 * expected[pairwise]


CONCATENATION = """
import torch
from latentgraph.nn import NonLocal

torch.set_num_threads(1)
block = NonLocal(1024, pairwise="concatenation")
torch.nn.init.normal_(block.out.weight)
block(torch.randn(7, 1024, requires_grad=True)).sum().backward()
x = torch.randn(4200, 1024, requires_grad=True)

def memory(kind):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) / 1024

open("/proc/self/clear_refs", "w").write("5")
before = memory("VmRSS")
block(x).sum().backward()
assert x.grad.isfinite().all()
print(memory("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_concatenation_of_4200_nodes_stays_under_200_mb() -> None:
    run = [sys.executable, "-W", "ignore", "-c", CONCATENATION]
    found = subprocess.run(run, capture_output=True, text=True, check=True)  # noqa: S603
    # One pair of 4,200 nodes in 70 MB; its 2c features would take 72 GB.
    assert 20 < float(found.stdout) < 200, found.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairwise": "cosine"}, "expected pairwise .* got 'cosine'"),
        ({"scale": 0.5}, "expected scale True, False or 'gcnet', got 0.5"),
        ({"pairwise": "gaussian", "scale": "gcnet"}, "scale='gcnet' with pairwise='embedded_g"),
        ({"reduction": CHANNELS + 1}, f"inner width of at least 1, got {CHANNELS} and 12"),
        ({"reduction": 0}, f"inner width of at least 1, got {CHANNELS} and 0"),
        ({"norm": "instance_norm"}, "expected norm .* got 'instance_norm'"),
        ({"pool_at": "output"}, "expected pool_at 'input' or 'projected', got 'output'"),
    ],
)
def test_bad_options_are_refused(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        NonLocal(CHANNELS, **options)


@pytest.mark.parametrize(
    ("pool", "error", "message"),
    [
        (lambda x, batch: x, TypeError, r"pool to return \(x, batch\), got Tensor"),
        (lambda x, batch: (x, batch, x), TypeError, r"pool to return \(x, batch\), got tuple"),
        (lambda x, batch: (x[:, :3], batch), ValueError, r"\('m', \d+\), got \(22, 3\)"),
        (lambda x, batch: (x, None), ValueError, "a batch if and only if it was given one"),
        (lambda x, batch: (x[:3], batch), ValueError, "one entry for each of the 3 nodes, got 22"),
        (lambda x, batch: (x, batch + 7), ValueError, "entries from 0 to 5, got 7 to 11"),
    ],
)
def test_a_pool_that_returns_something_else_is_refused(pool, error, message) -> None:
    x, batch, batch_size = sample()
    for pool_at in ("input", "projected"):
        with pytest.raises(error, match=message):
            block(pool=pool, pool_at=pool_at)(x, batch, batch_size)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: OnGrid(NonLocal(7), pool_at="input"), "expected pool= beside pool_at='input'"),
        (lambda: OnGrid(NonLocal(7), pool=0), "expected pool as an int of 1 or more, got 0"),
        (lambda: OnGrid(NonLocal(7), pool=2, pool_at="x"), "'input' or 'projected', got 'x'"),
        (lambda: OnGrid(GlobalContext(32), pool=2), "takes pool=, .* got GlobalContext"),
        (
            lambda: OnGrid(NonLocal(7), pool=2)(torch.randn(3, 7, 1, 5)),
            r"maps of at least \(2, 2\), got \(1, 5\)",
        ),
        (lambda: NonLocal(7)(torch.randn(3, 5)), r"shape \(N, 7\) .* got \(3, 5\)"),
        (
            lambda: NonLocal(7)(torch.randn(3, 7), torch.zeros(2, dtype=torch.int64)),
            "each of the 3 nodes, got 2",
        ),
        (
            lambda: NonLocal(7)(torch.randn(3, 5, 7), torch.zeros(3, dtype=torch.int64)),
            "expected no batch beside 3 graphs",
        ),
    ],
)
def test_bad_input_is_refused(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_another_dtype_is_refused() -> None:
    with pytest.raises(TypeError, match=r"expected x of torch.float32, .* got torch.float64"):
        NonLocal(7)(torch.randn(3, 7).double())


def test_repr_has_the_sizes() -> None:
    assert repr(NonLocal(7)).startswith("NonLocal(7, reduction=2, pairwise='embedded_gaussian'")
    assert re.search("pool=2, pool_at='projected'", repr(OnGrid(NonLocal(7), 2, "projected")))
