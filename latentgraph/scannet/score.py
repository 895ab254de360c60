r"""The score of the ScanNet benchmark: intersection over union, on the original vertices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from latentgraph.scannet.labels import LabelSet
from latentgraph.scannet.report import shortened


def confusion_matrix(prediction: Tensor, target: Tensor, num_classes: int) -> Tensor:
    r"""Count the vertices of each true class by what was predicted for them.

    Matrices of several scenes add up. A vertex counts only if its true index is a class. A
    predicted index that is none is a miss of the true class, and a false alarm of no other.

    Args:
        prediction: Predicted class indices, (V,) integers.
        target: True class indices, (V,) integers, -1 where unannotated.
        num_classes: Number C of classes.

    Returns:
        (C, C + 1) int64, true classes down and predicted ones across; the last column has the
        predictions that are no class.

    Raises:
        ValueError: If the two differ in length, or are not vectors.
        TypeError: If they are not integers.
    """
    for name, labels in (("prediction", prediction), ("target", target)):
        if labels.dim() != 1:
            raise ValueError(f"{name} must be a vector, got shape {tuple(labels.shape)}")
        if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
            raise TypeError(f"{name} must be integers, got {labels.dtype}")
    if len(prediction) != len(target):
        raise ValueError(
            f"expected one prediction for each of {len(target)} vertices, got {len(prediction)}"
        )
    counts = (target >= 0) & (target < num_classes)
    true, predicted = target[counts].long(), prediction[counts].long()
    predicted = torch.where((predicted >= 0) & (predicted < num_classes), predicted, num_classes)
    pairs = torch.bincount(
        true * (num_classes + 1) + predicted, minlength=num_classes * (num_classes + 1)
    )
    return pairs.view(num_classes, num_classes + 1)


def class_iou(confusion: Tensor) -> Tensor:
    r"""Intersection over union of each class, :math:`TP / (TP + FP + FN)`.

    Args:
        confusion: What :func:`confusion_matrix` returns, (C, C + 1).

    Returns:
        (C,) float64 from 0 to 1, NaN for a class that is neither true nor predicted anywhere.
    """
    if confusion.dim() != 2 or confusion.size(1) != confusion.size(0) + 1:
        raise ValueError(f"confusion must have shape (C, C + 1), got {tuple(confusion.shape)}")
    counts = confusion.double()
    hits = counts.diagonal()
    return hits / (counts.sum(dim=1) + counts[:, :-1].sum(dim=0) - hits)


def mean_iou(confusion: Tensor) -> float:
    r"""Mean of :func:`class_iou` over the classes that are not absent, from 0 to 1."""
    return float(class_iou(confusion).nanmean())


@dataclass(frozen=True)
class Score:
    r"""The score of a set of scenes.

    A class that is neither true nor predicted anywhere is absent: its value is NaN, and
    every mean but :attr:`miou_absent_as_zero` leaves it out. The official script stops at such a
    class, and other tools take 0 for it. A class that is predicted but never true has the value 0
    and counts.

    Args:
        confusion: (C, C + 1), what :func:`confusion_matrix` returns, added up over all scenes.
        labels: The classes.
        lacking: Scans of the split that are not counted, since they are not there or left out.

    Raises:
        ValueError: If the shape is not that of the classes.
    """

    confusion: Tensor
    labels: LabelSet
    lacking: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        expected = (self.labels.num_classes, self.labels.num_classes + 1)
        if self.confusion.shape != expected:
            raise ValueError(
                f"confusion must have shape {expected} for {self.labels.name}, got "
                f"{tuple(self.confusion.shape)}"
            )

    @property
    def iou(self) -> Tensor:
        r"""Value of each class, (C,) float64 from 0 to 1, NaN for an absent class."""
        return class_iou(self.confusion)

    @property
    def miou(self) -> float:
        r"""Mean over the classes that are not absent, from 0 to 1; NaN if all are."""
        return mean_iou(self.confusion)

    @property
    def miou_absent_as_zero(self) -> float:
        r"""Mean over all classes, with 0 for an absent one."""
        return float(self.iou.nan_to_num(0.0).mean())

    @property
    def miou_in_val(self) -> float:
        r"""Mean over the classes that occur in val of the release, 189 of ScanNet200's; absent
        ones left out.
        """
        return self._mean(self.labels.in_val or (True,) * self.labels.num_classes)

    @property
    def group_miou(self) -> dict[str, float]:
        r"""Mean over each group of classes, absent ones left out; NaN if all are."""
        groups = self.labels.groups
        return {
            group: self._mean([other == group for other in groups])
            for group in dict.fromkeys(groups)
        }

    @property
    def absent(self) -> list[str]:
        r"""Names of the absent classes."""
        missing = self.iou.isnan().tolist()
        return [name for name, gone in zip(self.labels.names, missing, strict=True) if gone]

    def __str__(self) -> str:
        r"""A table of the classes in percent, then what is absent, the means, what is lacking.

        Beside the value of a class stand the vertices that have it, those of them that were
        found, and those that have it or were taken for it.
        """
        width = max(map(len, self.labels.names))
        lines = [f"{'class':<{width}}  {'IoU':>6}  {'vertices':>11}  {'hits':>11}  {'union':>11}"]
        true = self.confusion.sum(dim=1)
        hits = self.confusion.diagonal()
        union = true + self.confusion[:, :-1].sum(dim=0) - hits
        for name, value, *counts in zip(
            self.labels.names,
            self.iou.tolist(),
            *map(Tensor.tolist, (true, hits, union)),
            strict=True,
        ):
            shown = "absent" if math.isnan(value) else f"{100 * value:.1f}"
            lines.append(
                "  ".join([f"{name:<{width}}", f"{shown:>6}", *(f"{n:>11,}" for n in counts)])
            )
        if self.absent:
            lines.append(
                f"absent: {', '.join(self.absent)}; left out of the mean, which would be "
                f"{100 * self.miou_absent_as_zero:.1f} with 0 for each"
            )
        for group, mean in self.group_miou.items():
            number = self.labels.groups.count(group)
            lines.append(f"mIoU of the {number} {group} classes: {100 * mean:.1f}")
        if self.labels.in_val:
            number = sum(self.labels.in_val)
            lines.append(f"mIoU of the {number} classes in val: {100 * self.miou_in_val:.1f}")
            number = self.labels.num_classes
            zero = 100 * self.miou_absent_as_zero
            lines.append(f"mIoU of all {number} classes, 0 for absent ones: {zero:.1f}")
        if self.lacking:
            names = shortened(self.lacking)
            lines.append(
                f"{len(self.lacking)} scans of the split not prepared, not scored: {names}"
            )
        lines.append(f"mIoU: {100 * self.miou:.1f}")
        return "\n".join(lines)

    def _mean(self, counted: Sequence[bool]) -> float:
        return float(self.iou[torch.tensor(counted)].nanmean())
