from pathlib import Path

import numpy as np
import pytest
import torch
from raw_scans import CLASS, INSTANCE, NYU40, VERTICES, MakeScan, grid

from latentgraph.scannet import prepared
from latentgraph.scannet.labels import SCANNET20, SCANNET200
from latentgraph.scannet.points import ScanError
from latentgraph.scannet.reader import read_scan


def test_what_is_written_is_read(make_scan: MakeScan, tmp_path: Path) -> None:
    content = prepared.pack(read_scan(make_scan()), {"mesh": [3, 5]})
    path = tmp_path / "scene.pt"
    prepared.write(content, path)
    again = prepared.read(path)
    assert again.keys() == content.keys()
    for key, value in content.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(again[key], value)
            assert again[key].dtype == value.dtype
        else:
            assert again[key] == value
    assert again["source"] == {"mesh": [3, 5]}
    assert [file.name for file in tmp_path.glob("*.pt*")] == ["scene.pt"]


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "scene.pt"
    prepared.write({"format": prepared.FORMAT, "first": 1}, path)

    def half(content: object, part: Path) -> None:
        part.write_bytes(b"half")
        raise OSError("the disk is full")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match="the disk is full"):
        prepared.write({}, path)
    assert list(tmp_path.iterdir()) == [path]
    assert prepared.read(path)["first"] == 1


def test_scene_as_data(make_scan: MakeScan) -> None:
    data = prepared.to_data(prepared.pack(read_scan(make_scan())), SCANNET20)
    pos, color, _ = grid()
    assert set(data.keys()) == {"pos", "color", "normal", "y", "instance", "name"}
    torch.testing.assert_close(data.pos, torch.from_numpy(pos))
    torch.testing.assert_close(data.color, torch.from_numpy(color) / 255)
    torch.testing.assert_close(data.y, torch.from_numpy(CLASS))
    torch.testing.assert_close(data.instance, torch.from_numpy(INSTANCE))
    assert data.num_nodes == VERTICES
    assert data.name == "scene0000_00"


def test_labels_of_both_benchmarks_from_one_preparation(make_scan: MakeScan) -> None:
    content = prepared.pack(read_scan(make_scan()))
    y = prepared.to_data(content, SCANNET200).y
    assert y.unique().tolist() == [-1, 0, 1]  # the raw id 1357 is none of the 200
    assert torch.equal(SCANNET200.decode(y)[NYU40 == 5], torch.full((10,), 2))
    del content["category"]
    with pytest.raises(ScanError, match="labels of scannet200 need segs, aggregation and label"):
        prepared.to_data(content, SCANNET200)
    del content["nyu40"]
    assert "y" not in prepared.to_data(content, SCANNET200)


def test_alignment_moves_positions_and_turns_normals(make_scan: MakeScan) -> None:
    content = prepared.pack(read_scan(make_scan()))
    content["normal"] = torch.tensor([[1.0, 0.0, 0.0]]).expand(VERTICES, 3)
    data = prepared.to_data(content, SCANNET20, align=True)
    x, y, z = content["pos"].unbind(1)
    torch.testing.assert_close(data.pos, torch.stack([2 - y, 3 + x, z + 0.5], dim=1))
    torch.testing.assert_close(data.normal, torch.tensor([[0.0, 1.0, 0.0]]).expand(VERTICES, 3))
    del content["alignment"]
    with pytest.raises(ScanError, match="scene0000_00 has no axis alignment"):
        prepared.to_data(content, SCANNET20, align=True)


def test_files_that_are_no_prepared_scene(tmp_path: Path) -> None:
    path = tmp_path / "scene.pt"
    with pytest.raises(ScanError, match=r"scene\.pt: no prepared scene: .*No such file"):
        prepared.read(path)
    prepared.write({"format": prepared.FORMAT, "pos": torch.zeros(1009, 3)}, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ScanError, match=r"scene\.pt: no prepared scene"):
        prepared.read(path)
    prepared.write({"format": prepared.FORMAT + 1}, path)
    with pytest.raises(ScanError, match="prepared by another version"):
        prepared.read(path)
    torch.save(np.float64, path)
    with pytest.raises(ScanError, match="no prepared scene"):
        prepared.read(path)
