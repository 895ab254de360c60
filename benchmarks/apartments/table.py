r"""The table of the apartments as Markdown."""

from __future__ import annotations

from typing import Any

from benchmarks.compare import spread


def render(found: dict[str, list[dict[str, Any]]], epochs: int) -> str:
    r"""One line for each row that has a finished run."""
    one = next(iter(found.values()))[0]
    lines = [
        "# Context that differs from room to room",
        "",
        f"`python -m benchmarks.apartments --epochs {epochs}`: recipe `apartments` with another "
        "block at the bottleneck. mIoU on test apartments, on original vertices, mean and standard "
        "deviation over the seeds, and test of each seed. Own room: share of a node's affinity "
        "that lies in its own room, before and after training, on four test apartments. Alike: "
        f"mean cosine between latent nodes, before and after. {one['machine']}; "
        "one thread a run.",
        "",
        "| block | validation | test | each seed | look-alikes | own room, % | alike "
        "| parameters |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row, runs in found.items():
        own, alike = change(runs, "own_room", ".0f"), change(runs, "alike", ".2f")
        each = ", ".join(f"{run['test']:.1f}" for run in runs)
        lines.append(
            f"| {row} | {spread(runs, 'val')} | {spread(runs, 'test')} "
            f"| {each} "
            f"| {spread(runs, 'look_alikes')} | {own} | {alike} "
            f"| {runs[0]['parameters']:,} |"
        )
    return "\n".join(lines) + "\n"


def change(runs: list[dict[str, Any]], what: str, form: str) -> str:
    r"""Means over the runs, before and after training; none where there is nothing to tell."""
    if runs[0]["before"][what] is None:
        return "none"
    before, after = (sum(run[t][what] for run in runs) / len(runs) for t in ("before", "after"))
    return f"{before:{form}} to {after:{form}}"
