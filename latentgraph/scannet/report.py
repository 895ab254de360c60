r"""What came of a set of scans: which can be used, which cannot and why, what was odd."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from latentgraph.scannet.splits import SPLITS, scans_of, split_of


@dataclass
class Report:
    r"""The outcome for every scan that was found.

    Args:
        remarks: What was odd about each scan that can be used, by its name; mostly nothing.
        unknown: The categories and label ids of each of these scans that are no class and were
            left unannotated, by its name, where there are some.
        left_out: Why each other scan cannot be used, by its name.
        lacking: The scans of the release that were not found, by split; empty where it was not
            asked for.
    """

    remarks: dict[str, list[str]] = field(default_factory=dict)
    unknown: dict[str, list[str]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    lacking: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, unknown: list[str], remarks: list[str]) -> None:
        r"""Enter a scan that can be used.

        Args:
            name: of the scan.
            unknown: its categories and label ids that are no class.
            remarks: what is odd about it.
        """
        self.remarks[name] = remarks
        if unknown:
            self.unknown[name] = unknown

    @property
    def ok(self) -> bool:
        r"""Whether every scan found can be used."""
        return not self.left_out

    @property
    def clean(self) -> bool:
        r"""Whether every scan found can be used, and each of its labels is a class."""
        return self.ok and not self.unknown

    def __str__(self) -> str:
        r"""A line for each remark, for each scan with labels that are no class, for each scan left
        out and for each split of the release, the counts last.
        """
        scans = defaultdict(list)
        for name in sorted(self.remarks):
            for remark in self.remarks[name]:
                scans[remark].append(name)
        lines = [f"{shortened(names)}: {remark}" for remark, names in scans.items()]
        lines += [f"no class: {name}: {'; '.join(un)}" for name, un in sorted(self.unknown.items())]
        lines += [f"left out: {name}: {reason}" for name, reason in sorted(self.left_out.items())]
        lines += [_compared(split, names) for split, names in self.lacking.items()]
        counts = Counter(split_of(name) for name in self.remarks)
        lines.append(
            ", ".join(f"{split} {counts[split]:,}" for split in SPLITS)
            + f" scans can be used, {len(self.left_out)} left out"
        )
        return "\n".join(lines)


def shortened(names: Sequence[str]) -> str:
    r"""The first three names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _compared(split: str, lacking: list[str]) -> str:
    r"""How much of a split of the release is there, and what is not, with runs drawn together."""
    release = scans_of(split)
    if not lacking:
        return f"{split}: all {len(release):,} scans of the release are there"
    absent = set(lacking)
    runs: list[list[str]] = []
    for place, name in enumerate(release):
        if name not in absent:
            continue
        if place and release[place - 1] in absent:
            runs[-1][1:] = [name]
        else:
            runs.append([name])
    shown = ", ".join(" to ".join(run) for run in runs)
    there = len(release) - len(lacking)
    return f"{split}: {there:,} of {len(release):,} scans of the release are there, lacking {shown}"
