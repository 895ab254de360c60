r"""What the measurements must show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.streaming import cases, plan
from benchmarks.streaming.cases import CASES
from benchmarks.streaming.duel import Duel, Run
from benchmarks.streaming.entries import (
    AUTHORS,
    AUTHORS_TRAINING,
    CONTEXT,
    CONTEXT_PEERS,
    COPY,
    LATENT_PEERS,
    OURS,
    OURS_BN,
    OURS_BN_TRAINING,
)
from benchmarks.streaming.results import Results


@dataclass(frozen=True)
class Check:
    r"""A figure and what it must be.

    Attributes:
        name: what is compared.
        value: the figure; None if it was not measured.
        bar: that it must reach.
        goal: that it should reach.
        at_least: whether it must be no less than the bar, or no more.
        missing: cases that the figure should be of, and is not, since they were not measured.
    """

    name: str
    value: float | None
    bar: float
    goal: float | None = None
    at_least: bool = True
    missing: tuple[str, ...] = ()

    def reaches(self, limit: float) -> bool:
        r"""Whether the figure is on the right side of a limit."""
        if self.value is None:
            return False
        return self.value >= limit if self.at_least else self.value <= limit

    @property
    def verdict(self) -> str:
        r"""In a word or two."""
        if self.value is None:
            return "not measured"
        if not self.reaches(self.bar):
            return "no"
        reached = "yes" if self.goal is None else "goal" if self.reaches(self.goal) else "bar"
        return ", ".join([reached, *(f"{case} not measured" for case in self.missing)])


def checks(results: Results) -> Iterator[Check]:
    r"""All, in the order of the table."""
    yield from _quarter_million(results)
    yield from _other_sizes(results)
    yield from _faster_and_smaller(results, OURS, (AUTHORS, *LATENT_PEERS))
    yield from _faster_and_smaller(results, CONTEXT, CONTEXT_PEERS)
    yield from _any_size(results)
    yield from _ragged(results)
    yield from _exact(results)


def _quarter_million(results: Results) -> Iterator[Check]:
    case = cases.nodes(250_000)
    bars = {"forward": (4.0, 5.5), "training": (4.5, 6.5)}
    for mode, (bar, goal) in bars.items():
        for entry in (OURS, OURS_BN):
            (duel,) = plan.against(entry, (AUTHORS,), case, (mode,))
            name = f"{case.name}: {entry}, {mode}, against the {AUTHORS}, times as fast"
            yield Check(name, results.ratio(duel.name), bar, goal)
    for entry in (OURS, OURS_BN):
        duels = plan.against_products(case, entry)
        forward, training = (_inverse(results.ratio(duel.name)) for duel in duels)
        name = f"{case.name}: {entry}, forward, times as long as the matrix products"
        yield Check(name, forward, 1.2, 0.75, at_least=False)
        name = f"{case.name}: {entry}, training, times as long as three times the matrix products"
        yield Check(name, training and training / 3, 1.4, 1.0, at_least=False)
    extra = [results.fact(Run(e, case.name, "training"), "extra") for e in (OURS, AUTHORS)]
    name = f"{case.name}: extra memory in training, over that of the {AUTHORS}"
    yield Check(name, _over(*extra), 0.15, 0.08, at_least=False)


def _other_sizes(results: Results) -> Iterator[Check]:
    wanted = [
        (OURS, AUTHORS, cases.WIDE, "forward", 2.0),
        (OURS, AUTHORS, cases.WIDE, "training", 1.5),
        (OURS_BN, AUTHORS, cases.WIDE, "forward", 2.0),
        (OURS_BN, AUTHORS, cases.WIDE, "training", 1.5),
        (OURS, AUTHORS, cases.LARGE_MAP, "forward", 2.0),
        (OURS_BN, AUTHORS, cases.LARGE_MAP, "forward", 2.0),
        (OURS_BN_TRAINING, AUTHORS_TRAINING, cases.nodes(2_500), "training", 1.0),
    ]
    for ours, rival, case, mode, bar in wanted:
        (duel,) = plan.against(ours, (rival,), case, (mode,))
        name = f"{case.name}: {ours}, {mode}, against the {rival}, times as fast"
        yield Check(name, results.ratio(duel.name), bar)
    (duel,) = plan.against(CONTEXT, (COPY,), cases.LARGE_MAP, ("forward",))
    name = f"{cases.LARGE_MAP.name}: {CONTEXT}, forward, times as long as {COPY}"
    yield Check(name, _inverse(results.ratio(duel.name)), 1.7, at_least=False)


def _faster_and_smaller(results: Results, ours: str, rivals: tuple[str, ...]) -> Iterator[Check]:
    def memory(duel: Duel) -> float | None:
        return _over(*(results.fact(run, "above") for run in reversed(duel)))

    figures: list[tuple[str, Callable[[Duel], float | None]]] = [
        ("times as fast", lambda duel: results.ratio(duel.name)),
        ("times as small", memory),
    ]
    planned = set(plan.duels())
    for rival in rivals:
        for what, figure in figures:
            found: list[tuple[float, str]] = []
            missing: list[str] = []
            for case in map(cases.nodes, cases.NODE_COUNTS):
                for duel in plan.against(ours, (rival,), case):
                    if case.num_nodes < 10_000 or duel not in planned or _failed(results, duel):
                        continue
                    value = figure(duel)
                    where = f"{case.name}, {duel.ours.mode}"
                    if value is None:
                        missing.append(where)
                    else:
                        found.append((value, where))
            least, where = min(found, default=(None, "nowhere"))
            name = f"{ours} against {rival}, N from 10000: {what}, least at {where}"
            yield Check(name, least, 1.0, missing=tuple(missing))


def _any_size(results: Results) -> Iterator[Check]:
    large = [cases.nodes(count) for count in cases.NODE_COUNTS if count >= cases.LARGE]
    per_node = [
        _per_node(results, plan.over_nodes(case)) for case in large if case.num_nodes != 250_000
    ]
    known = [value for value in per_node if value is not None]
    spread = max(1.0, *known) / min(1.0, *known) if len(known) == len(per_node) else None
    sizes = f"N from {large[0].num_nodes} to {large[-1].num_nodes}"
    yield Check(f"{sizes}: time per node, most over least", spread, 1.25, at_least=False)

    ends = (large[0], large[-1])
    extra = [results.fact(Run(OURS, case.name, "forward"), "extra") for case in ends]
    grown = None
    if None not in extra:
        x_bytes = [4 * case.num_nodes * case.channels for case in ends]
        grown = (extra[1] - extra[0]) / (x_bytes[1] - x_bytes[0])
    name = f"{sizes}: growth of extra memory in inference, over that of x"
    yield Check(name, grown, 0.01, at_least=False)

    wanted = [(plan.WHOLE_PROCESS, "process", 2.0), (plan.FILE, "anonymous", 1.0)]
    for run, fact, bar in wanted:
        used = results.fact(run, fact)
        what = "all memory" if fact == "process" else "anonymous memory"
        name = f"{', '.join(run)}: {what} of the process, GB"
        yield Check(name, None if used is None else used / 1e9, bar, at_least=False)


def _ragged(results: Results) -> Iterator[Check]:
    for entry in (OURS, CONTEXT):
        for case in cases.RAGGED:
            longer = _per_node(results, plan.over_sizes(entry, case, cases.equal_sized(case)))
            name = f"{case.name}: {entry}, forward, times as long as in graphs of one size"
            yield Check(name, longer, 1.5 if len(case.sizes) <= 256 else 3.0, at_least=False)
        case, other = cases.BESIDE_SMALL, cases.AS_ONE
        longer = _per_node(results, plan.over_sizes(entry, case, other))
        name = f"{case.name}: {entry}, forward, times as long as {other.name}"
        yield Check(name, longer, 1.3, at_least=False)


def _exact(results: Results) -> Iterator[Check]:
    for mode in plan.MODES:
        runs = {duel.ours for duel in plan.duels() if duel.ours.mode == mode}
        errors = [results.fact(run, "error") for run in runs]
        known = [error for error in errors if error is not None]
        name = f"deviation from float64, {mode}, largest of {len(known)} runs of this library"
        yield Check(name, max(known, default=None), 1e-5, at_least=False)


def _per_node(results: Results, duel: Duel) -> float | None:
    r"""Time per node of the first run over that of the second."""
    ratio = results.ratio(duel.name)
    ours, rival = (CASES[run.case].num_nodes for run in duel)
    return None if ratio is None else rival / ours / ratio


def _failed(results: Results, duel: Duel) -> bool:
    return any(results.fact(run, "failed") for run in duel)


def _inverse(value: float | None) -> float | None:
    return None if value is None else 1 / value


def _over(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a / b
