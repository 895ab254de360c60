r"""The score of a checkpoint on the scenes of a split."""

from __future__ import annotations

from pathlib import Path

from latentgraph.needs import need
from latentgraph.scannet.checkpoint import load_checkpoint
from latentgraph.scannet.score import Score


def evaluate(
    checkpoint: str | Path,
    root: str | Path,
    split: str = "val",
    out: str | Path | None = None,
    num_workers: int = 1,
    accelerator: str = "auto",
) -> Score:
    r"""Predict every scene of a split and count on the original vertices.

    Args:
        checkpoint: File written by ``latentgraph train``.
        root: Folder of the release, prepared.
        split: ``"val"`` or ``"train"``; test scans have no labels.
        out: Folder of the prepared scenes, by default ``prepared/`` in ``root``.
        num_workers: Processes that load scenes.
        accelerator: Lightning's name of the device, or ``"auto"``.

    Raises:
        FileNotFoundError: If the checkpoint is missing.
        ValueError: If it is no checkpoint of this library, or split or accelerator cannot be used.
        ImportError: Without Lightning, which is part of the extra ``scannet``.
    """
    lightning = need("lightning.pytorch", "to evaluate", "scannet")
    from latentgraph.scannet.data_module import SceneDataModule
    from latentgraph.scannet.lightning_module import SegmentationModule

    segmenter = load_checkpoint(checkpoint)
    module = SegmentationModule(segmenter.config)
    module.segmenter = segmenter
    data = SceneDataModule(root, out, split=split, num_workers=num_workers)
    try:
        trainer = lightning.Trainer(
            accelerator=accelerator,
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
        )
    except lightning.utilities.exceptions.MisconfigurationException as error:
        raise ValueError(str(error)) from error
    trainer.validate(module, data, verbose=False)
    return module.score()
