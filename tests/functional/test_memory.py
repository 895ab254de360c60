r"""Memory that is freed and taken again, and large memory."""

import ctypes
import mmap
import platform
import subprocess
import sys

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from latentgraph.functional import memory
from latentgraph.functional.memory import MOST_KEPT, empty_like
from latentgraph.nn import GlobalContext

C_LIBRARY = ctypes.CDLL(None)
PROGRAM = """
import ctypes, resource, sys, torch
from latentgraph.functional.memory import keep_freed_memory

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


LIKE = {
    "rows": lambda x: x,
    "channels first": lambda x: x.T,
    "graphs": lambda x: x.view(1, *x.shape),
    "some of the rows": lambda x: x[1:],
    "some of the columns": lambda x: x[:, 1:],
    "one row for all": lambda x: x[:1].expand(len(x) + 1, -1),
    "half precision": lambda x: x.view(torch.float16),
}


@pytest.fixture(scope="module")
def rows() -> torch.Tensor:
    return torch.zeros(1_031, (MOST_KEPT // 4) // 1_031 + 13)


@pytest.mark.parametrize("like", LIKE.values(), ids=LIKE.keys())
def test_large_memory_is_as_torch_lays_it_out(rows, like) -> None:
    x = like(rows)
    y, expected = empty_like(x), torch.empty_like(x)
    assert y.nbytes > MOST_KEPT
    assert (y.shape, y.dtype, y.stride()) == (x.shape, x.dtype, expected.stride())
    assert not y._is_view()
    y.fill_(3).add_(1)
    assert y.flatten()[[0, -1]].tolist() == [4, 4]


class Block(mmap.mmap):
    there = 0

    def __init__(self, *args, **kwargs) -> None:
        Block.there += 1

    def __del__(self) -> None:
        Block.there -= 1


@pytest.mark.skipif(not hasattr(mmap, "MADV_HUGEPAGE"), reason="of Linux")
def test_large_memory_is_given_back(rows, monkeypatch) -> None:
    monkeypatch.setattr(mmap, "mmap", Block)
    y = empty_like(rows)
    kept = y[7:]
    del y
    assert Block.there == 1
    del kept
    assert Block.there == 0


class NoBlock(mmap.mmap):
    def __new__(cls, *args, **kwargs) -> None:
        raise OSError("no memory, or no huge pages")


def test_where_the_system_has_no_huge_pages(rows, monkeypatch) -> None:
    monkeypatch.setattr(mmap, "mmap", NoBlock)
    assert empty_like(rows).shape == rows.shape
    monkeypatch.delattr(mmap, "MADV_HUGEPAGE", raising=False)
    assert empty_like(rows).shape == rows.shape


def test_small_memory_is_torchs(monkeypatch) -> None:
    monkeypatch.setattr(mmap, "mmap", NoBlock)
    assert empty_like(torch.zeros(3, 5)).shape == (3, 5)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_a_block_that_writes_there(monkeypatch, mode) -> None:
    layer = GlobalContext(37, chunk_size=11)
    torch.nn.init.normal_(layer.add.last.weight)
    x = torch.randn(53, 37, requires_grad=True)
    expected = [layer(x), *torch.autograd.grad(layer(x).sin().sum(), x)]
    monkeypatch.setattr(memory, "MOST_KEPT", 0)
    with mode():
        y = layer(x)
        assert torch.equal(y, expected[0])
        if mode is torch.enable_grad:
            assert torch.equal(torch.autograd.grad(y.sin_().sum(), x)[0], expected[1])


def test_under_a_default_device(rows) -> None:
    with torch.device("meta"):
        assert empty_like(rows).device == rows.device


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_where_operators_are_recorded(monkeypatch) -> None:
    monkeypatch.setattr(memory, "MOST_KEPT", 0)
    layer, (x, z) = GlobalContext(37, chunk_size=11), torch.randn(2, 53, 37)
    torch.nn.init.normal_(layer.add.last.weight)
    with torch.no_grad():
        expected = layer(z)
        for recorded in (make_fx(layer)(x), torch.jit.trace(layer, x, check_trace=False)):
            assert torch.equal(recorded(z), expected)
