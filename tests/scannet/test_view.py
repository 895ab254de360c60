import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from latentgraph.scannet import ScanError
from latentgraph.scannet.checkpoint import load_checkpoint, save_checkpoint
from latentgraph.scannet.colorings import Heat
from latentgraph.scannet.labels import SCANNET20
from latentgraph.scannet.network_config import Context, NetworkConfig, TrainedOn
from latentgraph.scannet.picture import Picture
from latentgraph.scannet.points import read_points
from latentgraph.scannet.reader import read_scan
from latentgraph.scannet.segmenter import Segmenter
from latentgraph.scannet.view import view


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    context = Context("LatentGNN", {"latent_dims": [3], "reduction": 1})
    config = NetworkConfig(voxel_size=0.4, channels=(3, 5), context=context, context_levels=(0, 1))
    path = tmp_path / "a.ckpt"
    save_checkpoint(Segmenter(config, TrainedOn("rooms", 7)), path)
    return path


@pytest.fixture
def scan(rooms: Path) -> Path:
    return rooms / "scans" / "scene0011_00"


def test_a_scan_alone(scan: Path, tmp_path: Path) -> None:
    page, height = view(scan, out=tmp_path / "out")
    assert page == tmp_path / "out" / "page.html"
    assert 2 < height < 3
    assert [path.name for path in page.parent.iterdir()] == ["page.html"]
    text = page.read_text()
    assert '"True labels"' in text
    assert '"Predicted labels"' not in text


def test_meshes_in_the_colors_of_the_page(scan: Path, checkpoint: Path, tmp_path: Path) -> None:
    block = "network.context.1"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page, _ = view(scan, checkpoint, tmp_path / "out", block, ply=True)
    found = {path.stem: read_points(path) for path in page.parent.glob("*.ply")}
    assert set(found) == {
        *("colors", "true_labels", "predicted_labels", "confidence", "errors"),
        *("network_context_1", *(f"network_context_1_latent_{k}" for k in range(3))),
    }
    mesh = read_points(scan / "scene0011_00_vh_clean_2.ply")
    truth = read_points(scan / "scene0011_00_vh_clean_2.labels.ply").label
    assert truth is not None
    for points in found.values():
        assert np.array_equal(points.pos, mesh.pos)
        assert np.array_equal(points.faces, mesh.faces)
    assert np.array_equal(found["colors"].color, mesh.color)
    index, palette = SCANNET20.encode(truth), torch.tensor(SCANNET20.colors)
    shown = palette[index]
    assert np.array_equal(found["true_labels"].color[index >= 0], shown[index >= 0])
    # An error is where both labels differ.
    predicted = found["predicted_labels"].color
    assert predicted is not None
    wrong = (predicted != shown.numpy()).any(axis=1)[index >= 0]
    errors = found["errors"].color
    assert errors is not None
    assert wrong.any()
    assert len(np.unique(errors[index >= 0][wrong], axis=0)) == 1
    right = errors[index >= 0][~wrong]
    assert not (right == errors[index >= 0][wrong][0]).all(axis=1).any()


def test_all_blocks_are_shown(scan: Path, checkpoint: Path, tmp_path: Path) -> None:
    text = view(scan, checkpoint, tmp_path / "out").page.read_text()
    assert '"network.context.0"' in text
    assert '"network.context.1"' in text
    assert "The network has learned from 7 rooms." in text


def test_a_block_that_is_not_there(scan: Path, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"got 'network\.context\.7'"):
        view(scan, checkpoint, tmp_path / "out", "network.context.7")
    with pytest.raises(ValueError, match="expected a checkpoint"):
        view(scan, None, tmp_path / "out", "network.context.0")
    with pytest.raises(ScanError, match="no such file"):
        view(tmp_path / "none.ply", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_confidence_is_the_probability_of_the_class(scan: Path, checkpoint: Path) -> None:
    segmenter = load_checkpoint(checkpoint)
    picture = Picture(read_scan(scan), segmenter.labels)
    predicted = picture.add_prediction(segmenter)
    (heat,) = (coloring for coloring in picture.colorings if isinstance(coloring, Heat))
    voxels = segmenter.voxelize(picture.data)
    with torch.no_grad():
        score = segmenter.eval()(voxels)[voxels.voxel_index].softmax(dim=1)
    assert torch.equal(predicted, score.argmax(dim=1))
    np.testing.assert_allclose(heat.values, score.amax(dim=1), atol=1e-5)
