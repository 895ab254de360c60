r"""Memory that one chunk or call frees and the next one takes."""

from __future__ import annotations

import torch

MOST_KEPT = 2**25 - 2**13  # bytes of the largest block that glibc keeps, less its own of the block


def keep_freed_memory(device: torch.device) -> None:
    r"""Have what one chunk or call frees wait for the next one, where glibc manages the memory.

    Blocks larger than any that glibc has seen freed go back to the system at once, and return page
    by page. So it is shown a large one, which nobody touches.
    """
    if device.type == "cpu":
        torch.UntypedStorage(MOST_KEPT, device="cpu")  # no tensor, which torch may fill
