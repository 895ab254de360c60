r"""Memory that is freed and taken again."""

import platform
import subprocess
import sys

import pytest

ROUNDS = """
import resource, sys, torch
from latentgraph.functional.freed_memory import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

if sys.argv[1] == "kept":
    keep_freed_memory(torch.device("cpu"))
for _ in range(3):
    before = faults()
    blocks = [torch.ones(2**20) for _ in range(5)]
    del blocks
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc alone")
@pytest.mark.parametrize(("how", "is_kept"), [("kept", True), ("given back", False)])
def test_pages_are_touched_once(how: str, is_kept: bool) -> None:
    command = [sys.executable, "-c", ROUNDS, how]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    assert (int(done.stdout) < 1_000) == is_kept
