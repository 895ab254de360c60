r"""An entry with its inputs: run, timed, weighed and compared with float64."""

from __future__ import annotations

import copy
import statistics
import time

import torch
from torch import Tensor, nn

from benchmarks.memory import peak_of
from benchmarks.streaming.cases import Case
from benchmarks.streaming.entries import Entry
from benchmarks.streaming.exact import (
    MAX_ENTRIES,
    GraphByGraph,
    deviation,
    deviation_of_gradient,
    in_float64,
)

BURST_SECONDS, LONG = 0.05, 2.0  # at least four calls, unless these take seconds


class Subject:
    r"""An entry with its inputs.

    The ``mode`` is ``"forward"``, without gradients, or ``"training"``, forward and backward.
    """

    def __init__(self, entry: Entry, case: Case) -> None:
        self.entry, self.case = entry, case
        torch.manual_seed(0)
        self.module = entry.make(case).train(entry.training)
        self.channel_first = case.is_map or entry.channel_first
        x = case.nodes()
        self.x = case.as_maps(x) if self.channel_first else x
        self.batch = None if self.channel_first else case.batch()
        self.grad: Tensor | None = None

    def run(self, mode: str) -> Tensor:
        r"""One call."""
        if mode == "forward":
            with torch.no_grad():
                out: Tensor = self.module(self.x, self.batch)
            return out
        self.x.grad = None
        for parameter in self.module.parameters():
            parameter.grad = None
        out = self.module(self.x.requires_grad_(), self.batch)
        if self.grad is None:
            generator = torch.Generator().manual_seed(1)
            self.grad = torch.empty_like(out).normal_(generator=generator)
        out.backward(self.grad)
        return out.detach()

    def warm_up(self, mode: str) -> float:
        r"""Two calls; seconds of the second."""
        self.run(mode)
        return self._timed(mode)

    def seconds(self, mode: str) -> float:
        r"""Of one call: the median of a burst, but for its first; long calls come alone.

        What the other entry's turn gave back to the system comes back slowly, to the first call.
        """
        samples = [self._timed(mode)]
        while len(samples) < 50 and sum(samples) < (BURST_SECONDS if len(samples) > 3 else LONG):
            samples.append(self._timed(mode))
        return statistics.median(samples[1:] or samples)

    def _timed(self, mode: str) -> float:
        start = time.perf_counter()
        self.run(mode)
        return time.perf_counter() - start

    def memory(self, mode: str) -> dict[str, int]:
        r"""Bytes at the peak of a call.

        Returns:
            ``above``, more than before the call, when x was there and in training the gradient of
            the output; ``extra``, this without the output and the gradient of x; ``process``, all
            that the process held.
        """
        self.run(mode)
        self.x.grad = None
        out, (above, process) = peak_of(lambda: self.run(mode))
        results = out.nbytes + (self.x.nbytes if mode == "training" else 0)
        return {"above": above, "extra": above - results, "process": process}

    def error(self, mode: str) -> float | None:
        r"""Deviation from float64: of the output, in training of the gradient of x if that is more;
        None where float64 would not fit."""
        out = self.run(mode)

        def seen(x: Tensor | None) -> Tensor:
            assert x is not None
            as_nodes = self.entry.composition is not None and self.channel_first
            return self.case.as_nodes(x) if as_nodes else x

        reference: nn.Module = copy.deepcopy(self.module)
        if self.entry.composition is not None:
            torch.manual_seed(0)
            reference = GraphByGraph(self.entry.composition(self.case), self.case)
        reference.double().train(self.entry.training)
        if mode == "forward" and isinstance(reference, GraphByGraph):
            return deviation(seen(out), reference.rows(seen(self.x)))
        if self.x.numel() > MAX_ENTRIES:
            return None
        if mode == "forward":
            return deviation(out, [in_float64(reference, self.x, self.batch)[0]])
        grad_x = seen(self.x.grad)
        exact, exact_grad = in_float64(reference, seen(self.x), self.batch, seen(self.grad))
        return max(deviation(seen(out), [exact]), deviation_of_gradient(grad_x, exact_grad))
