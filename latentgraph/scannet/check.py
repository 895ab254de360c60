r"""Check a release, whole or in part, before anything is prepared."""

from __future__ import annotations

from pathlib import Path

from latentgraph.scannet.prepare import survey, usable_scan
from latentgraph.scannet.reader import FILES, find_scans, scan_files
from latentgraph.scannet.report import Report
from latentgraph.scannet.splits import split_of
from latentgraph.scannet.truth import TABLE_NAME

_EXPECTED = {
    "train": ("labels", "segs", "aggregation", "info", "table"),
    "val": ("labels", "segs", "aggregation", "info", "table"),
    "test": ("info",),
}


def check(root: str | Path, workers: int = 0, progress: bool = True) -> Report:
    r"""Read every scan under :obj:`root` as :func:`~latentgraph.scannet.prepare.prepare` does.

    Nothing is written. The report names every file that is missing, every scan that cannot be used
    and why, every id and category that is no class, and every difference between ``labels.ply``
    and the aggregation.

    Args:
        root: Folder of the release, with ``scans/``, ``scans_test/`` or both.
        workers: Processes that read, 0 for this one.
        progress: Whether to show a progress bar, on a terminal.

    Raises:
        FileNotFoundError: If there are no scans.
        ImportError: If a package that reading needs is not installed.
    """
    scans = find_scans(root)
    if not scans:
        raise FileNotFoundError(f"there are no scans under {root}")
    return survey(scans, _examine, workers, progress)


def _examine(folder: Path) -> list[str]:
    remarks = usable_scan(folder).remarks
    there = scan_files(folder)
    missing = [key for key in _EXPECTED[split_of(folder.name)] if key not in there]
    if missing:
        names = [f"{folder.name}{FILES[key]}" if key in FILES else TABLE_NAME for key in missing]
        remarks = [f"not there: {', '.join(names)}", *remarks]
    return remarks
