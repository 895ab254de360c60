r"""What stands above a table of figures: the machine, the versions, the day."""

from __future__ import annotations

import platform
from datetime import date
from pathlib import Path

import torch
import torch_geometric

import latentgraph


def machine() -> str:
    r"""Processor, versions and day in one line."""
    names = ", ".join(f"{name} {version}" for name, version in versions().items())
    return f"{processor()}, {names}, {today()}"


def processor() -> str:
    r"""Name of the processor, with the numbers that tell apart those of one name."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().split("\n\n")[0].splitlines() if cpuinfo.is_file() else []
    pairs = (line.partition(":") for line in lines)
    facts = {key.strip(): value.strip() for key, _, value in pairs}
    name = facts.get("model name") or platform.processor() or platform.machine()
    keys = [key for key in ("cpu family", "model", "stepping") if key in facts]
    return f"{name} ({', '.join(f'{key} {facts[key]}' for key in keys)})" if keys else name


def versions() -> dict[str, str]:
    r"""Of Python and of the packages that computed the figures."""
    return {
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "torch_geometric": torch_geometric.__version__,
        "latentgraph": latentgraph.__version__,
    }


def today() -> str:
    r"""The day as documents of this project write it, such as November 21, 2026."""
    day = date.today()
    return f"{day:%B} {day.day}, {day.year}"
