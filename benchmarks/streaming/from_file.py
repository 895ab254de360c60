r"""The example of a graph larger than memory, in a process of its own: facts as one JSON line."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).parents[2] / "examples" / "larger_than_memory.py"


def measure(num_nodes: int, channels: int, threads: int) -> dict[str, Any]:
    r"""``anonymous``, the peak of memory that is not part of a file, in bytes, and ``seconds``."""
    command = [sys.executable, "-m", __spec__.name, *map(str, (num_nodes, channels, threads))]
    done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE)  # noqa: S603
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return facts


if __name__ == "__main__":
    import torch

    num_nodes, channels, threads = map(int, sys.argv[1:])
    torch.set_num_threads(threads)
    print(json.dumps(runpy.run_path(str(EXAMPLE))["main"](num_nodes, channels)))
