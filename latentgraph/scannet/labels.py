r"""Label sets of ScanNet: which ids count as classes, their names and display colors."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib import resources
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

IGNORE_INDEX = -1
"""Class index of a point that has no class of the label set."""


@dataclass(frozen=True)
class LabelSet:
    r"""The classes of a benchmark, in the order of their class indices.

    Args:
        name: ``"scannet20"`` or ``"scannet200"``.
        ids: Dataset id of each class: NYU40 ids for ScanNet20, raw ids of the label table for
            ScanNet200.
        names: Name of each class.
        colors: Display color of each class, red, green, blue from 0 to 255.
        groups: Group of each class by how often it occurs, ``"head"``, ``"common"`` or ``"tail"``;
            empty for a benchmark without groups.
        in_val: Whether each class occurs in the val scans of the release; empty where all do.
    """

    name: str
    ids: tuple[int, ...]
    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    groups: tuple[str, ...] = ()
    in_val: tuple[bool, ...] = ()

    @property
    def num_classes(self) -> int:
        return len(self.ids)

    @overload
    def encode(self, ids: Tensor) -> Tensor: ...
    @overload
    def encode(self, ids: NDArray[Any]) -> NDArray[np.int64]: ...
    def encode(self, ids: Tensor | NDArray[Any]) -> Tensor | NDArray[np.int64]:
        r"""Dataset ids to class indices; every id that is no class becomes :data:`IGNORE_INDEX`.

        Args:
            ids: Integers of any shape.

        Returns:
            int64 of the same shape, on the same device.
        """
        if isinstance(ids, np.ndarray):
            return self.encode(torch.from_numpy(ids.copy())).numpy()
        ids = _integers(ids)
        index_of_id = torch.full((max(self.ids) + 1,), IGNORE_INDEX)
        index_of_id[list(self.ids)] = torch.arange(self.num_classes)
        index_of_id = index_of_id.to(ids.device)
        known = (ids >= 0) & (ids < index_of_id.numel())
        return torch.where(known, index_of_id[ids * known], IGNORE_INDEX)

    @overload
    def decode(self, index: Tensor) -> Tensor: ...
    @overload
    def decode(self, index: NDArray[Any]) -> NDArray[np.int64]: ...
    def decode(self, index: Tensor | NDArray[Any]) -> Tensor | NDArray[np.int64]:
        r"""Class indices to dataset ids; :data:`IGNORE_INDEX` becomes 0, "unannotated".

        Args:
            index: Integers of any shape, from -1 to ``num_classes - 1``.

        Returns:
            int64 of the same shape, on the same device.

        Raises:
            ValueError: For an index outside that range.
        """
        if isinstance(index, np.ndarray):
            return self.decode(torch.from_numpy(index.copy())).numpy()
        index = _integers(index)
        if index.numel() and not (index.min() >= -1 and index.max() < self.num_classes):
            raise ValueError(
                f"{self.name} has class indices from -1 to {self.num_classes - 1}, got values "
                f"from {int(index.min())} to {int(index.max())}"
            )
        # The last place answers to index -1.
        return torch.tensor((*self.ids, 0), device=index.device)[index]


def label_set(name: str) -> LabelSet:
    r"""The label set of that name.

    Args:
        name: ``"scannet20"`` or ``"scannet200"``.

    Returns:
        Names, ids and colors of its classes.

    Raises:
        ValueError: For another name.
    """
    for labels in (SCANNET20, SCANNET200):
        if labels.name == name:
            return labels
    raise ValueError(f"labels must be 'scannet20' or 'scannet200', got {name!r}")


def _integers(values: Tensor) -> Tensor:
    if values.is_floating_point() or values.is_complex():
        raise TypeError(f"labels must be integers, got {values.dtype}")
    return values.long()


def _load(name: str, file: str) -> LabelSet:
    with resources.files(__package__).joinpath(file).open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    return LabelSet(
        name=name,
        ids=tuple(int(row["id"]) for row in rows),
        names=tuple(row["name"] for row in rows),
        colors=tuple((int(row["red"]), int(row["green"]), int(row["blue"])) for row in rows),
        groups=tuple(row["group"] for row in rows if "group" in row),
        in_val=tuple(row["in_val"] == "1" for row in rows if "in_val" in row),
    )


SCANNET20 = _load("scannet20", "classes_20.tsv")
SCANNET200 = _load("scannet200", "classes_200.tsv")
