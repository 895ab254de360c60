r"""ScanNet as a dataset of PyG, over prepared scenes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Container
from pathlib import Path

from torch_geometric.data import Data, Dataset

from latentgraph.scannet import prepared
from latentgraph.scannet.data_efficient import keep_annotated, read_annotated, read_scene_list
from latentgraph.scannet.labels import LabelSet, label_set
from latentgraph.scannet.prepare import prepare, prepared_folder
from latentgraph.scannet.report import shortened
from latentgraph.scannet.splits import scans_of, spaces, split_of


class ScanNet(Dataset):
    r"""The scenes of one official split of ScanNet v2, or of generated rooms in its layout.

    Scenes that are not prepared yet are prepared first, see
    :func:`~latentgraph.scannet.prepare.prepare`. An item is a :class:`~torch_geometric.data.Data`:

    * ``pos``: positions of the V vertices, (V, 3) float32, meters, z up.
    * ``color``: red, green, blue, (V, 3) float32 in [0, 1].
    * ``normal``: normals, (V, 3) float32, of length 1, or 0 where a vertex has no face.
    * ``y``: class index, (V,) int64, -1 where unannotated or of no class. Not there in test scans.
    * ``instance``: object, (V,) int64, -1 where there is none. Only where there is an aggregation.
    * ``room``: room, (V,) int64. Only in generated scenes.
    * ``name``: name of the scan, as in ``"scene0011_00"``.

    Args:
        root: Folder of the release, with ``scans/`` and ``scans_test/``. It need not be there any
            more once everything is prepared into :obj:`out`.
        split: ``"train"``, ``"val"`` or ``"test"``.
        out: Folder of the prepared scenes; by default ``prepared/`` in :obj:`root`.
        labels: Label set, ``"scannet20"`` or ``"scannet200"``. Both come from one preparation.
        transform: Applied to each item when it is read.
        align: Whether to turn and move each scene to the axes of its room. Off by default, since
            test scans have no alignment.
        scene_list: File with the names of the scenes to keep, a line each: the official lists of
            limited reconstructions, ``1.txt`` to ``20.txt``.
        annotated: File with the annotated vertices of each scene, all others get -1 in ``y``: the
            official files of limited annotations, ``points20`` to ``points200``.

    Raises:
        FileNotFoundError: If there are no scenes of this split, one of :obj:`scene_list` is not
            among them, or :obj:`annotated` does not have one of them.
        ValueError: For an unknown split or label set, or a file that is no such list.

    Warns:
        UserWarning: If scans had to be left out, with their names and the reasons.

    Example:
        >>> dataset = ScanNet("rooms", "train")  # doctest: +SKIP
        >>> dataset[0]  # doctest: +SKIP
        Data(pos=[23456, 3], color=[23456, 3], normal=[23456, 3], y=[23456], ...)
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        out: str | Path | None = None,
        labels: str | LabelSet = "scannet20",
        transform: Callable[[Data], Data] | None = None,
        align: bool = False,
        scene_list: str | Path | None = None,
        annotated: str | Path | None = None,
    ) -> None:
        spaces(split)  # refuses what is no split
        super().__init__(transform=transform)
        self.split = split
        self.labels = label_set(labels) if isinstance(labels, str) else labels
        self.align = align
        kept = None if scene_list is None else read_scene_list(scene_list)
        self.annotated = None if annotated is None else read_annotated(annotated)
        self.folder = prepared_folder(root, out)
        self.scenes = self._find_scenes(Path(root))
        if kept is not None:
            self._require(kept, self.scenes, f"{scene_list} names scenes that are not in {split}")
            self.scenes = sorted(set(kept))
        if self.annotated is not None:
            self._require(self.scenes, self.annotated, f"{annotated} has no points of")

    def _find_scenes(self, root: Path) -> list[str]:
        if not any((root / name).is_dir() for name in ("scans", "scans_test")):
            names = (path.stem for path in self.folder.glob("scene*.pt"))
            scenes = sorted(name for name in names if split_of(name) == self.split)
            if not scenes:
                raise FileNotFoundError(
                    f"there are no scans of {self.split} under {root}, nor prepared in "
                    f"{self.folder}"
                )
            return scenes
        report = prepare(root, self.folder, self.split)
        if not report.remarks:
            raise FileNotFoundError(f"no scan of {self.split} under {root} can be used:\n{report}")
        for name, reason in sorted(report.left_out.items()):
            warnings.warn(f"left out: {name}: {reason}", stacklevel=3)
        if report.unknown:
            told = "vertices whose label is no class are left unannotated"
            some = shortened(sorted(report.unknown))
            warnings.warn(f"{some}: {told}; latentgraph prepare tells which", stacklevel=3)
        return sorted(report.remarks)

    def lacking(self) -> tuple[str, ...]:
        r"""Scans that the release has in this split and that are not among the scenes; none of
        them where the scenes are generated rooms.
        """
        if "room" in prepared.read(self._file(0)):
            return ()
        there = set(self.scenes)
        return tuple(name for name in scans_of(self.split) if name not in there)

    @staticmethod
    def _require(scenes: list[str], there: Container[str], otherwise: str) -> None:
        if missing := [scene for scene in scenes if scene not in there]:
            raise FileNotFoundError(f"{otherwise}: {', '.join(missing)}")

    def len(self) -> int:
        r"""Number of scenes."""
        return len(self.scenes)

    def get(self, idx: int) -> Data:
        r"""The scene at this place of :attr:`scenes`, before the transform."""
        content = prepared.read(self._file(idx))
        data = prepared.to_data(content, self.labels, self.align)
        if self.annotated is not None and "y" in data:
            data.y = keep_annotated(data.y, self.annotated[data.name], data.name)
        return data

    def _file(self, idx: int) -> Path:
        return self.folder / f"{self.scenes[idx]}.pt"
