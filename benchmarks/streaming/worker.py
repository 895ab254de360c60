r"""The process of one run, which answers one request a line."""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys

import torch

from benchmarks.streaming.cases import CASES
from benchmarks.streaming.entries import ENTRIES
from benchmarks.streaming.subject import Subject

SPARE_BYTES = 1 << 30


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("entry", choices=ENTRIES)
    parser.add_argument("case", choices=CASES, metavar="case")
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()

    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not be taken for an answer
    torch.set_num_threads(args.threads)
    _limit_memory()
    subject: Subject | None = None
    for line in sys.stdin:
        request, mode = json.loads(line)
        try:
            if subject is None:
                subject = Subject(ENTRIES[args.entry], CASES[args.case])
            answer = {"answer": getattr(subject, request)(mode)}
        except (RuntimeError, MemoryError) as error:
            if "allocate memory" not in str(error) and not isinstance(error, MemoryError):
                raise
            answer = {"failed": "does not fit in memory"}
        print(json.dumps(answer), file=answers)


def _limit_memory() -> None:
    r"""An entry that needs more than there is fails, before the machine runs out of memory."""
    with open("/proc/meminfo") as file:
        available = next(int(row.split()[1]) for row in file if row.startswith("MemAvailable"))
    limit = available * 1024 - SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


if __name__ == "__main__":
    main()
