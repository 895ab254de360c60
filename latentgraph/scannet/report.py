r"""What came of a set of scans: which can be used, which cannot and why, what was odd."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from latentgraph.scannet.splits import SPLITS, split_of


@dataclass
class Report:
    r"""The outcome for every scan that was found.

    Args:
        remarks: What was odd about each scan that can be used, by its name; mostly nothing.
        left_out: Why each other scan cannot be used, by its name.
    """

    remarks: dict[str, list[str]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        r"""Whether every scan found can be used."""
        return not self.left_out

    def __str__(self) -> str:
        r"""A line for each remark and for each scan left out, the counts last."""
        scans = defaultdict(list)
        for name in sorted(self.remarks):
            for remark in self.remarks[name]:
                scans[remark].append(name)
        lines = [f"{_shortened(names)}: {remark}" for remark, names in scans.items()]
        lines += [f"left out: {name}: {reason}" for name, reason in sorted(self.left_out.items())]
        counts = Counter(split_of(name) for name in self.remarks)
        lines.append(
            ", ".join(f"{split} {counts[split]}" for split in SPLITS)
            + f" scans can be used, {len(self.left_out)} left out"
        )
        return "\n".join(lines)


def _shortened(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
