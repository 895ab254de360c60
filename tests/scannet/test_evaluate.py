from pathlib import Path

import pytest
import torch

from latentgraph.scannet import ScanNet, confusion_matrix
from latentgraph.scannet.checkpoint import save_checkpoint
from latentgraph.scannet.evaluate import evaluate
from latentgraph.scannet.segmenter import NetworkConfig, Segmenter

pytestmark = pytest.mark.filterwarnings(
    "ignore:The '.*dataloader' does not have many workers",
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
)


@pytest.fixture
def segmenter() -> Segmenter:
    return Segmenter(NetworkConfig(voxel_size=0.4, channels=(3, 5)))


def test_vertices_of_all_scenes_are_counted(
    segmenter: Segmenter, rooms: Path, tmp_path: Path
) -> None:
    save_checkpoint(segmenter, tmp_path / "a.ckpt")
    score = evaluate(tmp_path / "a.ckpt", rooms, num_workers=0, accelerator="cpu")
    expected = torch.zeros(20, 21, dtype=torch.int64)
    for scene in ScanNet(rooms, "val"):
        expected += confusion_matrix(segmenter.predict(scene), scene.y, 20)
    assert torch.equal(score.confusion, expected)
    assert score.labels == segmenter.labels


def test_a_split_without_scenes(segmenter: Segmenter, tmp_path: Path) -> None:
    save_checkpoint(segmenter, tmp_path / "a.ckpt")
    with pytest.raises(FileNotFoundError, match="val"):
        evaluate(tmp_path / "a.ckpt", tmp_path / "nowhere", accelerator="cpu")
