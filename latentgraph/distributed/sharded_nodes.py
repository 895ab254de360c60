r"""Blocks on nodes of which every rank holds some."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

from latentgraph.distributed.checks import check_group
from latentgraph.functional.shards import using


@contextmanager
def sharded_nodes(group: dist.ProcessGroup | None = None) -> Iterator[None]:
    r"""Blocks called inside work on the nodes of all ranks of ``group``.

    Every rank calls the same blocks, in the same order, on its own nodes: any nodes of any of the
    graphs, or none. It gets the output of its nodes, and with the backward pass the gradients of
    its nodes, as if all nodes were in one process. The loss of a rank is its share of one sum. The
    gradients of parameters are those of the rank's share: :func:`sum_gradients` adds them up.

    A block exchanges its latent state once forward, and the gradient of it once backward, however
    many nodes there are; batch norm in training exchanges its statistics beside. ``batch_size`` is
    that of all nodes; without it each rank takes the largest entry of its own ``batch`` plus one,
    which may differ. Within a ``with`` a rank compares each number once with the others: those that
    differ only after a call in which they agreed end as a rank that dies does.

    The backward pass may run after the ``with``, except where :mod:`torch.utils.checkpoint` calls
    blocks again: then it belongs inside.

    Args:
        group: ranks that hold the nodes, of any backend; None for all.

    Returns:
        What ``with`` takes.

    Raises:
        RuntimeError: there is no process group; a block needs all nodes in one process, as
            :class:`~latentgraph.nn.NonLocal` does, or is compiled.
        ValueError: this rank is not in ``group``; ``batch_size`` differs between ranks.
    """
    check_group(group, "sharded_nodes")
    with using(_Group(group)):
        yield


class _Group:
    r"""The ranks of a process group, for one ``with``."""

    def __init__(self, group: dist.ProcessGroup | None) -> None:
        self.group, self.size = group, dist.get_world_size(group)
        self.agreed: set[int] = set()

    def agree(self, sums: Tensor) -> None:
        r"""Raise unless all ranks have the same number of graphs; asked once for each number."""
        if sums.size(0) in self.agreed:
            return
        own = torch.tensor([sums.size(0)], device=sums.device)
        found = self.gather(own).flatten().tolist()
        if len(set(found)) > 1:
            raise ValueError(
                f"expected the same batch_size on every rank, that of all nodes, got {found}; "
                "without it a rank takes the largest entry of its own batch plus one"
            )
        self.agreed.add(sums.size(0))

    def sum(self, message: Tensor) -> Tensor:
        r"""(n,) summed over the ranks."""
        if message.numel():
            dist.all_reduce(message, group=self.group)
        return message

    def gather(self, message: Tensor) -> Tensor:
        r"""(ranks, n)."""
        rows = [torch.empty_like(message) for _ in range(self.size)]
        if message.numel():
            dist.all_gather(rows, message, group=self.group)
        return torch.stack(rows)
