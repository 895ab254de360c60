r"""The classes of one scene, for people: a colored PLY and a page to look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from latentgraph.scannet.checkpoint import HOW_TO_GET_ONE, load_checkpoint
from latentgraph.scannet.picture import Picture, Written, folder_for
from latentgraph.scannet.ply import write_ply
from latentgraph.scannet.reader import read_scan
from latentgraph.scannet.votes import ONE_VOTE, Votes


def predict(
    source: str | Path,
    checkpoint: str | Path | None,
    out: str | Path | None = None,
    device: str | torch.device = "cpu",
    unit: str = "m",
    up: str = "z",
    votes: Votes = ONE_VOTE,
) -> Written:
    r"""Label a scene and write ``page.html`` and ``prediction.ply``.

    The PLY has the mesh or the points of the source, in meters with z up, in the colors of their
    classes, and the dataset id of the class of each vertex as the property ``label``.

    Args:
        source: Folder of a scan, or a file of points, without labels and normals if need be.
        checkpoint: File written by ``latentgraph train``.
        out: Folder to write to, by default ``predictions/<name>/``.
        device: Where the network runs.
        unit: Unit of a file: ``"m"``, ``"cm"``, ``"mm"``, ``"ft"`` or ``"in"``.
        up: The axis that goes up in it.
        votes: How the network looks at the scene.

    Returns:
        The page and the height of the scene.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        ValueError: If the source, the checkpoint or the device cannot be used, or ``out`` is where
            the source lies.
        NotADirectoryError: If ``out`` is a file.
        ImportError: Without a package that is needed.

    Warns:
        UserWarning: For everything odd about the source, its height among it, and for a checkpoint
            whose labels mean nothing there.
    """
    if checkpoint is None:
        raise FileNotFoundError(f"no checkpoint given; {HOW_TO_GET_ONE}")
    segmenter = load_checkpoint(checkpoint, device)
    folder = folder_for(out, "predictions", source)
    picture = Picture(read_scan(source, unit, up), segmenter.labels)
    predicted = picture.add_prediction(segmenter, votes).numpy()
    colors = np.array(picture.labels.colors, dtype=np.uint8)[predicted]
    ids = picture.labels.decode(predicted)
    folder.mkdir(parents=True, exist_ok=True)
    write_ply(folder / "prediction.ply", picture.scan.place, colors, picture.scan.faces, ids)
    return picture.write_page(folder)
