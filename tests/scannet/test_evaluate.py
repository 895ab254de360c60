from pathlib import Path

import pytest
import torch
from raw_scans import MakeScan

from latentgraph.cli import main
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


def test_what_went_wrong_in_a_loading_process_is_one_line(
    make_scan: MakeScan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_scan("scene0011_00", segs=None)
    network = NetworkConfig(labels="scannet200", voxel_size=0.4, channels=(3, 5))
    save_checkpoint(Segmenter(network), tmp_path / "a.ckpt")
    command = ["evaluate", str(tmp_path / "a.ckpt"), str(tmp_path), "--accelerator", "cpu"]
    assert main(command) == 1
    reason = "labels of scannet200 need segs, aggregation and label table"
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == f"latentgraph: error: scene0011_00: {reason}"
