r"""Submissions to the benchmark: a zip with the predictions of every test scan."""

from __future__ import annotations

import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tqdm import tqdm  # type: ignore[import-untyped]

from latentgraph.scannet import prepared
from latentgraph.scannet.checkpoint import load_checkpoint
from latentgraph.scannet.into_place import into_place
from latentgraph.scannet.label_file import describe_foreign, foreign_ids, read_ids, write_ids
from latentgraph.scannet.labels import LabelSet, label_set
from latentgraph.scannet.points import vertex_count
from latentgraph.scannet.reader import FILES, find_scans, read_scan
from latentgraph.scannet.rooms import rooms_settings
from latentgraph.scannet.splits import is_of, scans_of
from latentgraph.scannet.votes import ONE_VOTE, Votes

_LONGEST_LINE = 64  # bytes; a longer file is not unpacked


@dataclass
class Findings:
    r"""What is wrong with a submission.

    Args:
        errors: For which the benchmark would refuse it, a line each.
        warnings: What it takes and counts as a miss, a line each.
        scenes: Number of files that are as they should be.
    """

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    scenes: int = 0

    @property
    def ok(self) -> bool:
        r"""Whether there are no errors."""
        return not self.errors

    def __str__(self) -> str:
        r"""A line for each error and each warning, the counts last."""
        lines = [f"error: {error}" for error in self.errors]
        lines += [f"warning: {warning}" for warning in self.warnings]
        lines.append(
            f"{self.scenes} scenes as they should be, {len(self.errors)} errors, "
            f"{len(self.warnings)} warnings"
        )
        return "\n".join(lines)


def submit(
    checkpoint: str | Path,
    root: str | Path,
    out: str | Path,
    device: str | torch.device = "cpu",
    votes: Votes = ONE_VOTE,
    progress: bool = True,
) -> Findings:
    r"""Predict every test scan under :obj:`root` and write the zip, which is then checked.

    Scans are read from their raw files, one at a time; nothing but the zip is written, and that
    takes its place when it is whole.

    Args:
        checkpoint: File written by ``latentgraph train``.
        root: Folder of the release, with ``scans_test/``.
        out: The zip to write.
        device: Where the network runs.
        votes: How the network looks at a scan.
        progress: Whether to show a progress bar, on a terminal.

    Returns:
        What :func:`check_submission` finds.

    Raises:
        FileNotFoundError: If there is no checkpoint, or no test scan.
        ValueError: If the checkpoint, the device or one of the scans cannot be used.
    """
    segmenter = load_checkpoint(checkpoint, device)
    labels = segmenter.labels
    scans = _test_scans(root)
    with into_place(out) as part:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, folder in tqdm(
                scans.items(), unit="scan", disable=None if progress else True
            ):
                scene = prepared.to_data(prepared.pack(read_scan(folder)), labels)
                ids = labels.decode(segmenter.predict(scene, votes))
                archive.writestr(name, write_ids(ids.tolist()))
        findings = check_submission(part, root, labels)
        if not findings.ok:
            raise ValueError("; ".join(findings.errors))
    return findings


def check_submission(
    path: str | Path, root: str | Path, labels: str | LabelSet = "scannet20"
) -> Findings:
    r"""Check a zip for the benchmark, whoever made it: names, lines, ids.

    It is to hold ``<scene>.txt`` for each test scan under :obj:`root`, at its top level, and
    nothing else; in each a whole number for each vertex of the mesh, a line each. An id that is no
    class draws a warning only, 0 among them: the server counts it as a miss.

    Args:
        path: The zip.
        root: Folder of the release, with ``scans_test/``.
        labels: The benchmark, ``"scannet20"`` or ``"scannet200"``.

    Returns:
        Errors and warnings; ``ok`` if there are no errors.

    Raises:
        FileNotFoundError: If there is no such file, or no test scan.
        ValueError: If it is no zip, or cut off.
    """
    labels = label_set(labels) if isinstance(labels, str) else labels
    scans = _test_scans(root)
    if not Path(path).is_file():
        raise FileNotFoundError(f"no submission at {path}")
    findings = Findings()
    try:
        with zipfile.ZipFile(path) as archive:
            _check_names(archive.namelist(), set(scans), findings)
            foreign: Counter[int] = Counter()
            for entry in archive.infolist():
                if entry.filename in scans:
                    foreign += _check_entry(archive, entry, scans, labels, findings)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is no zip file, or cut off: {error}") from error
    if foreign:
        findings.warnings.append(describe_foreign(foreign, labels))
    lacking = len(scans_of("test")) - len(scans)
    if lacking > 0 and rooms_settings(root) is None:
        findings.warnings.append(
            f"{root} has {len(scans)} of the {len(scans) + lacking} test scans of the release; "
            "the benchmark wants all of them"
        )
    return findings


def _test_scans(root: str | Path) -> dict[str, Path]:
    r"""Folders of the test scans, by the names of their files in a submission."""
    scans = {f"{scan.name}.txt": scan for scan in find_scans(root) if is_of(scan.name, "test")}
    if not scans:
        raise FileNotFoundError(f"there are no scans of test under {root}")
    return scans


def _check_names(names: list[str], wanted: set[str], findings: Findings) -> None:
    nested = [name for name in names if "/" in name]
    surplus = [name for name in names if "/" not in name and name not in wanted]
    twice = [name for name, times in Counter(names).items() if times > 1]
    missing = sorted(wanted.difference(names))
    for found, what in (
        (nested, "not at the top level of the zip"),
        (surplus, "no file of a test scan"),
        (twice, "more than once in the zip"),
        (missing, "missing"),
    ):
        if found:
            findings.errors.append(f"{what}: {', '.join(found)}")


def _check_entry(
    archive: zipfile.ZipFile,
    entry: zipfile.ZipInfo,
    scans: dict[str, Path],
    labels: LabelSet,
    findings: Findings,
) -> Counter[int]:
    folder = scans[entry.filename]
    try:
        num_vertices = vertex_count(folder / f"{folder.name}{FILES['mesh']}")
        if entry.file_size > _LONGEST_LINE * (num_vertices + 1):
            raise ValueError(
                f"{entry.filename}: expected {num_vertices:,} lines, got {entry.file_size:,} bytes"
            )
        ids = read_ids(archive.read(entry), num_vertices, entry.filename)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        # The last one is what zipfile says of an encrypted file, or of an unknown compression.
        findings.errors.append(f"{entry.filename}: cannot be unpacked: {error}")
    except ValueError as error:
        findings.errors.append(str(error))
    else:
        findings.scenes += 1
        return foreign_ids(ids, labels)
    return Counter()
