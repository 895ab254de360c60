r"""What must hold for every layer, as assertions about ``layer(x, batch, batch_size)``.

``test_properties.py`` shows that each of them catches a layer for which it does not hold.
"""

import copy
from collections.abc import Callable, Sequence

import torch
from one_after_another import one_after_another
from torch import Tensor, nn

Layer = Callable[[Tensor, Tensor | None, int | None], Tensor]
Run = tuple[Tensor, Tensor, list[Tensor]]  # output, gradient of x, gradients of the parameters

# Largest difference over largest value, against float64.
TOLERANCE = {
    torch.float64: 1e-10,
    torch.float32: 1e-5,
    torch.float16: 5e-3,
    torch.bfloat16: 2e-2,
}

# Gradients are rounded more often than rows are, forward and backward; one that is zero by theory
# keeps what was rounded at hundreds of like nodes. In half precision it is only asked that none is
# lost.
GRADIENT = {torch.float32: 1e-3, torch.float16: 0.5, torch.bfloat16: 0.5}


def assert_equal(
    actual: Tensor, expected: Tensor, tolerance: float | None = None, least: float = 1.0
) -> None:
    r"""Same shape, and the same numbers up to what the dtype of ``actual`` allows.

    A gradient that is zero by theory is so up to rounding only, so that numbers are not measured by
    less than a hundredth of ``least``, the size of what is added up.
    """
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    if actual.numel() == 0:
        return
    tolerance = TOLERANCE.get(actual.dtype, 0.0) if tolerance is None else tolerance
    actual, expected = actual.detach().double(), expected.detach().double()
    scale = max(expected.abs().max().item(), 1e-2 * least)
    distance = (actual - expected).abs().max().item() / scale
    assert distance <= tolerance, f"they differ by {distance:.1e}, allowed is {tolerance:.1e}"


def assert_all_equal(
    actual: Sequence[Tensor],
    expected: Sequence[Tensor],
    tolerance: float | None = None,
    least: float = 1.0,
) -> None:
    r""":func:`assert_equal` for each of several tensors."""
    assert len(actual) == len(expected)
    for i, (a, b) in enumerate(zip(actual, expected, strict=True)):
        try:
            assert_equal(a, b, tolerance, least)
        except AssertionError as error:
            raise AssertionError(f"tensor {i} of {len(expected)}: {error}") from None


def run(
    layer: Layer,
    x: Tensor,
    batch: Tensor | None,
    batch_size: int | None,
    grad_out: Tensor,
) -> Run:
    r"""Output, gradient of x and gradients of the parameters, zeros where there is none."""
    x = x.detach().requires_grad_()
    parameters = list(layer.parameters()) if isinstance(layer, nn.Module) else []
    out = layer(x, batch, batch_size)
    found = torch.autograd.grad(
        out, [x, *parameters], grad_out.to(out.dtype), materialize_grads=True, allow_unused=True
    )
    return out.detach(), found[0], list(found[1:])


def assert_formula(
    layer: nn.Module,
    formula: Callable[[nn.Module, Tensor, Tensor, int], Tensor],
    x: Tensor,
    batch: Tensor,
    batch_size: int,
    tolerance: float | None = None,
) -> None:
    r"""What a formula of the layer's parameters gives, and the gradients torch derives from it."""
    grad_out = torch.randn_like(x)
    out, grad_x, grads = run(layer, x, batch, batch_size, grad_out)
    leaves = (x.detach().requires_grad_(), *layer.parameters())
    expected = formula(layer, leaves[0], batch, batch_size)
    wanted = torch.autograd.grad(
        expected, leaves, grad_out, materialize_grads=True, allow_unused=True
    )
    assert_all_equal([out, grad_x, *grads], [expected, *wanted], tolerance)


def assert_same_run(again: Run, expected: Run, tolerance: float | None = None) -> None:
    r"""The same output and gradients; what a gradient adds up is as large as the output."""
    out, grad_x, grads = expected
    least = max(1.0, out.abs().max().item()) if out.numel() else 1.0
    assert_all_equal([again[0], again[1], *again[2]], [out, grad_x, *grads], tolerance, least)


def assert_permutation_equivariant(
    layer: Layer, x: Tensor, batch: Tensor, batch_size: int, tolerance: float | None = None
) -> None:
    r"""Nodes in any order give the same rows in that order as those of a graph side by side."""
    grad_out = torch.randn_like(x)
    by_graph = batch.argsort()
    x, batch, grad_out = x[by_graph], batch[by_graph], grad_out[by_graph]
    out, grad_x, grads = run(layer, x, batch, batch_size, grad_out)
    order = torch.randperm(len(x))
    again = run(layer, x[order], batch[order], batch_size, grad_out[order])
    assert_same_run(again, (out[order], grad_x[order], grads), tolerance)


def assert_graphs_independent(
    layer: Layer, x: Tensor, batch: Tensor, batch_size: int, tolerance: float | None = None
) -> None:
    r"""Every graph gets the rows it gets alone; parameters, the sum of the gradients."""
    grad_out = torch.randn_like(x)
    out, grad_x, grads = run(layer, x, batch, batch_size, grad_out)
    totals = [torch.zeros_like(grad) for grad in grads]
    for graph in range(batch_size):
        rows = batch == graph
        alone = run(layer, x[rows], None, None, grad_out[rows])
        assert_all_equal(alone[:2], [out[rows], grad_x[rows]], tolerance)
        totals = [total + grad for total, grad in zip(totals, alone[2], strict=True)]
    assert_all_equal(grads, totals, tolerance)


def assert_nan_stays(
    layer: Layer, x: Tensor, batch: Tensor, batch_size: int, tolerance: float | None = None
) -> None:
    r"""NaN in a node is seen in its graph, and in no row or gradient of x of the others."""
    grad_out = torch.randn_like(x)
    bad = x.clone()
    bad[int(torch.randint(len(x), ()))] = torch.nan
    spoilt = batch == batch[bad.isnan().any(1)]
    expected = run(layer, x, batch, batch_size, grad_out)[:2]
    found = run(layer, bad, batch, batch_size, grad_out)[:2]
    assert found[0][spoilt].isnan().any()
    assert_all_equal([t[~spoilt] for t in found], [t[~spoilt] for t in expected], tolerance)


def assert_order_of_graphs_free(
    layer: Layer, x: Tensor, batch: Tensor, batch_size: int, tolerance: float | None = None
) -> None:
    r"""Graphs under other numbers, with empty ones among them, give the same rows."""
    grad_out = torch.randn_like(x)
    expected = run(layer, x, batch, batch_size, grad_out)
    number = torch.randperm(batch_size + 3)[:batch_size]
    again = run(layer, x, number[batch], batch_size + 3, grad_out)
    assert_same_run(again, expected, tolerance)


def assert_chunk_size_free(
    layer: nn.Module,
    x: Tensor,
    batch: Tensor | None,
    batch_size: int | None,
    chunk_sizes: Sequence[int] = (1, 2, 5, 21),
    tolerance: float | None = None,
) -> None:
    r"""Any ``chunk_size`` gives what all nodes at once give, gradients too."""
    layer = copy.deepcopy(layer)
    grad_out = torch.randn_like(x)
    layer.chunk_size = 10 * len(x) + 1
    expected = run(layer, x, batch, batch_size, grad_out)
    for chunk_size in chunk_sizes:
        layer.chunk_size = chunk_size
        assert_same_run(run(layer, x, batch, batch_size, grad_out), expected, tolerance)
        with torch.no_grad():
            assert_equal(layer(x, batch, batch_size), expected[0], tolerance)


def assert_sharding_free(
    layer: Layer,
    x: Tensor,
    batch: Tensor,
    batch_size: int,
    num_shards: int = 3,
    tolerance: float | None = None,
) -> int:
    r"""Nodes spread over ranks give what one process gives, gradients too.

    Returns the number of exchanges.
    """
    grad_out = torch.randn_like(x)
    expected = run(layer, x, batch, batch_size, grad_out)
    again, exchanges = run_sharded(layer, x, batch, batch_size, grad_out, num_shards)
    assert_same_run(again, expected, tolerance)
    return exchanges


def run_sharded(
    layer: Layer, x: Tensor, batch: Tensor, batch_size: int, grad_out: Tensor, num_shards: int
) -> tuple[tuple[Tensor, Tensor, list[Tensor]], int]:
    r"""What :func:`run` gives with every node on any of the ranks, and the number of exchanges."""
    order = torch.randint(num_shards, (len(x),)).sort()
    shards = order.indices.split(order.values.bincount(minlength=num_shards).tolist())
    parts, exchanges = one_after_another(
        lambda mine: run(layer, x[mine], batch[mine], batch_size, grad_out[mine]), shards
    )
    out, grad_x = torch.empty_like(x), torch.empty_like(x)
    for mine, part in zip(shards, parts, strict=True):
        out[mine], grad_x[mine] = part[:2]
    grads = [sum(of_one) for of_one in zip(*(part[2] for part in parts), strict=True)]
    return (out, grad_x, grads), exchanges


def assert_precise(
    layer: nn.Module, x: Tensor, batch: Tensor | None, batch_size: int | None, dtype: torch.dtype
) -> None:
    r"""In ``dtype`` the layer gives ``dtype``, and what float64 gives on the same numbers.

    Gradients are so up to a share of the largest of them all: some are zero by theory.
    """
    narrow = copy.deepcopy(layer).to(dtype)
    x = x.to(dtype)
    grad_out = torch.randn_like(x)
    found = run(narrow, x, batch, batch_size, grad_out)
    expected = run(narrow.double(), x.double(), batch, batch_size, grad_out.double())
    assert found[0].dtype == dtype
    assert_equal(found[0], expected[0])
    gradients = [torch.cat([g.flatten() for g in (a, *b)]) for a, b in (found[1:], expected[1:])]
    assert_equal(*gradients, GRADIENT[dtype])


def assert_finite(
    layer: nn.Module, x: Tensor, batch: Tensor | None, batch_size: int | None
) -> None:
    r"""Finite rows of the shape and dtype of x, and finite gradients."""
    out, grad_x, grads = run(layer, x, batch, batch_size, torch.ones_like(x))
    assert out.shape == x.shape
    assert out.dtype == x.dtype
    for tensor in (out, grad_x, *grads):
        assert tensor.isfinite().all()


def assert_same_bits(
    layer: nn.Module, x: Tensor, batch: Tensor | None, batch_size: int | None
) -> None:
    r"""Where torch may use deterministic algorithms alone, every run gives the same bits."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        first, again = (run(layer, x, batch, batch_size, torch.ones_like(x)) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(before)
    for a, b in zip((*first[:2], *first[2]), (*again[:2], *again[2]), strict=True):
        assert torch.equal(a, b)
