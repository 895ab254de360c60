r"""The classes of one scene, for people: a colored PLY and a page to look at."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from latentgraph.scannet import prepared
from latentgraph.scannet.checkpoint import HOW_TO_GET_ONE, load_checkpoint
from latentgraph.scannet.page import write_page
from latentgraph.scannet.ply import write_ply
from latentgraph.scannet.reader import read_scan
from latentgraph.scannet.score import Score, confusion_matrix
from latentgraph.scannet.votes import ONE_VOTE, Votes


def predict(
    source: str | Path,
    checkpoint: str | Path | None,
    out: str | Path | None = None,
    device: str | torch.device = "cpu",
    votes: Votes = ONE_VOTE,
) -> Path:
    r"""Label a scene and write ``page.html`` and ``prediction.ply``.

    The PLY has the mesh or the points of the source in the colors of their classes, and the
    dataset id of the class of each vertex as the property ``label``.

    Args:
        source: Folder of a scan, or a file of points, without labels and normals if need be.
        checkpoint: File written by ``latentgraph train``.
        out: Folder to write to, by default ``predictions/<name>/``.
        device: Where the network runs.
        votes: How the network looks at the scene.

    Returns:
        The page.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        ValueError: If the source or the checkpoint cannot be used, or ``out`` is where the source
            lies.
        ImportError: Without a package that is needed.

    Warns:
        UserWarning: For everything odd about the source, and for a checkpoint whose labels mean
            nothing there.
    """
    if checkpoint is None:
        raise FileNotFoundError(f"no checkpoint given; {HOW_TO_GET_ONE}")
    segmenter = load_checkpoint(checkpoint).to(device)
    scan = read_scan(source)
    folder = Path(out) if out is not None else Path("predictions", scan.name.strip(".") or "scan")
    place = Path(source).resolve()
    if folder.resolve() == (place if place.is_dir() else place.parent):
        raise ValueError(f"{folder} holds the input: choose another --out")

    labels = segmenter.labels
    data = prepared.to_data(prepared.pack(scan), labels)
    predicted = segmenter.predict(data, votes)

    trained_on = segmenter.trained_on
    notes = [f"{len(predicted):,} vertices."]
    warning = None
    if trained_on is not None:
        notes.append(f"The network has learned from {trained_on.scenes:,} {trained_on.source}.")
        if trained_on.generated and scan.room is None:
            warning = (
                f"The network has learned from generated {trained_on.source}: "
                "its labels on real scans will be wrong."
            )
            warnings.warn(warning, stacklevel=2)
    remarks = [*(f"{what}: left unannotated" for what in scan.unknown), *scan.remarks]
    for remark in remarks:
        warnings.warn(f"{scan.name}: {remark}", stacklevel=2)
    if "y" in data and bool((data.y >= 0).any()):
        score = Score(confusion_matrix(predicted, data.y, labels.num_classes), labels)
        hits = score.confusion.diagonal().sum() / score.confusion.sum()
        notes.append(
            f"{100 * float(hits):.1f} % of the labeled vertices are right; "
            f"mIoU of this scene alone: {100 * score.miou:.1f}."
        )

    colors = torch.tensor(labels.colors, dtype=torch.uint8)[predicted].numpy()
    folder.mkdir(parents=True, exist_ok=True)
    write_ply(
        folder / "prediction.ply", scan.pos, colors, scan.faces, labels.decode(predicted).numpy()
    )
    page = folder / "page.html"
    write_page(
        page,
        scan.name,
        scan.pos,
        scan.color,
        predicted.numpy(),
        data.y.numpy() if "y" in data else None,
        labels,
        [*notes, *remarks],
        warning,
    )
    return page
