r"""Functions run in several processes of one gloo group."""

import multiprocessing as mp
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

# Forked from a process that has imported torch and run nothing, a rank starts at once.
FORKS = mp.get_context("forkserver")
FORKS.set_forkserver_preload(["latentgraph.nn", "latentgraph.distributed"])


class Outcome(NamedTuple):
    r"""What became of a rank: its result, or its error; neither if it was killed."""

    result: Any = None
    error: str | None = None
    seconds: float = 0.0


def on_ranks(function: Callable[..., Any], num_ranks: int, *args: Any) -> list[Any]:
    r"""What ``function(*args)`` returns on each rank; an AssertionError if it raises on any."""
    outcomes = outcomes_on_ranks(function, num_ranks, *args)
    errors = [f"rank {i}: {o.error}" for i, o in enumerate(outcomes) if o.error is not None]
    assert not errors, "\n".join(errors)
    return [outcome.result for outcome in outcomes]


def outcomes_on_ranks(
    function: Callable[..., Any],
    num_ranks: int,
    *args: Any,
    timeout: float = 60.0,
    limit: float = 900.0,
) -> list[Outcome]:
    r"""What became of ``function(*args)`` on each rank.

    Args:
        function: at the top of a module.
        num_ranks: how many processes.
        args: arguments.
        timeout: seconds of the process group.
        limit: seconds after which what still runs has failed and is killed.
    """
    stop = time.monotonic() + limit
    processes, pipes = [], []
    with tempfile.TemporaryDirectory() as folder:
        for rank in range(num_ranks):
            ours, theirs = FORKS.Pipe(duplex=False)
            job = (function, rank, num_ranks, Path(folder, "store").as_uri(), timeout, theirs, args)
            process = FORKS.Process(target=_rank, args=job)
            process.start()
            theirs.close()
            processes.append(process)
            pipes.append(ours)
        try:
            return [_receive(pipe, stop) for pipe in pipes]
        finally:
            for process in processes:
                process.join(max(0.0, min(5.0, stop - time.monotonic())))
                process.kill()
                process.join()


def _receive(pipe: Connection, stop: float) -> Outcome:
    try:
        if pipe.poll(max(0.0, stop - time.monotonic())):
            return Outcome(*pipe.recv())
    except EOFError:
        return Outcome()
    return Outcome(error="no answer: it hangs")


def _rank(
    function: Callable[..., Any],
    rank: int,
    num_ranks: int,
    store: str,
    timeout: float,
    pipe: Connection,
    args: tuple[Any, ...],
) -> None:
    torch.set_num_threads(1)
    start = time.monotonic()
    try:
        dist.init_process_group(
            "gloo",
            init_method=store,
            rank=rank,
            world_size=num_ranks,
            timeout=timedelta(seconds=timeout),
        )
        result, error = function(*args), None
        dist.destroy_process_group()
    except Exception:
        result, error = None, traceback.format_exc()
    pipe.send((result, error, time.monotonic() - start))
