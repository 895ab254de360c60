r"""The score of a checkpoint, or of anybody's predictions, on the scenes of a split."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import torch

from latentgraph.needs import need
from latentgraph.scannet.checkpoint import load_checkpoint
from latentgraph.scannet.dataset import ScanNet
from latentgraph.scannet.label_file import describe_foreign, foreign_ids, read_ids
from latentgraph.scannet.report import shortened
from latentgraph.scannet.score import Score, confusion_matrix
from latentgraph.scannet.votes import ONE_VOTE, Votes


def evaluate(
    checkpoint: str | Path,
    root: str | Path,
    split: str = "val",
    out: str | Path | None = None,
    num_workers: int = 1,
    accelerator: str = "auto",
    votes: Votes = ONE_VOTE,
    devices: int = 1,
) -> Score:
    r"""Predict every scene of a split and count on the original vertices.

    Args:
        checkpoint: File written by ``latentgraph train``.
        root: Folder of the release, prepared.
        split: ``"val"`` or ``"train"``; test scans have no labels.
        out: Folder of the prepared scenes, by default ``prepared/`` in ``root``.
        num_workers: Processes that load scenes.
        accelerator: Lightning's name of the device, or ``"auto"``.
        votes: How the network looks at a scene.
        devices: Processes that share the scenes, each with a device of its own.

    Returns:
        The score, of all scenes together; it names the scans of the split that are not there.

    Raises:
        FileNotFoundError: If the checkpoint is missing.
        ValueError: If it is no checkpoint of this library, or split or accelerator cannot be used.
        ImportError: Without Lightning, which is part of the extra ``scannet``.
    """
    lightning = need("lightning.pytorch", "to evaluate", "scannet")
    from latentgraph.scannet.data_module import SceneDataModule
    from latentgraph.scannet.lightning_module import SegmentationModule

    segmenter = load_checkpoint(checkpoint)
    # One look at the whole scene needs no votes: the loader's processes can voxelize it.
    plain = votes == ONE_VOTE and not segmenter.config.single
    module = SegmentationModule(segmenter.config, votes=None if plain else votes)
    module.segmenter = segmenter
    data = SceneDataModule(root, out, split=split, num_workers=num_workers)
    try:
        trainer = lightning.Trainer(
            accelerator=accelerator,
            devices=devices,
            use_distributed_sampler=False,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
        )
    except (lightning.utilities.exceptions.MisconfigurationException, TypeError) as error:
        raise ValueError(str(error)) from error
    trainer.validate(module, data, verbose=False)
    return replace(module.score(), lacking=data.scenes(split).lacking())


def evaluate_predictions(
    folder: str | Path,
    root: str | Path,
    split: str = "val",
    labels: str = "scannet20",
    out: str | Path | None = None,
) -> Score:
    r"""Score the predictions of any tool, in the files that the benchmark takes.

    Args:
        folder: Has ``<scene>.txt`` for each scene of the split: the id of the class of each vertex,
            a line each.
        root: Folder of the release, prepared.
        split: ``"val"`` or ``"train"``; test scans have no labels.
        labels: ``"scannet20"``, whose ids are those of NYU40, or ``"scannet200"``.
        out: Folder of the prepared scenes, by default ``prepared/`` in ``root``.

    Returns:
        The score, of all scenes together; it names the scans of the split that are not there.

    Raises:
        FileNotFoundError: If a file is missing, or there are no scenes of this split.
        NotADirectoryError: If ``folder`` is no folder.
        ValueError: If a file has other than one integer for each vertex, the split has no labels,
            or ``folder`` is a release.

    Warns:
        UserWarning: For ids that are no class, and for files of no scene of the split.
    """
    if not Path(folder).is_dir():
        raise NotADirectoryError(f"expected a folder with <scene>.txt of {split}, got {folder}")
    if (Path(folder) / "scans").is_dir():
        raise ValueError(
            f"expected a folder with <scene>.txt of {split}, then that of the release, got {folder}"
            " first, which has scans/"
        )
    scenes = ScanNet(root, split, out, labels)
    there = {path.name for path in Path(folder).glob("*.txt")}
    wanted = [f"{scene}.txt" for scene in scenes.scenes]
    if missing := [name for name in wanted if name not in there]:
        raise FileNotFoundError(
            f"{folder}: expected a file for each of {len(wanted)} scenes of {split}, "
            f"{len(missing)} are missing: {shortened(missing)}"
        )
    lacking = scenes.lacking()
    if surplus := sorted(there.difference(wanted, [f"{scan}.txt" for scan in lacking])):
        warnings.warn(f"not of {split}, and not scored: {shortened(surplus)}", stacklevel=2)
    classes = scenes.labels.num_classes
    confusion = torch.zeros(classes, classes + 1, dtype=torch.int64)
    foreign: Counter[int] = Counter()
    for name, scene in zip(wanted, scenes, strict=True):
        if "y" not in scene:
            raise ValueError(f"scenes of {split} have no labels to score against")
        ids = read_ids((Path(folder) / name).read_bytes(), len(scene.y), name)
        foreign += foreign_ids(ids[scene.y.numpy() >= 0], scenes.labels)
        predicted = torch.from_numpy(scenes.labels.encode(ids))
        confusion += confusion_matrix(predicted, scene.y, classes)
    if foreign:
        warnings.warn(describe_foreign(foreign, scenes.labels), stacklevel=2)
    return Score(confusion, scenes.labels, lacking)
