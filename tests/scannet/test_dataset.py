import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from raw_scans import CLASS, VERTICES, MakeScan, grid, mesh_bytes
from torch_geometric.loader import DataLoader

from latentgraph.scannet import ScanError, ScanNet, Voxelize
from latentgraph.scannet.check import check
from latentgraph.scannet.rooms import write_rooms


def test_the_scenes_of_a_split(make_scan: MakeScan, tmp_path: Path) -> None:
    for name in ("scene0011_01", "scene0000_00", "scene0707_00", "scene0011_00"):
        make_scan(name)
    val = ScanNet(tmp_path, "val")
    assert val.scenes == ["scene0011_00", "scene0011_01"]
    assert len(val) == 2
    assert [data.name for data in val] == val.scenes
    torch.testing.assert_close(val[0].y, torch.from_numpy(CLASS))
    assert "y" not in ScanNet(tmp_path, "test")[0]
    # Scenes of another split are not prepared on the way.
    assert not (tmp_path / "prepared" / "scene0000_00.pt").exists()


def test_dimensions_and_dtypes(make_scan: MakeScan, tmp_path: Path) -> None:
    make_scan()
    data = ScanNet(tmp_path, "train", out=tmp_path / "out")[0]
    shapes = {
        key: (value.dtype, tuple(value.shape))
        for key, value in data.to_dict().items()
        if key != "name"
    }
    three = (torch.float32, (VERTICES, 3))
    one = (torch.int64, (VERTICES,))
    assert shapes == {"pos": three, "color": three, "normal": three, "y": one, "instance": one}
    assert float(data.color.max()) <= 1.0


def test_generated_rooms_go_the_same_way(tmp_path: Path) -> None:
    write_rooms(tmp_path, num_train=1, num_val=1, num_test=1, progress=False)
    assert check(tmp_path, progress=False).remarks == {
        "scene0000_00": [],
        "scene0011_00": [],
        "scene0707_00": [],
    }
    data = ScanNet(tmp_path, "train")[0]
    assert set(data.keys()) == {"pos", "color", "normal", "y", "instance", "room", "name"}
    assert int(data.y.max()) < 20
    assert float((data.y >= 0).float().mean()) > 0.9
    length = data.normal.norm(dim=1)
    assert float(((length - 1).abs() < 1e-5).float().mean()) > 0.99
    assert "y" not in ScanNet(tmp_path, "test")[0]


def test_prepared_scenes_are_enough(make_scan: MakeScan, tmp_path: Path) -> None:
    make_scan("scene0000_00")
    make_scan("scene0011_00")
    out = tmp_path / "out"
    ScanNet(tmp_path, "train", out=out)
    ScanNet(tmp_path, "val", out=out)
    shutil.rmtree(tmp_path / "scans")
    assert ScanNet(tmp_path, "val", out=out)[0].name == "scene0011_00"
    with pytest.raises(FileNotFoundError, match=r"no scans of test under .* nor prepared in"):
        ScanNet(tmp_path, "test", out=out)


def test_a_split_without_scenes(make_scan: MakeScan, tmp_path: Path) -> None:
    make_scan("scene0000_00")
    with pytest.raises(FileNotFoundError, match="there are no scans of val under"):
        ScanNet(tmp_path, "val")
    make_scan("scene0011_00", mesh=None)
    with pytest.raises(FileNotFoundError, match=r"no scan of val under .* can be used"):
        ScanNet(tmp_path, "val")
    with pytest.raises(ValueError, match="got 'dev'"):
        ScanNet(tmp_path, "dev")


def test_scans_left_out_are_named(make_scan: MakeScan, tmp_path: Path) -> None:
    make_scan("scene0000_00")
    make_scan("scene0001_00", mesh=b"ply\n")
    with pytest.warns(UserWarning, match="left out: scene0001_00: .*cut off"):
        train = ScanNet(tmp_path, "train")
    assert train.scenes == ["scene0000_00"]


def test_labels_that_are_no_class_are_told(make_scan: MakeScan, tmp_path: Path) -> None:
    pos, color, faces = grid()
    make_scan(labels=mesh_bytes(pos, color, faces, np.full(len(pos), 50)))
    with pytest.warns(UserWarning, match="scene0000_00: vertices whose label is no class"):
        ScanNet(tmp_path, "train")


def test_labels_and_alignment(make_scan: MakeScan, tmp_path: Path) -> None:
    make_scan("scene0000_00")
    make_scan("scene0707_00")
    assert ScanNet(tmp_path, "train", labels="scannet200")[0].y.unique().tolist() == [-1, 0, 1]
    with pytest.raises(ValueError, match="got 'scannet21'"):
        ScanNet(tmp_path, "train", labels="scannet21")
    moved = ScanNet(tmp_path, "train", align=True)[0].pos
    assert float((moved - ScanNet(tmp_path, "train")[0].pos).abs().max()) > 1
    with pytest.raises(ScanError, match="scene0707_00 has no axis alignment"):
        ScanNet(tmp_path, "test", align=True)[0]


def test_changes_to_an_item_stay_out_of_the_file(make_scan: MakeScan, tmp_path: Path) -> None:
    make_scan()
    train = ScanNet(tmp_path, "train")
    train[0].pos.add_(1000)
    assert float(train[0].pos.max()) < 1000


def test_subsets_and_transforms(make_scan: MakeScan, tmp_path: Path) -> None:
    for space in range(5):
        make_scan(f"scene{space:04d}_00")
    train = ScanNet(tmp_path, "train", transform=Voxelize(0.15))
    assert [data.name for data in train[1:3]] == ["scene0001_00", "scene0002_00"]
    assert train[0].num_nodes < VERTICES


@pytest.mark.parametrize("workers", [0, 1])
def test_batches(make_scan: MakeScan, tmp_path: Path, workers: int) -> None:
    for space in range(3):
        make_scan(f"scene{space:04d}_00")
    train = ScanNet(tmp_path, "train", transform=Voxelize(0.15))
    batch = next(iter(DataLoader(train, batch_size=3, num_workers=workers)))
    n = train[0].num_nodes
    assert batch.num_graphs == 3
    assert batch.name == train.scenes
    # Each vertex names a voxel of its own scene.
    expected = torch.arange(3).repeat_interleave(VERTICES)
    assert torch.equal(batch.batch[batch.voxel_index], expected)
    assert torch.equal(batch.voxel_index[:VERTICES] + 2 * n, batch.voxel_index[2 * VERTICES :])
    assert batch.vertex_y.shape == (3 * VERTICES,)


def test_it_can_be_sent_to_another_process(make_scan: MakeScan, tmp_path: Path) -> None:
    make_scan()
    train = ScanNet(tmp_path, "train")
    copy = pickle.loads(pickle.dumps(train))  # noqa: S301
    assert torch.equal(copy[0].pos, train[0].pos)
