r"""The data-efficient tracks of the benchmark: fewer scenes, or few annotated points in each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentgraph.scannet.splits import split_of


def read_scene_list(path: str | Path) -> list[str]:
    r"""The scenes in a list of the track of limited reconstructions: a name on each line.

    Raises:
        ValueError: If the file is missing or empty, or a line is no name of a scene.
    """
    try:
        scenes = Path(path).read_text(encoding="utf-8").split()
        for scene in scenes:
            split_of(scene)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: expected the name of a scene on each line: {error}") from error
    if not scenes:
        raise ValueError(f"{path}: the list is empty")
    return scenes


def read_annotated(path: str | Path) -> dict[str, Tensor]:
    r"""The annotated vertices of each scene in the track of limited annotations.

    Args:
        path: A file of ``torch.save`` with a dictionary from names of scenes to indices of
            vertices, as NumPy arrays, tensors or lists. Nothing in it is run.

    Returns:
        Indices, int64, by the name of the scene.

    Raises:
        ValueError: If the file is missing or something else.
    """
    try:
        with torch.serialization.safe_globals(_numpy_arrays()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load has no exception of its own for a foreign file
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ValueError(f"{path}: expected a file of torch.save: {reason}") from error
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path}: expected a dictionary of scenes, got {type(content).__name__}")
    return {_name(scene, path): _indices(values, scene, path) for scene, values in content.items()}


def keep_annotated(y: Tensor, annotated: Tensor, scene: str) -> Tensor:
    r"""Class indices of the vertices that are annotated, -1 elsewhere."""
    if len(annotated) and not 0 <= int(annotated.min()) <= int(annotated.max()) < len(y):
        raise ValueError(
            f"{scene}: expected annotated vertices from 0 to {len(y) - 1}, got some from "
            f"{int(annotated.min())} to {int(annotated.max())}"
        )
    kept = torch.full_like(y, -1)
    kept[annotated] = y[annotated]
    return kept


def _numpy_arrays() -> list[Any]:
    r"""What an array needs to be unpickled; NumPy 2 moved its core, and old files name the old."""
    rebuild = np.empty(0).__reduce__()[0]
    names = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
    kinds = {type(np.dtype(kind)) for kind in ("i4", "i8", "u4", "u8")}
    return [np.ndarray, np.dtype, *kinds, *((rebuild, name) for name in names)]


def _name(scene: Any, path: str | Path) -> str:
    if not isinstance(scene, str):
        raise ValueError(f"{path}: expected names of scenes, got {scene!r}")
    return scene


def _indices(values: Any, scene: str, path: str | Path) -> Tensor:
    try:
        indices = torch.as_tensor(np.asarray(values))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {scene}: expected indices of vertices: {error}") from error
    if indices.dim() != 1 or indices.is_floating_point() or indices.dtype == torch.bool:
        raise ValueError(
            f"{path}: {scene}: expected a vector of integers, got {indices.dtype} of shape "
            f"{tuple(indices.shape)}"
        )
    return indices.long()
