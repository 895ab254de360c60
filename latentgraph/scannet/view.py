r"""Pictures of one scene: a page, and the mesh colored in the same ways."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from latentgraph.scannet.checkpoint import load_checkpoint
from latentgraph.scannet.labels import SCANNET20
from latentgraph.scannet.latents import latents_of
from latentgraph.scannet.picture import Picture, Written, folder_for
from latentgraph.scannet.ply import write_ply
from latentgraph.scannet.reader import read_scan


def view(
    source: str | Path,
    checkpoint: str | Path | None = None,
    out: str | Path | None = None,
    block: str | None = None,
    ply: bool = False,
    device: str | torch.device = "cpu",
    unit: str = "m",
    up: str = "z",
) -> Written:
    r"""Write ``page.html`` with a scene in its colors and its true labels.

    A checkpoint adds its predictions, their errors and confidence, and the latent nodes of its
    :class:`~latentgraph.nn.LatentGNN` blocks.

    Args:
        source: Folder of a scan, or a file of points.
        checkpoint: File written by ``latentgraph train``, or None.
        out: Folder to write to, by default ``views/<name>/``.
        block: Name of a block whose latent nodes are shown, as in ``"network.context.2"``; None
            for all.
        ply: Whether to write a PLY for each coloring as well, and for each latent node of
            :obj:`block`.
        device: Where the network runs.
        unit: Unit of a file: ``"m"``, ``"cm"``, ``"mm"``, ``"ft"`` or ``"in"``.
        up: The axis that goes up in it.

    Returns:
        The page and the height of the scene.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If the source, the checkpoint or the device cannot be used, there is no such
            block, or ``out`` is where the source lies.
        NotADirectoryError: If ``out`` is a file.
        ImportError: Without a package that is needed.

    Warns:
        UserWarning: For everything odd about the source, its height among it, and for a checkpoint
            whose labels mean nothing there.
    """
    if block is not None and checkpoint is None:
        raise ValueError(f"expected a checkpoint, which has the block {block!r}, got none")
    segmenter = None if checkpoint is None else load_checkpoint(checkpoint, device)
    folder = folder_for(out, "views", source)
    scan = read_scan(source, unit, up)
    picture = Picture(scan, SCANNET20 if segmenter is None else segmenter.labels)
    single = []
    if segmenter is not None:
        picture.add_prediction(segmenter)
        latents = latents_of(segmenter, picture.data, block)
        picture.colorings += latents
        if block is not None:
            single = [item.map(k) for item in latents for k in range(item.affinity.shape[1])]
    folder.mkdir(parents=True, exist_ok=True)
    if ply:
        for coloring in [*picture.colorings, *single]:
            file = re.sub(r"\W+", "_", coloring.title.lower()).strip("_")
            write_ply(folder / f"{file}.ply", scan.place, coloring.rgb(), scan.faces)
    return picture.write_page(folder)
