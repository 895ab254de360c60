r"""Prepare a release: each scan once into a file of its own, to go on where it was stopped."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from stat import S_ISDIR
from typing import Any

from tqdm import tqdm  # type: ignore[import-untyped]

from latentgraph.scannet import prepared
from latentgraph.scannet.points import ScanError
from latentgraph.scannet.reader import Scan, find_scans, read_scan, scan_files
from latentgraph.scannet.report import Report
from latentgraph.scannet.splits import is_of, split_of

_Findings = tuple[list[str], list[str]]
Examine = Callable[[Path], _Findings]
r"""From the folder of a scan to what is no class in it, and other remarks."""


def prepare(
    root: str | Path,
    out: str | Path | None = None,
    split: str | None = None,
    num_workers: int = 0,
    progress: bool = True,
    strict: bool = False,
) -> Report:
    r"""Prepare every scan under :obj:`root` whose prepared file is not there or out of date.

    A file takes its place only when it is whole. A scan that cannot be used is left out, and the
    report says why. Ids and categories that are no class are left unannotated, and the report says
    so, since the release has some; under :obj:`strict` their scan is left out.

    Args:
        root: Folder of the release, with ``scans/``, ``scans_test/`` or both. Nothing is written
            to it where :obj:`out` is given.
        out: Folder of the prepared scenes; by default ``prepared/`` in :obj:`root`.
        split: Prepare only ``"train"``, ``"val"`` or ``"test"``.
        num_workers: Processes that prepare, 0 for this one. A script that asks for more must call
            this below ``if __name__ == "__main__":``.
        progress: Whether to show a progress bar, on a terminal.
        strict: Whether to leave out scans with a category or a label id that is no class. What
            was prepared of them before stays.

    Returns:
        What became of each scan.

    Raises:
        FileNotFoundError: If there are no scans, or none of the split.
        ValueError: For an unknown split or a negative number of processes.
        RuntimeError: If one of the processes ends early, as in a script that calls this elsewhere.
        OSError: If :obj:`out` cannot be written to.
        ImportError: If a package that reading needs is not installed.
    """
    _check_workers(num_workers)
    folder = prepared_folder(root, out)
    scans = find_scans(root)
    if split is not None:
        scans = [scan for scan in scans if is_of(scan.name, split)]
    if not scans:
        raise FileNotFoundError(f"there are no scans {f'of {split} ' if split else ''}under {root}")

    report, to_do = Report(), []
    for scan in scans:
        content = _up_to_date(scan, folder)
        if content is None:
            to_do.append(scan)
        elif strict and content["unknown"]:
            report.left_out[scan.name] = "; ".join(content["unknown"])
        else:
            report.add(scan.name, content["unknown"], content["remarks"])
    if to_do:
        examine = partial(_prepare_scan, folder=folder, strict=strict)
        with _alone(folder):
            made = survey(to_do, examine, num_workers, progress)
        report.remarks |= made.remarks
        report.unknown |= made.unknown
        report.left_out |= made.left_out
    return report


def prepared_folder(root: str | Path, out: str | Path | None = None) -> Path:
    r"""Where the prepared scenes of :obj:`root` lie: ``prepared/`` in it, or :obj:`out`."""
    return Path(root) / "prepared" if out is None else Path(out)


def survey(
    scans: list[Path],
    examine: Examine,
    num_workers: int = 0,
    progress: bool = True,
) -> Report:
    r"""The outcome of one function on many scans.

    Args:
        scans: Folders of the scans.
        examine: Returns what is no class in a scan, and its remarks; raises a :class:`ScanError`
            if the scan cannot be used.
        num_workers: Processes to run it in, 0 for this one.
        progress: Whether to show a progress bar, on a terminal.

    Raises:
        ValueError: For a negative number of processes.
    """
    _check_workers(num_workers)
    report = Report()
    outcomes = _outcomes(scans, examine, num_workers)
    for name, outcome in tqdm(
        outcomes, total=len(scans), unit="scan", disable=None if progress else True
    ):
        if isinstance(outcome, str):
            report.left_out[name] = outcome
        else:
            report.add(name, *outcome)
    return report


def usable_scan(folder: Path) -> Scan:
    r"""Read a scan; one of train or val is of use with labels only.

    Raises:
        ScanError: If it cannot be read, is of no official split, or has no labels.
    """
    try:
        split = split_of(folder.name)
    except ValueError as error:
        raise ScanError(str(error)) from error
    scan = read_scan(folder)
    if scan.nyu40 is None and split != "test":
        raise ScanError(
            f"{folder}: no labels: expected segs, aggregation and label table, or labels.ply; "
            f"got only {', '.join(scan_files(folder))}"
        )
    return scan


def _check_workers(num_workers: int) -> None:
    if num_workers < 0:
        raise ValueError(f"num_workers must be at least 0, got {num_workers}")


def _outcomes(
    scans: list[Path], examine: Examine, num_workers: int
) -> Iterator[tuple[str, _Findings | str]]:
    outcome = partial(_outcome, examine)
    if num_workers == 0:
        yield from map(outcome, scans)
        return
    # Threads of torch and Open3D do not survive a fork.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_workers, mp_context=spawn) as pool:
        try:
            for future in as_completed([pool.submit(outcome, scan) for scan in scans]):
                yield future.result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                f"one of {num_workers} processes ended before its scan was done, out of memory "
                'maybe; a script has to call this under if __name__ == "__main__"'
            ) from error


def _outcome(examine: Examine, scan: Path) -> tuple[str, _Findings | str]:
    try:
        return scan.name, examine(scan)
    except ScanError as error:
        return scan.name, str(error)


def _prepare_scan(scan: Path, folder: Path, strict: bool) -> _Findings:
    content = _up_to_date(scan, folder)  # another process may have been here meanwhile
    if content is None:
        source = prepared.fingerprint(scan_files(scan))
        usable = usable_scan(scan)
        if strict and usable.unknown:
            raise ScanError("; ".join(usable.unknown))
        content = prepared.pack(usable, source)
        prepared.write(content, folder / f"{scan.name}.pt")
    return content["unknown"], content["remarks"]


def _up_to_date(scan: Path, folder: Path) -> dict[str, Any] | None:
    r"""The prepared scene where it was made from the raw files as they are now."""
    path = folder / f"{scan.name}.pt"
    if not path.is_file():
        return None
    try:
        content = prepared.read(path)
    except ScanError:
        return None
    return content if content["source"] == prepared.fingerprint(scan_files(scan)) else None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    r"""Let one process at a time prepare into a folder, where the system has file locks.

    A folder that was made for this goes again if nothing came to lie in it.

    Raises:
        RuntimeError: In a process that another one started, while it imports the main script: it
            would wait for the one that waits for it.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise RuntimeError(
            "processes that prepare import the main script once more: expected it to call prepare "
            'under if __name__ == "__main__"'
        )
    new = not folder.exists()
    _make(folder)
    try:
        with _lock(folder / ".lock"):
            yield
    finally:
        if new:
            with suppress(OSError):  # there is something in it
                folder.rmdir()


def _make(folder: Path) -> None:
    r"""Make a folder that others may make or remove at this moment."""
    while not folder.is_dir():
        try:
            folder.mkdir(parents=True)
        except FileExistsError as error:
            with suppress(FileNotFoundError):  # it was there, and is no longer
                if not S_ISDIR(folder.lstat().st_mode):
                    message = f"{folder} should be a folder, and is a file"
                    raise NotADirectoryError(message) from error


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:
        yield
        return
    while True:
        _make(path.parent)
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # whoever came first has removed the folder since
            continue
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _lies_at(path, lock):
            break
        os.close(lock)  # whoever had it has removed the file, and its name may be another's by now
    try:
        yield
    finally:
        path.unlink()
        os.close(lock)


def _lies_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
