r"""The table of the apartments as Markdown."""

from __future__ import annotations

from typing import Any

from benchmarks.compare import processor, spread


def render(found: dict[str, list[dict[str, Any]]], epochs: int) -> str:
    r"""One line for each row that has a finished run."""
    lines = [
        "# Context that differs from room to room",
        "",
        f"`python -m benchmarks.apartments --epochs {epochs}`: recipe `apartments` with another "
        "block at the bottleneck. mIoU on test apartments, on original vertices, mean and standard "
        "deviation over the seeds. Own room: share of a node's affinity that lies in its own room, "
        "before and after training, on four test apartments. Alike: mean cosine between latent "
        f"nodes after training. {processor()}, one thread a run.",
        "",
        "| block | seeds | validation | test | look-alikes | own room, % | alike | parameters "
        "| CPU minutes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row, runs in found.items():
        before, after = (
            mean([run[when]["own_room"] for run in runs], ".0f") for when in ("before", "after")
        )
        alike = mean([run["after"]["alike"] for run in runs], ".2f")
        minutes = sum(run["cpu_seconds"] for run in runs) / len(runs) / 60
        lines.append(
            f"| {row} | {len(runs)} | {spread(runs, 'val')} | {spread(runs, 'test')} "
            f"| {spread(runs, 'look_alikes')} | {before} to {after} | {alike} "
            f"| {runs[0]['parameters']:,} | {minutes:.1f} |"
        )
    return "\n".join(lines) + "\n"


def mean(values: list[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    return format(sum(known) / len(known), form) if known else "none"
