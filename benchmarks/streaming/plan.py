r"""Which runs are compared with which."""

from __future__ import annotations

from functools import cache

from benchmarks.streaming import cases
from benchmarks.streaming.cases import Case
from benchmarks.streaming.duel import Duel, Run
from benchmarks.streaming.entries import (
    AGGREGATION,
    AUTHORS,
    AUTHORS_TRAINING,
    CONTEXT,
    CONTEXT_PEERS,
    COPY,
    ENTRIES,
    INDUCED,
    LATENT_PEERS,
    MMCV,
    OURS,
    OURS_BN,
    OURS_BN_TRAINING,
    PRODUCTS,
    RAGGED_PEERS,
)

MODES = ("forward", "training")
QUICK_NODES = 50_000

FILE = Run("LatentGNN from file to file", "N=10000000, C=64", "forward")
WHOLE_PROCESS = Run(OURS, cases.HALF_MEGAPIXEL.name, "training")


def duels(quick: bool = False) -> list[Duel]:
    r"""All comparisons; with ``quick`` those of small cases."""
    limit = QUICK_NODES if quick else float("inf")
    found = [duel for duel in _wanted() if not any(map(takes_minutes, duel))]
    return [d for d in found if max(cases.CASES[run.case].num_nodes for run in d) <= limit]


def left_out() -> list[Run]:
    r"""Runs of which a call takes a minute or more."""
    return [run for duel in _wanted() for run in duel if takes_minutes(run)]


def takes_minutes(run: Run) -> bool:
    r"""Whether time grows with the square of N and the case is too large for that."""
    return cases.CASES[run.case].num_nodes > ENTRIES[run.entry].max_nodes


def against(
    ours: str, rivals: tuple[str, ...], case: Case, modes: tuple[str, ...] = MODES
) -> list[Duel]:
    r"""One entry and each of the rivals on the same case, in the same mode."""
    return [
        Duel(Run(ours, case.name, mode), Run(rival, case.name, mode))
        for mode in modes
        for rival in rivals
    ]


def against_products(case: Case, ours: str = OURS) -> list[Duel]:
    r"""Both modes beside the forward pass of the products."""
    products = Run(PRODUCTS, case.name, "forward")
    return [Duel(Run(ours, case.name, mode), products) for mode in MODES]


def over_nodes(case: Case) -> Duel:
    r"""Beside the same block on the nodes of the middle size."""
    names = case.name, cases.nodes(250_000).name
    return Duel(*(Run(OURS, name, "forward") for name in names))


def over_sizes(entry: str, case: Case, other: Case) -> Duel:
    r"""One block on graphs of unequal and of equal sizes."""
    return Duel(*(Run(entry, c.name, "forward") for c in (case, other)))


@cache
def _wanted() -> list[Duel]:
    return list(dict.fromkeys([*_one_graph(), *_maps(), *_ragged()]))


def _one_graph() -> list[Duel]:
    found = []
    for count in cases.NODE_COUNTS:
        case = cases.nodes(count)
        found += against(OURS, (AUTHORS,), case) + against(OURS_BN, (AUTHORS,), case)
        found += against_products(case) + against_products(case, OURS_BN)
        found += against(OURS, LATENT_PEERS, case)
        found += against(CONTEXT, CONTEXT_PEERS, case)
        if count >= cases.LARGE and count != 250_000:
            found.append(over_nodes(case))
    for latents in cases.LATENT_COUNTS:
        case = cases.nodes(cases.LARGE, latents)
        found += against(OURS, (AUTHORS, INDUCED), case) + against_products(case)
    found += against(OURS, (AUTHORS,), cases.WIDE) + against(OURS_BN, (AUTHORS,), cases.WIDE)
    found += against_products(cases.WIDE)
    found += against(OURS_BN_TRAINING, (AUTHORS_TRAINING,), cases.nodes(2_500), ("training",))
    return found


def _maps() -> list[Duel]:
    found = []
    for case in (cases.MAPS, cases.LARGE_MAP):
        found += against(OURS, (AUTHORS,), case) + against(OURS_BN, (AUTHORS,), case)
        found += against(CONTEXT, (MMCV,), case) + against(CONTEXT, (COPY,), case, ("forward",))
    return found


def _ragged() -> list[Duel]:
    found = []
    pairs = [(case, cases.equal_sized(case)) for case in cases.RAGGED]
    for case, other in [*pairs, (cases.BESIDE_SMALL, cases.AS_ONE)]:
        found += [over_sizes(entry, case, other) for entry in (OURS, CONTEXT)]
        found += against(OURS, RAGGED_PEERS, case) + against(CONTEXT, (AGGREGATION,), case)
    return found
