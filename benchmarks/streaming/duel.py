r"""Two entries timed in turn, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

MIN_PAIRS, MAX_PAIRS = 3, 31


class Run(NamedTuple):
    r"""An entry on a case, ``"forward"`` without gradients or ``"training"``, with backward."""

    entry: str
    case: str
    mode: str

    @property
    def name(self) -> str:
        r"""Unique."""
        return " | ".join(self)


class Duel(NamedTuple):
    r"""Two runs whose times are compared: a block of this library and what it is compared with."""

    ours: Run
    rival: Run

    @property
    def name(self) -> str:
        r"""Unique; what both have in common stands once."""
        pairs = zip(self.ours, self.rival, strict=True)
        entries, *rest = (a if a == b else f"{a} / {b}" for a, b in pairs)
        return " | ".join([entries, *rest])


class FailedError(Exception):
    r"""An entry could not be run."""


class Worker:
    r"""The process of a run.

    One that had trained before would pass forward in less time: it gives less of its memory back.
    """

    def __init__(self, run: Run, threads: int) -> None:
        self.run = run
        command = [sys.executable, "-m", "benchmarks.streaming.worker", run.entry, run.case]
        self.process = subprocess.Popen(  # noqa: S603
            [*command, "--threads", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )

    def ask(self, request: str) -> Any:
        r"""Have it do something, a method of :class:`Subject`.

        Raises:
            FailedError: it does not fit in memory.
            RuntimeError: the process ended.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps([request, self.run.mode]), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.run.name} ended with {self.process.wait()}, see above")
        answer = json.loads(line)
        if "failed" in answer:
            raise FailedError(answer["failed"])
        return answer["answer"]

    def close(self) -> None:
        r"""End it."""
        self.process.kill()
        self.process.communicate()


class Workers:
    r"""The two processes used last."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.alive: list[Worker] = []

    def of(self, run: Run) -> Worker:
        r"""The process of a run; the one unused for longest makes room for a new one."""
        found = next((w for w in self.alive if w.run == run), None)
        if found is None:
            while len(self.alive) > 1:
                self.alive.pop(0).close()
            found = Worker(run, self.threads)
        else:
            self.alive.remove(found)
        self.alive.append(found)
        return found

    def drop(self, run: Run) -> None:
        r"""End the process of a run."""
        worker = self.of(run)
        self.alive.remove(worker)
        worker.close()


@contextmanager
def workers(threads: int) -> Iterator[Workers]:
    r"""Processes that end with the block."""
    pool = Workers(threads)
    try:
        yield pool
    finally:
        for worker in pool.alive:
            worker.close()


def seconds_in_turn(duel: Duel, pool: Workers, budget: float) -> dict[str, list[float]]:
    r"""Times of both, pair by pair.

    Args:
        duel: the two runs.
        pool: their processes.
        budget: seconds that this may take, more or less; within the limits on pairs.
    """
    pair = [pool.of(run) for run in duel]
    estimate = sum(worker.ask("warm_up") for worker in pair)
    rounds = min(MAX_PAIRS, round(budget / max(estimate, 0.2)))
    stop = time.monotonic() + 1.5 * budget
    samples: list[list[float]] = [[], []]
    for i in range(max(rounds, MIN_PAIRS)):
        if i >= MIN_PAIRS and time.monotonic() > stop:
            break
        for which in ((0, 1), (1, 0))[i % 2]:
            samples[which].append(pair[which].ask("seconds"))
    return {"ours": samples[0], "rival": samples[1]}
