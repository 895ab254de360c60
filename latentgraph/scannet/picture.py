r"""What there is to see of a scene: its colorings, what to say beside them, where to write them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from torch import Tensor
from torch_geometric.data import Data

from latentgraph.scannet import prepared
from latentgraph.scannet.colorings import Classes, Coloring, Colors, Heat
from latentgraph.scannet.frame import doubt, height
from latentgraph.scannet.labels import LabelSet
from latentgraph.scannet.page import write_page
from latentgraph.scannet.reader import Scan
from latentgraph.scannet.score import Score, confusion_matrix
from latentgraph.scannet.segmenter import Segmenter
from latentgraph.scannet.votes import ONE_VOTE, Votes

PREDICTION = "Predicted labels"


class Written(NamedTuple):
    r"""What was written of a scene.

    Attributes:
        page: The HTML page.
        height: From the lowest to the highest vertex, in meters.
    """

    page: Path
    height: float


@dataclass
class Picture:
    r"""A scene and its colorings.

    Args:
        scan: The scan.
        labels: The classes.
        data: The scan as a network takes it.
        colorings: Ways to color its vertices.
        notes: Sentences about it.
        warning: What stands out among them.
    """

    scan: Scan
    labels: LabelSet
    data: Data = field(init=False)
    colorings: list[Coloring] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warning: str | None = None

    def __post_init__(self) -> None:
        content, remarks = prepared.pack(self.scan), list(self.scan.remarks)
        if prepared.has_other_labels(content, self.labels):
            del content["nyu40"]
            remarks.append(f"its labels are not those of {self.labels.name}: shown without")
        self.data = prepared.to_data(content, self.labels)
        pos = self.scan.pos
        self.notes += [f"{len(pos):,} vertices, {height(pos):.2f} m high."]
        self.colorings.append(Colors("Colors", self.scan.color))
        if "y" in self.data:
            self._add_classes("True labels", self.data.y)
        odd = doubt(pos)
        unknown = (f"{what}: left unannotated" for what in self.scan.unknown)
        for remark in [*unknown, *remarks, *([odd] if odd else [])]:
            warnings.warn(f"{self.scan.name}: {remark}", stacklevel=4)
            self.notes.append(remark)

    def add_prediction(self, segmenter: Segmenter, votes: Votes = ONE_VOTE) -> Tensor:
        r"""Label the scene, compare with the truth, and say what the network has learned from.

        Args:
            segmenter: The network.
            votes: How it looks at the scene.

        Returns:
            (V,) class indices.
        """
        confidence, predicted = segmenter.scores(self.data, votes).cpu().max(dim=1)
        self._add_classes(PREDICTION, predicted)
        self.colorings.append(Heat("Confidence", confidence.numpy()))
        self._warn_of_rooms(segmenter)
        if "y" not in self.data or not (self.data.y >= 0).any():
            return predicted
        wrong = predicted != self.data.y
        wrong = wrong.long().where(self.data.y >= 0, -1)
        colors = Classes.palette((150, 190, 150), (214, 39, 40))
        errors = Classes("Errors", wrong.numpy(), ("right", "wrong"), colors, legend="errors")
        self.colorings.append(errors)
        score = Score(
            confusion_matrix(predicted, self.data.y, self.labels.num_classes), self.labels
        )
        hits = score.confusion.diagonal().sum() / score.confusion.sum()
        self.notes.append(
            f"{100 * float(hits):.1f} % of the labeled vertices are right; "
            f"mIoU of this scene alone: {100 * score.miou:.1f}."
        )
        return predicted

    def write_page(self, folder: Path) -> Written:
        r"""Write ``page.html`` into a folder."""
        page = folder / "page.html"
        scan = self.scan
        write_page(page, scan.name, scan.pos, self.colorings, self.notes, self.warning, PREDICTION)
        return Written(page, height(scan.pos))

    def _add_classes(self, title: str, index: Tensor) -> None:
        self.colorings.append(Classes.of(self.labels, title, index.numpy()))

    def _warn_of_rooms(self, segmenter: Segmenter) -> None:
        trained_on = segmenter.trained_on
        if trained_on is None:
            return
        self.notes.append(
            f"The network has learned from {trained_on.scenes:,} {trained_on.source}."
        )
        if trained_on.generated and not self.scan.generated:
            self.warning = (
                f"The network has learned from generated {trained_on.source}: "
                "its labels on real scans will be wrong."
            )
            warnings.warn(self.warning, stacklevel=4)


def folder_for(out: str | Path | None, default: str, scan: str | Path) -> Path:
    r"""The folder to write pictures of a scan to.

    Args:
        out: As asked for; None for a folder :obj:`default` with one for each scan.
        default: As above.
        scan: Where the scan lies.

    Raises:
        ValueError: If the folder holds the scan.
        NotADirectoryError: If a file stands in its way.
    """
    place = Path(scan).resolve()
    name = (place.name if place.is_dir() else place.stem).strip(".") or "scan"
    folder = Path(default, name) if out is None else Path(out)
    if folder.resolve() == (place if place.is_dir() else place.parent):
        raise ValueError(f"{folder} holds the input: choose another --out")
    for part in (folder, *folder.parents):
        if part.exists() and not part.is_dir():
            raise NotADirectoryError(f"expected a folder as --out, got {folder}: {part} is a file")
    return folder
