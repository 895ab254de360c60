r"""Checks of process groups."""

from __future__ import annotations

import torch.distributed as dist


def check_group(group: dist.ProcessGroup | None, what: str) -> None:
    r"""Raise unless this process is a rank of ``group``, for ``what``."""
    if not dist.is_available() or not dist.is_initialized():
        raise RuntimeError(
            f"expected a process group for {what}, made by "
            "torch.distributed.init_process_group; got none"
        )
    if dist.get_rank(group) < 0:
        raise ValueError(
            f"expected {what} on the ranks of its group, got it on rank {dist.get_rank()}, "
            "which is not one of them"
        )
