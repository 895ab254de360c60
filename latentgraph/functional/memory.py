r"""Where chunks and outputs lie on a processor."""

from __future__ import annotations

import mmap

import torch
from torch import Tensor, nn

from latentgraph.functional.tracing import is_recorded

MOST_KEPT = 2**25 - 2**13  # bytes of the largest block that glibc keeps, less its own of the block


def keep_freed_memory(device: torch.device) -> None:
    r"""Have what one chunk or call frees wait for the next one, where glibc manages the memory.

    Blocks larger than any that glibc has seen freed go back to the system at once, and return page
    by page. So it is shown a large one, which nobody touches.
    """
    if device.type == "cpu":
        torch.UntypedStorage(MOST_KEPT, device="cpu")  # no tensor, which torch may fill


def empty_like(x: Tensor) -> Tensor:
    r"""As :func:`torch.empty_like`; what is larger than glibc keeps, in huge pages of Linux.

    The system hands out such a block anew each time, in pages of 4 kB, which takes longer than to
    write it; in pages of 2 MB it does not. A virtual machine that first has to ask its host for
    them may take longer for the first few blocks. The storage cannot be resized.
    """
    plain = x.is_cpu and type(x) in (Tensor, nn.Parameter) and not is_recorded()
    if not plain or x.nbytes <= MOST_KEPT or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.empty_like(x)
    strides = torch.empty_like(x, device="meta").stride()
    try:
        block = mmap.mmap(-1, x.nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        block.madvise(mmap.MADV_HUGEPAGE)
    except OSError:  # no memory, or a kernel without such pages
        return torch.empty_like(x)
    storage = torch.frombuffer(block, dtype=x.dtype).untyped_storage()
    return torch.empty(0, dtype=x.dtype, device="cpu").set_(storage, 0, x.shape, strides)
