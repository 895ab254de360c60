r"""What ranks run: a layer on all nodes in each process, and on the nodes of each rank."""

import copy
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.distributed as dist
from properties import assert_all_equal
from samples import BATCHES, BLOCKS, CHANNELS, Nodes, nodes, randomized
from sharded_layers import LAYERS, NORMED, POOLS, SEES_POSITIONS
from torch import Tensor, nn

from latentgraph.distributed import sharded_nodes, sum_gradients
from latentgraph.functional.shards import is_sharded
from latentgraph.nn import LatentGNN
from latentgraph.out_of_core import stream_chunks

TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-5}
Owner = Callable[[int, int], Tensor]

SIZES = {**BATCHES, "large": (101, 0, 53, 7, 211, 0)}
# Scores just above zero, and batch norm of what hardly differs, enlarge rounding a hundredfold in
# one process too. What is sharded in float32 is drawn so that one is this close to float64, and
# not by luck: in several orders of the nodes.
ROUNDING, NUM_ORDERS = 2e-6, 4


def anyone(num_nodes: int, num_ranks: int) -> Tensor:
    r"""Nodes in no order, graphs on all ranks."""
    return torch.randint(num_ranks, (num_nodes,))


def in_order(num_nodes: int, num_ranks: int) -> Tensor:
    r"""One rank after the other, borders inside graphs."""
    return torch.arange(num_nodes) * num_ranks // max(num_nodes, 1)


def last_has_none(num_nodes: int, num_ranks: int) -> Tensor:
    return torch.randint(num_ranks - 1, (num_nodes,))


def last_has_all(num_nodes: int, num_ranks: int) -> Tensor:
    return torch.full((num_nodes,), num_ranks - 1)


OWNERS = (anyone, in_order, last_has_none, last_has_all)


class Case(NamedTuple):
    r"""One layer on nodes that are spread in one way."""

    layer: str
    batch: str
    owner: Owner
    dtype: torch.dtype
    chunk_size: int | None = None
    training: bool = True

    def __repr__(self) -> str:
        return ", ".join(str(getattr(value, "__name__", value)) for value in self)


def some_cases() -> Iterator[Case]:
    r"""Every layer, in one dtype or the other, spread in one way after the other."""
    for number, name in enumerate(LAYERS):
        single = number % 3 == 0
        batch, dtype = ("large", torch.float32) if single else ("ragged", torch.float64)
        yield Case(name, batch, OWNERS[number % 4], dtype, chunk_size=(None, 5)[number % 2])


def every_case() -> Iterator[Case]:
    r"""Every layer, in both dtypes, however the nodes are spread; then other batches and chunks."""
    for name in LAYERS:
        for owner in OWNERS:
            yield Case(name, "ragged", owner, torch.float64)
            yield Case(name, "large", owner, torch.float32)
        for batch, sizes in BATCHES.items():
            # Batch norm of no nodes has no statistics.
            if name not in NORMED or sum(sizes) > 1:
                chunk_size = 2 if sum(sizes) < 100 else 97
                yield Case(name, batch, anyone, torch.float64, chunk_size=chunk_size)
        if name in NORMED:
            yield Case(name, "ragged", anyone, torch.float64, training=False)


def check(cases: list[Case]) -> int:
    r"""Sharded equals single for each; returns how many were checked."""
    for number, case in enumerate(cases):
        torch.manual_seed(number)
        try:
            _check(case)
        except AssertionError as error:
            raise AssertionError(f"{case}: {error}") from None
    return len(cases)


class Drawn(NamedTuple):
    r"""A layer, its nodes, the weight of its output in the loss, and what one process gives."""

    layer: nn.Module
    nodes: Nodes
    weight: Tensor
    whole: list[Tensor]


def _check(case: Case) -> None:
    layer, (x, batch, batch_size), weight, whole = _drawn(case)
    mine = case.owner(len(x), dist.get_world_size()) == dist.get_rank()
    for module in layer.modules():
        if case.chunk_size is not None and hasattr(module, "chunk_size"):
            module.chunk_size = case.chunk_size + dist.get_rank()  # not the same on all ranks
    pools = case.layer in POOLS
    with sharded_nodes():
        # Where each rank has all of the output, its loss is a share of what they would have alone.
        share = weight / dist.get_world_size() if pools else weight[mine]
        out, grad_x, *own = step_of(layer, x[mine], batch[mine], batch_size, share)

    actual = [out if pools else put_together(out, mine), put_together(grad_x, mine), *own]
    assert_all_equal(actual, whole, TOLERANCE[case.dtype])


def _drawn(case: Case) -> Drawn:
    for _ in range(99):
        x, batch, batch_size = nodes(SIZES[case.batch], dtype=case.dtype)
        layer = randomized(LAYERS[case.layer](CHANNELS), case.dtype).train(case.training)
        pools = case.layer in POOLS
        weight = torch.randn(*((batch_size, 5 * CHANNELS) if pools else x.shape), dtype=case.dtype)
        whole = step_of(copy.deepcopy(layer), x, batch, batch_size, weight)
        drawn = Drawn(layer, Nodes(x, batch, batch_size), weight, whole)
        if case.dtype == torch.float64:
            return drawn
        off = torch.tensor(_off(drawn, pools))
        dist.all_reduce(off, dist.ReduceOp.MAX)  # all ranks take the same
        if off <= ROUNDING:
            return drawn
    raise AssertionError(f"one process is {off:.1e} from float64 however often one draws")


def _off(drawn: Drawn, pools: bool) -> float:
    r"""How far one process is from float64, in the worst of some orders of the nodes."""
    layer, (x, batch, batch_size), weight, whole = drawn
    exact = copy.deepcopy(layer).double()
    truth = step_of(exact, x.double(), batch, batch_size, weight.double())
    off = [*map(deviation, whole, truth)]
    for _ in range(1, NUM_ORDERS):
        order = torch.randperm(len(x))
        share = weight if pools else weight[order]
        found = step_of(copy.deepcopy(layer), x[order], batch[order], batch_size, share)
        out, grad_x, *own = truth
        off += map(deviation, found, [out if pools else out[order], grad_x[order], *own])
    return max(off)


def step_of(
    layer: nn.Module, x: Tensor, batch: Tensor, batch_size: int, weight: Tensor
) -> list[Tensor]:
    r"""What :func:`step` gives, the gradient of all parameters over all ranks, and buffers."""
    out, grad_x = step(layer, x, batch, batch_size, weight)
    if is_sharded():
        sum_gradients(layer)
    return [out, grad_x, gradient(layer), *layer.buffers()]


def deviation(a: Tensor, b: Tensor) -> float:
    r"""Largest difference over largest value."""
    if not a.numel():
        return 0.0
    return ((a.double() - b).abs().max() / b.abs().max().clamp_min(1e-2)).item()


def step(
    layer: nn.Module, x: Tensor, batch: Tensor | None, batch_size: int | None, weight: Tensor
) -> tuple[Tensor, Tensor]:
    r"""Output and gradient of x, for the sum of the output times ``weight``."""
    x = x.detach().requires_grad_()
    out = layer(x, batch, batch_size)
    out.backward(weight.to(out.dtype))
    assert x.grad is not None
    return out.detach(), x.grad


def gradient(layer: nn.Module) -> Tensor:
    r"""Of all parameters, in one, as some are zero by theory but for the rounding of others."""
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in layer.parameters()]
    return torch.cat([g.flatten() for g in grads])


def put_together(rows: Tensor, mine: Tensor) -> Tensor:
    r"""The rows of all ranks, where they belong."""
    whole = rows.new_zeros(len(mine), *rows.shape[1:])
    whole[mine] = rows
    dist.all_reduce(whole)
    return whole


def check_stacked(name: str) -> None:
    r"""(B, n, C) graphs of one size, of which a rank has as many nodes of each, or none."""
    rank, num_ranks = dist.get_rank(), dist.get_world_size()
    x = torch.randn(3, 7, CHANNELS, dtype=torch.float64)
    weight = torch.randn_like(x)
    layer = randomized(LAYERS[name](CHANNELS))
    single = copy.deepcopy(layer)
    mine = in_order(7, num_ranks - 1) == rank
    whole = step(single, x, None, None, weight)
    with sharded_nodes():
        part = step(layer, x[:, mine], None, None, weight[:, mine])
    sum_gradients(layer)
    actual = [put_together(t.transpose(0, 1), mine).transpose(0, 1) for t in part]
    assert_all_equal([*actual, gradient(layer)], [*whole, gradient(single)], 1e-11)


def check_autocast(name: str) -> None:
    r"""Products in bfloat16, exchanges in float32: what autocast gives in one process."""
    x, batch, batch_size = nodes(dtype=torch.float32)
    layer, weight = randomized(LAYERS[name](CHANNELS), torch.float32), torch.randn(x.shape)
    single = copy.deepcopy(layer)
    mine = anyone(len(x), dist.get_world_size()) == dist.get_rank()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        whole = step(single, x, batch, batch_size, weight)
        with sharded_nodes():
            part = step(layer, x[mine], batch[mine], batch_size, weight[mine])
    sum_gradients(layer)
    actual = [*(put_together(t, mine) for t in part), gradient(layer)]
    assert_all_equal(actual, [*whole, gradient(single)], 2e-2)


def check_twice_differentiated(name: str) -> None:
    r"""Gradients of gradients, which exchange once more."""
    x, batch, batch_size = nodes()
    layer, weight, direction = (
        randomized(LAYERS[name](CHANNELS)),
        *torch.randn(2, *x.shape, dtype=x.dtype),
    )
    mine = anyone(len(x), dist.get_world_size()) == dist.get_rank()

    def twice(x: Tensor, batch: Tensor, weight: Tensor, direction: Tensor) -> list[Tensor]:
        x = x.clone().requires_grad_()
        out = layer(x, batch, batch_size)
        (first,) = torch.autograd.grad(out, x, weight, create_graph=True)
        wanted = [x, *layer.parameters()]
        second = torch.autograd.grad(first, wanted, direction, allow_unused=True)
        return [
            torch.zeros_like(t) if g is None else g for t, g in zip(wanted, second, strict=True)
        ]

    whole = twice(x, batch, weight, direction)
    with sharded_nodes():
        part = twice(x[mine], batch[mine], weight[mine], direction[mine])
    for total in part[1:]:
        dist.all_reduce(total)
    # Rounding grows twice by one over the deviation of batch norm.
    assert_all_equal([put_together(part[0], mine), *part[1:]], whole, 1e-9)


def check_affinities(mode: str) -> None:
    r"""What ``return_affinity`` gives a rank are its rows of what all nodes give."""
    x, batch, batch_size = nodes()
    layer = randomized(LatentGNN(CHANNELS, (5, 3), 2, mode=mode))
    mine = anyone(len(x), dist.get_world_size()) == dist.get_rank()
    _, whole = layer(x, batch, batch_size, return_affinity=True)
    with sharded_nodes():
        _, part = layer(x[mine], batch[mine], batch_size, return_affinity=True)
    for a, b in zip(part, whole, strict=True):
        assert_all_equal(a, [b[0][mine], b[1][mine], b[2]], 1e-11)


def check_out_of_core() -> None:
    r"""Ranks that load their nodes chunk by chunk."""
    x, _, _ = nodes((101,))
    layer = randomized(BLOCKS["latent_gnn"](CHANNELS))
    mine = anyone(len(x), dist.get_world_size()) == dist.get_rank()
    out = torch.empty_like(x[mine])
    with sharded_nodes():
        stream_chunks(layer, x[mine], out, chunk_size=7 + dist.get_rank(), progress=False)
    assert_all_equal([put_together(out, mine)], [layer(x).detach()], 1e-11)


def check_some() -> int:
    r"""Some of everything that there is to check; how many cases it was."""
    torch.manual_seed(0)
    check_stacked("latent_gnn")
    check_autocast("latent_gnn")
    check_twice_differentiated("global_context")
    check_affinities("asymmetric")
    check_out_of_core()
    return check([*some_cases()])


def check_all() -> int:
    r"""Everything that there is to check; how many cases it was."""
    torch.manual_seed(0)
    for name in LAYERS:
        if name not in POOLS:
            check_twice_differentiated(name)
        if name not in (*POOLS, *SEES_POSITIONS):
            check_stacked(name)
    for name in BLOCKS:
        check_autocast(name)
    for mode in ("asymmetric", "symmetric"):
        check_affinities(mode)
    check_out_of_core()
    return check([*every_case()])
