r"""Any number of ranks in one process, one after another: all that they run, but no network."""

from collections.abc import Callable, Sequence, Sized
from typing import TypeVar

import torch
from torch import Tensor

from latentgraph.functional.shards import using

Share = TypeVar("Share", bound=Sized)
Result = TypeVar("Result")


class NotYet(Exception):  # noqa: N818
    r"""A rank gives ``message``, and asks for what the others have not given yet."""

    def __init__(self, message: Tensor) -> None:
        super().__init__()
        self.message = message.clone()


class OneAfterAnother:
    r"""Ranks that run in turn, each until it asks for what the others have not given yet.

    Then all begin anew, and find it. After one round more than there are exchanges, all are done.
    """

    def __init__(self) -> None:
        self.gathered: list[Tensor] = []
        self.summed: list[Tensor] = []
        self.asked = 0

    def next_rank(self) -> None:
        self.asked = 0

    def exchange(self, messages: list[Tensor]) -> None:
        self.gathered.append(torch.stack(messages))
        self.summed.append(self.gathered[-1].sum(0))

    def agree(self, sums: Tensor) -> None:
        pass

    def sum(self, message: Tensor) -> Tensor:
        return self._known(self.summed, message)

    def gather(self, message: Tensor) -> Tensor:
        return self._known(self.gathered, message)

    def _known(self, exchanged: list[Tensor], message: Tensor) -> Tensor:
        self.asked += 1
        if self.asked > len(exchanged):
            raise NotYet(message)
        return exchanged[self.asked - 1].clone()


def one_after_another(
    rank: Callable[[Share], Result], shares: Sequence[Share]
) -> tuple[list[Result], int]:
    r"""What ``rank`` gives for the share of each rank, and the number of exchanges.

    Ranks with nothing all do the same, so one of them does it for all.
    """
    names = [f"rank {number}" if share else "idle" for number, share in enumerate(map(len, shares))]
    ranks = OneAfterAnother()
    while True:
        given, results = {}, {}
        for name, share in dict(zip(names, shares, strict=True)).items():
            ranks.next_rank()
            try:
                with using(ranks):
                    results[name] = rank(share)
            except NotYet as waiting:
                given[name] = waiting.message
        if not given:
            return [results[name] for name in names], len(ranks.gathered)
        assert not results
        ranks.exchange([given[name] for name in names])
