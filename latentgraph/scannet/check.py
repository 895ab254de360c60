r"""Check a release, whole or in part, before anything is prepared."""

from __future__ import annotations

from pathlib import Path

from latentgraph.scannet.prepare import survey, usable_scan
from latentgraph.scannet.reader import FILES, find_scans, scan_files
from latentgraph.scannet.report import Report
from latentgraph.scannet.rooms import rooms_settings
from latentgraph.scannet.splits import SPLITS, scans_of, split_of
from latentgraph.scannet.truth import TABLE_NAME

_EXPECTED = {
    "train": ("labels", "segs", "aggregation", "info", "table"),
    "val": ("labels", "segs", "aggregation", "info", "table"),
    "test": ("info",),
}


def check(root: str | Path, num_workers: int = 0, progress: bool = True) -> Report:
    r"""Read every scan under :obj:`root` as :func:`~latentgraph.scannet.prepare.prepare` does.

    Nothing is written. The report names every file that is missing, every scan that cannot be used
    and why, every id and category that is no class, and every difference between ``labels.ply``
    and the aggregation. Unless :obj:`root` holds generated rooms, it names every scan of the
    release that is not there, and those that are none of the release.

    Args:
        root: Folder of the release, with ``scans/``, ``scans_test/`` or both.
        num_workers: Processes that read, 0 for this one.
        progress: Whether to show a progress bar, on a terminal.

    Returns:
        What was found, by scan.

    Raises:
        FileNotFoundError: If there are no scans.
        ValueError: For a negative number of processes.
        ImportError: If a package that reading needs is not installed.
    """
    scans = find_scans(root)
    if not scans:
        raise FileNotFoundError(f"there are no scans under {root}")
    report = survey(scans, _examine, num_workers, progress)
    if rooms_settings(root) is None:
        _compare(report, {scan.name for scan in scans})
    return report


def _examine(folder: Path) -> tuple[list[str], list[str]]:
    scan = usable_scan(folder)
    there = scan_files(folder)
    missing = [key for key in _EXPECTED[split_of(folder.name)] if key not in there]
    remarks = scan.remarks
    if missing:
        names = [f"{folder.name}{FILES[key]}" if key in FILES else TABLE_NAME for key in missing]
        remarks = [f"not there: {', '.join(names)}", *remarks]
    return scan.unknown, remarks


def _compare(report: Report, found: set[str]) -> None:
    release = {split: scans_of(split) for split in SPLITS}
    report.lacking = {
        split: [name for name in names if name not in found] for split, names in release.items()
    }
    for name in report.remarks.keys() - {name for names in release.values() for name in names}:
        report.remarks[name].insert(0, "no scan of the release has this name")
