r"""Time and memory over the number of nodes, and of latent nodes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.streaming import cases, plan
from benchmarks.streaming.cases import Case
from benchmarks.streaming.duel import Run
from benchmarks.streaming.entries import ENTRIES, OURS
from benchmarks.streaming.results import Results


def draw_plots(results: Results, folder: Path) -> None:
    r"""``over_nodes.svg`` and ``over_latents.svg``."""
    by_nodes = {count: cases.nodes(count) for count in cases.NODE_COUNTS}
    _draw(results, by_nodes, "nodes N", folder / "over_nodes.svg")
    by_latents = {count: cases.nodes(cases.LARGE, count) for count in cases.LATENT_COUNTS}
    _draw(results, by_latents, f"latent nodes d, N = {cases.LARGE}", folder / "over_latents.svg")


def _draw(results: Results, axis: dict[int, Case], label: str, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    mpl.rcParams["svg.fonttype"] = "none"
    mpl.rcParams["svg.hashsalt"] = path.name  # the same figures make the same file
    from matplotlib import pyplot as plt

    def milliseconds(run: Run) -> float | None:
        times = results.seconds(run)
        return None if times is None else 1e3 * times[0]

    def megabytes(run: Run) -> float | None:
        count = results.fact(run, "above")
        return None if count is None else count / 1e6

    measures: dict[str, Callable[[Run], float | None]] = {
        "time of a call, ms": milliseconds,
        "memory above x, MB": megabytes,
    }
    figure, grid = plt.subplots(2, 2, figsize=(11, 8), layout="constrained", sharex=True)
    colors = mpl.color_sequences["tab10"]
    for row, (title, measure) in zip(grid, measures.items(), strict=True):
        for plot, mode in zip(row, plan.MODES, strict=True):
            for i, entry in enumerate(ENTRIES):
                runs = {x: Run(entry, case.name, mode) for x, case in axis.items()}
                known = {x: y for x, run in runs.items() if (y := measure(run)) and y > 0}
                if len(known) > 1:
                    width, dashes = 3 if entry == OURS else 1.2, "o-" if i < 10 else "o--"
                    style = {"lw": width, "color": colors[i % 10], "label": entry, "ms": 3}
                    plot.loglog(list(known), list(known.values()), dashes, **style)
            plot.set(title=f"{title}: {mode}", xlabel=label)
            plot.grid(alpha=0.3)
            if max(axis) < 1_000:
                plot.set_xticks(list(axis), [str(x) for x in axis])
                plot.xaxis.minorticks_off()
    handles: dict[str, Any] = {}
    for plot in grid.flat:
        handles |= dict(zip(*reversed(plot.get_legend_handles_labels()), strict=True))
    if handles:
        figure.legend(list(handles.values()), list(handles), loc="outside right center", fontsize=8)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
