import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from latentgraph.cli import main
from latentgraph.scannet import ScanError
from latentgraph.scannet.checkpoint import save_checkpoint
from latentgraph.scannet.labels import SCANNET20
from latentgraph.scannet.network_config import NetworkConfig, TrainedOn
from latentgraph.scannet.ply import write_ply
from latentgraph.scannet.points import read_points
from latentgraph.scannet.predict import predict
from latentgraph.scannet.rooms import write_rooms
from latentgraph.scannet.segmenter import Segmenter

VERTICES = 131


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    network = Segmenter(NetworkConfig(voxel_size=0.4, channels=(3, 5)), TrainedOn("rooms", 7))
    save_checkpoint(network, tmp_path / "a.ckpt")
    return tmp_path / "a.ckpt"


@pytest.fixture
def cloud(tmp_path: Path) -> Path:
    r"""A file of one's own: points without normals, faces and labels."""
    random = np.random.default_rng(0)
    path = tmp_path / "own" / "my scan.ply"
    path.parent.mkdir()
    pos = random.uniform(0, 3, (VERTICES, 3)).astype(np.float32)
    write_ply(path, pos, random.integers(0, 256, (VERTICES, 3)).astype(np.uint8))
    return path


def test_a_generated_scene(rooms: Path, checkpoint: Path, tmp_path: Path) -> None:
    scan = rooms / "scans" / "scene0011_00"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        page, height = predict(scan, checkpoint, tmp_path / "out")
    assert not caught
    assert page == tmp_path / "out" / "page.html"
    assert {path.name for path in page.parent.iterdir()} == {"page.html", "prediction.ply"}
    mesh = read_points(scan / "scene0011_00_vh_clean_2.ply")
    found = read_points(page.parent / "prediction.ply")
    assert np.array_equal(found.pos, mesh.pos)
    assert height == pytest.approx(np.ptp(mesh.pos[:, 2]))
    assert np.array_equal(found.faces, mesh.faces)
    assert set(np.unique(found.label)) <= set(SCANNET20.ids)
    shown = torch.tensor(SCANNET20.colors)[SCANNET20.encode(torch.tensor(found.label))]
    assert np.array_equal(found.color, shown)
    text = page.read_text()
    assert "True labels" in text
    assert "The network has learned from 7 rooms." in text
    assert "of the labeled vertices are right" in text
    assert "will be wrong" not in text


def test_a_generated_test_scan(checkpoint: Path, tmp_path: Path) -> None:
    write_rooms(tmp_path, num_train=0, num_val=0, num_test=1)
    (scan,) = (tmp_path / "scans_test").iterdir()
    page, _ = predict(scan, checkpoint, tmp_path / "out")  # a warning would be an error
    text = page.read_text()
    assert "True labels" not in text
    assert "will be wrong" not in text


@pytest.mark.filterwarnings("ignore:.* labels are those of labels.ply")
def test_labels_of_another_set_are_not_compared(tmp_path: Path) -> None:
    network = Segmenter(NetworkConfig("scannet200", voxel_size=0.4, channels=(3, 5)))
    save_checkpoint(network, tmp_path / "a.ckpt")
    write_rooms(tmp_path, num_train=1, num_val=0)
    (scan,) = (tmp_path / "scans").iterdir()
    (scan / f"{scan.name}.aggregation.json").unlink()
    with pytest.warns(UserWarning, match="its labels are not those of scannet200: shown without"):
        page, _ = predict(scan, tmp_path / "a.ckpt", tmp_path / "out")
    text = page.read_text()
    assert "True labels" not in text
    assert "mIoU of this scene" not in text


def test_a_prediction_lies_where_the_scan_does(checkpoint: Path, tmp_path: Path) -> None:
    there = np.random.default_rng(0).uniform(0, 3, (VERTICES, 3))
    there += np.array([456_789, 5_432_109, 431])
    np.savetxt(tmp_path / "map.xyz", there, fmt="%.9f")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        page, _ = predict(tmp_path / "map.xyz", checkpoint, tmp_path / "out")
    assert "counted from" in " ".join(str(warning.message) for warning in caught)
    found = read_points(page.parent / "prediction.ply").pos
    np.testing.assert_allclose(found, there, rtol=0, atol=1e-6)


def test_a_device_that_is_not_there(
    cloud: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("predict", "view"):
        out = tmp_path / command
        arguments = [command, str(cloud), "--checkpoint", str(checkpoint), "--out", str(out)]
        assert main([*arguments, "--device", "cuda:77"]) == 1
        assert "expected a device that torch has here, got cuda:77: " in capsys.readouterr().err
        assert not out.exists()


def test_a_file_of_ones_own(
    cloud: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        page, height = predict(cloud, checkpoint)
    assert height == pytest.approx(np.ptp(read_points(cloud).pos[:, 2]))
    said = " ".join(str(warning.message) for warning in caught)
    assert "labels on real scans will be wrong" in said
    assert "normals are estimated" in said
    assert page == Path("predictions/my scan/page.html")
    assert list(cloud.parent.iterdir()) == [cloud]
    assert len(read_points(page.parent / "prediction.ply")) == VERTICES
    text = page.read_text()
    assert "True labels" not in text
    assert "will be wrong" in text
    assert "normals are estimated" in text


def test_a_file_in_other_units_with_another_axis_up(
    cloud: Path, checkpoint: Path, tmp_path: Path
) -> None:
    points = read_points(cloud)
    own = tmp_path / "own" / "own.ply"
    write_ply(own, 1000 * points.pos[:, [1, 2, 0]], np.full_like(points.pos, 9, dtype=np.uint8))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        page, height = predict(own, checkpoint, tmp_path / "a", unit="mm", up="y")
    assert "--unit" not in " ".join(str(warning.message) for warning in caught)
    assert height == pytest.approx(np.ptp(points.pos[:, 2]), rel=1e-5)
    found = read_points(page.parent / "prediction.ply")
    np.testing.assert_allclose(found.pos, points.pos, rtol=1e-6)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        page, height = predict(own, checkpoint, tmp_path / "b")
    assert any("(--unit)" in str(w.message) and "(--up)" in str(w.message) for w in caught)
    assert height > 2000
    assert "--unit" in page.read_text()


def test_scans_of_the_release_are_in_meters(rooms: Path, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="in meters with z up, got unit cm with z up"):
        predict(rooms / "scans" / "scene0011_00", checkpoint, tmp_path / "out", unit="cm")


def test_nothing_is_written_beside_the_input(cloud: Path, rooms: Path, checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="holds the input: choose another --out"):
        predict(cloud, checkpoint, cloud.parent)
    scan = rooms / "scans" / "scene0011_00"
    for source in (scan, scan / "scene0011_00_vh_clean_2.ply"):
        with pytest.raises(ValueError, match="holds the input"):
            predict(source, checkpoint, scan)
    assert not (scan / "page.html").exists()


def test_without_a_checkpoint_it_says_how_to_get_one(cloud: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no checkpoint given; train one with"):
        predict(cloud, None)


def test_a_file_that_cannot_be_read_leaves_nothing(checkpoint: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.ply"
    broken.write_bytes(b"ply\nformat")
    with pytest.raises(ScanError, match="not a PLY file"):
        predict(broken, checkpoint, tmp_path / "out")
    assert not (tmp_path / "out").exists()
