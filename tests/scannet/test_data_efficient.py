from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from raw_scans import CLASS, VERTICES, MakeScan

from latentgraph.scannet import ScanNet
from latentgraph.scannet.data_efficient import keep_annotated, read_annotated, read_scene_list
from latentgraph.scannet.data_module import SceneDataModule
from latentgraph.scannet.network_config import NetworkConfig
from latentgraph.scannet.segmenter import Segmenter


@pytest.fixture
def root(make_scan: MakeScan, tmp_path: Path) -> Path:
    for name in ("scene0000_00", "scene0001_00", "scene0002_00", "scene0011_00"):
        make_scan(name)
    return tmp_path


def _save(folder: Path, content: Any) -> Path:
    path = folder / "points20"
    torch.save(content, path)
    return path


def test_the_scenes_of_a_list(root: Path) -> None:
    path = root / "1.txt"
    path.write_text("scene0002_00\r\nscene0000_00\n\n")
    assert read_scene_list(path) == ["scene0002_00", "scene0000_00"]
    assert ScanNet(root, "train", scene_list=path).scenes == ["scene0000_00", "scene0002_00"]
    path.write_text("scene0002_00\nscene0003_00\nscene0011_00\n")
    said = "1.txt names scenes that are not in train: scene0003_00, scene0011_00"
    with pytest.raises(FileNotFoundError, match=said):
        ScanNet(root, "train", scene_list=path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the list is empty"),
        (b"kitchen\n", "got 'kitchen'"),
        (b"\xff", "name of a scene"),
        (None, "No such file"),
    ],
)
def test_files_that_are_no_list(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "1.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_scene_list(path)


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor, lambda i: np.array(i, np.int32)])
def test_annotated_points_alone_have_a_class(root: Path, kind: Any) -> None:
    indices = [3, 17, 34, 8]
    path = _save(root, {f"scene000{i}_00": kind(indices) for i in range(3)})
    expected = np.full(VERTICES, -1)
    expected[indices] = CLASS[indices]
    train = ScanNet(root, "train", annotated=path)
    for scene in train:
        np.testing.assert_array_equal(scene.y, expected)
    assert (np.asarray(ScanNet(root, "train")[0].y) == CLASS).all()


def test_scenes_without_points_are_named(root: Path) -> None:
    path = _save(root, {"scene0000_00": [1]})
    with pytest.raises(FileNotFoundError, match=r"no points of: scene0001_00, scene0002_00$"):
        ScanNet(root, "train", annotated=path)
    names = root / "1.txt"
    names.write_text("scene0000_00")
    assert len(ScanNet(root, "train", scene_list=names, annotated=path)) == 1
    path = _save(root, {f"scene000{i}_00": [VERTICES] for i in range(3)})
    with pytest.raises(ValueError, match="scene0000_00: expected annotated vertices from 0 to 34"):
        ScanNet(root, "train", annotated=path)[0]


class _Harm:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("this must not run",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "expected a dictionary of scenes, got list"),
        ({}, "expected a dictionary of scenes"),
        ({3: [1]}, "expected names of scenes, got 3"),
        ({"a": [0.5]}, "a: expected a vector of integers, got torch.float64"),
        ({"a": [[1]]}, r"a: expected a vector of integers, got torch.int64 of shape \(1, 1\)"),
        ({"a": [True]}, "a: expected a vector of integers, got torch.bool"),
        ({"a": "b"}, "a: expected indices of vertices"),
        ({"a": _Harm()}, "expected a file of torch.save"),
    ],
)
def test_files_that_hold_no_points(
    tmp_path: Path, content: Any, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match=message):
        read_annotated(_save(tmp_path, content))
    assert capsys.readouterr().out == ""


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a file of torch\.save"):
        read_annotated(tmp_path / "points20")
    (tmp_path / "points20").write_bytes(b"1 2 3\n")
    with pytest.raises(ValueError, match=r"expected a file of torch\.save"):
        read_annotated(tmp_path / "points20")
    (tmp_path / "points20").write_bytes(b"")
    with pytest.raises(ValueError, match=r"expected a file of torch\.save: \w"):
        read_annotated(tmp_path / "points20")


def test_no_point_at_all() -> None:
    kept = keep_annotated(torch.tensor([2, 0, 1]), torch.tensor([], dtype=torch.long), "a")
    assert kept.tolist() == [-1, -1, -1]


def test_training_alone_has_fewer_labels(root: Path) -> None:
    names = root / "1.txt"
    names.write_text("scene0001_00")
    points = _save(root, {"scene0001_00": [0, 13]})
    data = SceneDataModule(root, scene_list=names, annotated=points)
    segmenter = Segmenter(NetworkConfig(voxel_size=0.4, channels=(3, 5)))
    data.trainer = cast(Any, SimpleNamespace(lightning_module=SimpleNamespace(segmenter=segmenter)))
    assert data.scenes("train").scenes == ["scene0001_00"]
    assert int(data.class_counts().sum()) == 2
    assert data.scenes("val").scenes == ["scene0011_00"]
    np.testing.assert_array_equal(data.scenes("val")[0].y, CLASS)
