r"""Memory that is freed and taken again."""

import ctypes
import platform
import subprocess
import sys

import pytest

C_LIBRARY = ctypes.CDLL(None)
PROGRAM = """
import ctypes, resource, sys, torch
from latentgraph.functional.freed_memory import keep_freed_memory

class Info(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = Info

if sys.argv[1] != "given back":
    torch.use_deterministic_algorithms(sys.argv[1] == "kept, where torch fills what is empty")
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    keep_freed_memory(torch.device("cpu"))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults < 1000
before = mallinfo().hblks
block = torch.empty(30 * 2**20, dtype=torch.uint8)
print(mallinfo().hblks - before)
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or not hasattr(C_LIBRARY, "mallinfo2"),
    reason="of a glibc that tells how it manages memory",
)
@pytest.mark.parametrize(
    ("how", "from_the_system"),
    [("kept", 0), ("kept, where torch fills what is empty", 0), ("given back", 1)],
)
def test_where_a_large_block_comes_from(how: str, from_the_system: int) -> None:
    command = [sys.executable, "-c", PROGRAM, how]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    assert int(done.stdout) == from_the_system
