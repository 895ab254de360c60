r"""What was measured, kept in one JSON file that later runs add to."""

from __future__ import annotations

import ast
import hashlib
import json
import os
from functools import cache
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy

import latentgraph
from benchmarks.machine import processor, today, versions
from benchmarks.streaming.duel import Duel, Run


class Results:
    r"""Times of duels, and memory and deviation of runs.

    Args:
        path: the JSON file; read if it is there.
        threads: of every process.

    Raises:
        ValueError: the file has results of another machine.
    """

    def __init__(self, path: Path, threads: int) -> None:
        self.path = path
        self.environment = environment(threads)
        self.times: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        if path.exists():
            kept = json.loads(path.read_text())
            if kept["environment"] != self.environment:
                raise ValueError(
                    f"expected results of {self.environment} in {path}, got {kept['environment']}; "
                    "remove it or choose another folder with --out"
                )
            self.times, self.runs = kept["times"], kept["runs"]

    def save(self) -> None:
        r"""Write the file, whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = {"environment": self.environment, "times": self.times, "runs": self.runs}
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(kept, indent=1) + "\n")
        os.replace(part, self.path)

    def keep_times(self, duel: Duel, seconds: dict[str, list[float]]) -> None:
        r"""Times of both runs of a duel, pair by pair; none if one of them fails."""
        rounded = {who: [float(f"{s:.4g}") for s in times] for who, times in seconds.items()}
        runs = [duel.ours.name, duel.rival.name]
        self.times[duel.name] = {"runs": runs, **rounded, **_origin()}

    def keep_run(self, run: Run, facts: dict[str, Any]) -> None:
        r"""Memory and deviation of a run, or why it failed."""
        self.runs[run.name] = {**facts, **_origin()}

    def is_current(self, name: str) -> bool:
        r"""Whether there are results of that name, of the code as it is now."""
        kept = self.times.get(name) or self.runs.get(name) or {}
        return kept.get("code") == code_version()

    def ratios(self, name: str) -> list[float]:
        r"""Seconds of the rival over ours, pair by pair; none if there are none."""
        kept = self.times.get(name, {})
        return [b / a for a, b in zip(kept.get("ours", []), kept.get("rival", []), strict=True)]

    def ratio(self, name: str) -> float | None:
        r"""How many times as long the rival takes, the median of the pairs."""
        ratios = self.ratios(name)
        return median(ratios) if ratios else None

    def seconds(self, run: Run) -> tuple[float, float, float] | None:
        r"""Median and quartiles over all duels of a run."""
        samples: list[float] = []
        for kept in self.times.values():
            for name, who in zip(kept["runs"], ("ours", "rival"), strict=True):
                if name == run.name:
                    samples += kept.get(who, [])
        if len(samples) < 2:
            return None
        low, _, high = quantiles(samples, n=4, method="inclusive")
        return median(samples), low, high

    def fact(self, run: Run, name: str) -> Any:
        r"""``above``, ``extra`` or ``process`` bytes, ``error`` or ``failed``; None if unknown."""
        return self.runs.get(run.name, {}).get(name)


def environment(threads: int) -> dict[str, Any]:
    r"""The machine and the versions."""
    return {
        "processor": processor(),
        "threads": threads,
        **versions(),
        "numpy": numpy.__version__,
    }


def _origin() -> dict[str, str]:
    return {"code": code_version(), "day": today()}


@cache
def code_version() -> str:
    r"""Changes with what is measured, but not with comments, docstrings or line breaks in it."""
    package = Path(latentgraph.__file__).parent
    digest = hashlib.sha256()
    for folder in ("functional", "nn"):
        for path in sorted((package / folder).glob("*.py")):
            digest.update(statements(path.read_text(encoding="utf-8")).encode())
    return digest.hexdigest()[:12]


def statements(source: str) -> str:
    r"""What a module does: its syntax tree, without expressions that are a text alone."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_text(part)]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _is_text(part: ast.stmt) -> bool:
    return isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant)
