r"""Outputs and gradients beside the same in float64."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from benchmarks.streaming.cases import Case
from benchmarks.streaming.composition import Composition

MAX_ENTRIES = 250_000 * 128  # of x; beyond, float64 with gradients does not fit beside the rest
KINKS = 10_000


class GraphByGraph(nn.Module):
    r"""The composition on nodes (N, C), one graph after the other."""

    def __init__(self, composition: Composition, case: Case) -> None:
        super().__init__()
        self.composition, self.sizes = composition, list(case.sizes)

    def forward(self, x: Tensor, batch: Tensor | None) -> Tensor:
        maps = (rows.T[None, :, :, None] for rows in x.split(self.sizes))
        return torch.cat([self.composition(m)[0, :, :, 0].T for m in maps])

    def rows(self, x: Tensor) -> Iterator[Tensor]:
        r"""The output for nodes of float32, some rows after the other."""
        with torch.no_grad():
            for graph in x.split(self.sizes):
                yield from self.composition.exact(graph)


def in_float64(
    module: nn.Module, x: Tensor, batch: Tensor | None, grad: Tensor | None = None
) -> list[Tensor]:
    r"""Output and, for a gradient of the output, gradient of x."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # SGFormerAttention makes tensors of the default dtype
    try:
        x = x.detach().double().requires_grad_(grad is not None)
        out = module(x, batch)
        if grad is None:
            return [out.detach()]
        out.backward(grad.double())
        return [out.detach(), x.grad]
    finally:
        torch.set_default_dtype(default)


def deviation(found: Tensor, exact: Iterable[Tensor]) -> float:
    r"""Largest difference over the largest entry, rows of ``exact`` coming in parts."""
    difference, largest, start = 0.0, 0.0, 0
    for part in exact:
        rows = found[start : start + part.size(0)]
        difference = max(difference, (rows.double() - part).abs().max().item())
        largest = max(largest, part.abs().max().item())
        start += part.size(0)
    if start != found.size(0):
        raise ValueError(f"expected {start} rows as in float64, got {found.size(0)}")
    return difference / largest


def deviation_of_gradient(found: Tensor, exact: Tensor) -> float:
    r"""Length of the difference over the length, but for one row in :data:`KINKS`.

    Where rounding takes the input of a ReLU to the other side of zero, that row of the gradient is
    another one, and among millions of inputs some are that close.
    """
    squares = (found.double() - exact).square().flatten(0, -2).sum(1)
    kept = squares.sort().values[: len(squares) - len(squares) // KINKS]
    return (kept.sum().sqrt() / exact.norm()).item()
