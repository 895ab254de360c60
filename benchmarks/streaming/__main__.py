r"""``python -m benchmarks.streaming``: measures what is missing, then writes table and plots."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tqdm import tqdm

from benchmarks.streaming import from_file, plan
from benchmarks.streaming.duel import Duel, FailedError, Run, Workers, seconds_in_turn, workers
from benchmarks.streaming.plots import draw_plots
from benchmarks.streaming.report import write_report
from benchmarks.streaming.results import Results

RESULTS = Path(__file__).parents[1] / "results"


def main() -> None:
    args = _arguments()
    jobs = _jobs(args)
    if args.list:
        print(*jobs, sep="\n")
        return
    results = Results(args.out / "streaming.json", args.threads)
    stop = time.monotonic() + 60 * args.minutes
    with workers(args.threads) as pool, tqdm(jobs.items(), unit="", dynamic_ncols=True) as bar:
        for name, job in bar:
            if not args.again and results.is_current(name):
                continue
            if time.monotonic() > stop:
                bar.write(f"Stopped after {args.minutes:g} minutes; run again to go on.")
                break
            bar.set_postfix_str(name)
            job(pool, results)
            results.save()
            ratio = results.ratio(name)
            bar.write(name if ratio is None else f"{name}: {ratio:.2f}")
    write_report(results, args.out / "streaming.md")
    draw_plots(results, args.out)
    print(f"{args.out / 'streaming.md'}")


Job = Callable[[Workers, Results], None]


def _jobs(args: argparse.Namespace) -> dict[str, Job]:
    r"""What there is to measure, by name."""
    jobs: dict[str, Job] = {
        duel.name: partial(_measure, duel, args.seconds) for duel in plan.duels(args.quick)
    }
    if not args.quick:
        jobs[plan.WHOLE_PROCESS.name] = partial(_weigh, plan.WHOLE_PROCESS)
        jobs[plan.FILE.name] = _stream_file
    wanted = {n: job for n, job in jobs.items() if any(re.search(p, n) for p in args.only or [""])}
    if not wanted:
        raise SystemExit(f"nothing is named {' or '.join(args.only)}; --list tells the names")
    return wanted


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streaming", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small cases, one second a pair")
    parser.add_argument(
        "--only", action="append", default=[], metavar="REGEX", help="comparisons named so"
    )
    parser.add_argument("--again", action="store_true", help="measure what is there already")
    parser.add_argument("--list", action="store_true", help="name the comparisons, measure none")
    parser.add_argument("--threads", type=int, default=2, help="of each process (default: 2)")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so many")
    parser.add_argument("--seconds", type=float, help="that a comparison may take (default: 20)")
    parser.add_argument("--out", type=Path, help=f"folder (default: {RESULTS.name})")
    args = parser.parse_args()
    if args.seconds is None:
        args.seconds = 1.0 if args.quick else 20.0
    if args.out is None:
        args.out = RESULTS / "quick" if args.quick else RESULTS
    return args


def _measure(duel: Duel, seconds: float, pool: Workers, results: Results) -> None:
    for run in duel:
        if not results.is_current(run.name):
            _weigh(run, pool, results)
    failed = any(results.fact(run, "failed") for run in duel)
    results.keep_times(duel, {} if failed else seconds_in_turn(duel, pool, seconds))


def _weigh(run: Run, pool: Workers, results: Results) -> None:
    r"""Memory and deviation of a run, or why it failed; its time is taken in another process."""
    worker = pool.of(run)
    try:
        facts = worker.ask("memory")
        facts["error"] = worker.ask("error")
    except FailedError as error:
        facts = {"failed": str(error)}
    pool.drop(run)
    results.keep_run(run, facts)


def _stream_file(pool: Workers, results: Results) -> None:
    num_nodes, channels = (int(size.split("=")[1]) for size in plan.FILE.case.split(", "))
    results.keep_run(plan.FILE, from_file.measure(num_nodes, channels, pool.threads))


if __name__ == "__main__":
    main()
