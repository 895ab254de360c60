r"""Any number of ranks in one process, one after another: all that they run, but no network."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from latentgraph.functional.shards import using

Share, Result = TypeVar("Share"), TypeVar("Result")


class NotYet(Exception):  # noqa: N818
    r"""The other ranks have not yet given what a rank asks for."""


class OneAfterAnother:
    r"""Ranks that run in turn, each until it asks for what the others have not given yet.

    Then all begin anew, and find it. After one round more than there are exchanges, all are done.
    """

    def __init__(self) -> None:
        self.known: list[Tensor] = []
        self.sums: list[Tensor] = []
        self.given: list[Tensor] = []
        self.asked = 0

    def next_rank(self) -> None:
        self.asked = 0

    def next_round(self) -> None:
        self.known.append(torch.stack(self.given))
        self.sums.append(self.known[-1].sum(0))
        self.given = []

    def agree(self, sums: Tensor) -> None:
        pass

    def sum(self, message: Tensor) -> Tensor:
        return self._of_all(self.sums, message)

    def gather(self, message: Tensor) -> Tensor:
        return self._of_all(self.known, message)

    def _of_all(self, brought_together: list[Tensor], message: Tensor) -> Tensor:
        self.asked += 1
        if self.asked <= len(brought_together):
            return brought_together[self.asked - 1].clone()
        self.given.append(message.clone())
        raise NotYet


def one_after_another(
    rank: Callable[[Share], Result], shares: Sequence[Share]
) -> tuple[list[Result], int]:
    r"""What ``rank`` gives for the share of each rank, and the number of exchanges."""
    ranks = OneAfterAnother()
    while True:
        results = []
        for share in shares:
            ranks.next_rank()
            try:
                with using(ranks):
                    results.append(rank(share))
            except NotYet:
                assert not results
        if results:
            return results, len(ranks.known)
        ranks.next_round()
