r"""The table of all results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

from benchmarks.streaming import cases, plan
from benchmarks.streaming.checks import checks
from benchmarks.streaming.duel import Run
from benchmarks.streaming.entries import ENTRIES
from benchmarks.streaming.results import Results, code_version
from benchmarks.streaming.subject import BURST_SECONDS

HEAD = """# LatentGNN, GlobalContext and their peers

`make bench`: {environment}

Every entry runs in a process of its own, forward passes alone in one that never trains: one that
did gives less of its memory back, which shortens those of some entries. Two that are compared
take turns after a warm-up call; times are medians with quartiles, and ratios medians of the
ratios of the pairs. Short calls come in bursts of {burst:.0f} ms. Memory is what a call holds at
its peak above what was there before it, x and in training the gradient of the output; where it
says extra, output and gradient of x do not count. Deviations are from float64: the largest of the
output over its largest entry, in training also the length of that of the gradient of x over the
length of the gradient, but for one node in 10,000, as rounding may take a ReLU to the other side
of zero. Parameters are random. Forward passes are without gradients.

The authors' composition has batch norms in eval mode, so that LatentGNN with batch norm in eval
computes the same with the same weights; LatentGNN alone has layer norms.
"""


def write_report(results: Results, path: Path) -> None:
    r"""As Markdown."""
    parts = [HEAD.format(environment=_environment(results), burst=1e3 * BURST_SECONDS)]
    parts += ["## What it must show\n", *_table_of_checks(results), ""]
    parts += ["Every row is one figure; *goal* and *bar* say how far it got.\n"]
    for case in cases.CASES:
        rows = list(_rows_of(results, case))
        if rows:
            parts += [f"## {case}\n", *rows, ""]
    stale = sorted(name for name, kept in results.times.items() if kept["code"] != code_version())
    if stale:
        parts += ["## Measured on another version of the code\n", *(f"- {n}" for n in stale), ""]
    path.write_text("\n".join(parts))


def _environment(results: Results) -> str:
    facts = dict(results.environment)
    processor, threads = facts.pop("processor"), facts.pop("threads")
    versions = ", ".join(f"{name} {version}" for name, version in facts.items())
    days = sorted({kept["day"] for kept in [*results.times.values(), *results.runs.values()]})
    return f"{processor}, {threads} threads; {versions}; {' and '.join(days)}."


def _table_of_checks(results: Results) -> Iterator[str]:
    yield "| | measured | bar | goal | reached |"
    yield "| --- | ---: | ---: | ---: | --- |"
    for check in checks(results):
        sign = "≥" if check.at_least else "≤"
        goal = "" if check.goal is None else f"{sign} {check.goal:g}"
        value = "" if check.value is None else f"{check.value:.3g}"
        yield f"| {check.name} | {value} | {sign} {check.bar:g} | {goal} | {check.verdict} |"


def _rows_of(results: Results, case: str) -> Iterator[str]:
    runs = [Run(entry, case, mode) for mode in plan.MODES for entry in ENTRIES]
    known = [run for run in runs if _is_known(results, run)]
    if not known:
        return
    yield "| | | ms | times as long as | memory, MB | extra, MB | deviation |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    for run in known:
        yield f"| {run.entry} | {run.mode} | " + " | ".join(_cells(results, run)) + " |"
    slow = dict.fromkeys(run.entry for run in plan.left_out() if run.case == case)
    if slow:
        yield f"\nNot measured, since a call takes a minute or more: {', '.join(slow)}."


def _is_known(results: Results, run: Run) -> bool:
    return run.name in results.runs or results.seconds(run) is not None


def _cells(results: Results, run: Run) -> list[str]:
    failed = results.fact(run, "failed")
    if failed:
        return [failed, "", "", "", ""]
    times = results.seconds(run)
    error = results.fact(run, "error")
    return [
        "" if times is None else "{} ({} to {})".format(*map(_milliseconds, times)),
        "; ".join(_ratios(results, run)),
        _megabytes(results.fact(run, "above")),
        _megabytes(results.fact(run, "extra")),
        "" if error is None else f"{error:.0e}",
    ]


def _ratios(results: Results, run: Run) -> Iterator[str]:
    r"""How many times as long as each of our blocks a rival takes on the same case."""
    for duel in plan.duels():
        ratios = results.ratios(duel.name)
        if duel.rival != run or duel.ours[1:] != run[1:] or not ratios:
            continue
        low, _, high = quantiles(ratios, n=4, method="inclusive")
        yield f"{median(ratios):.2f} ({low:.2f} to {high:.2f}) {duel.ours.entry}"


def _milliseconds(seconds: float) -> str:
    milliseconds = 1e3 * seconds
    return f"{milliseconds:.0f}" if milliseconds >= 100 else f"{milliseconds:.3g}"


def _megabytes(count: int | None) -> str:
    return "" if count is None else f"{count / 1e6:.1f}"
