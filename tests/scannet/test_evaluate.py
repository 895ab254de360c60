from pathlib import Path

import pytest
import torch
from raw_scans import CATEGORY, NYU40, VERTICES, MakeScan

from latentgraph.cli import main
from latentgraph.scannet import ScanNet, confusion_matrix
from latentgraph.scannet.checkpoint import save_checkpoint
from latentgraph.scannet.evaluate import evaluate, evaluate_predictions
from latentgraph.scannet.label_file import write_ids
from latentgraph.scannet.network_config import NetworkConfig
from latentgraph.scannet.segmenter import Segmenter
from latentgraph.scannet.splits import scans_of

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
    assert score.lacking == ()  # of the release: these are generated


def test_a_split_without_scenes(segmenter: Segmenter, tmp_path: Path) -> None:
    save_checkpoint(segmenter, tmp_path / "a.ckpt")
    with pytest.raises(FileNotFoundError, match="val"):
        evaluate(tmp_path / "a.ckpt", tmp_path / "nowhere", accelerator="cpu")
    with pytest.raises(ValueError, match="should be an int > 0"):
        evaluate(tmp_path / "a.ckpt", tmp_path / "nowhere", accelerator="cpu", devices=-1)


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


@pytest.fixture
def predictions(make_scan: MakeScan, tmp_path: Path) -> Path:
    r"""The truth of two val scans as NYU40 ids, with 0 where nothing is known."""
    folder = tmp_path / "predictions"
    folder.mkdir()
    for name in ("scene0011_00", "scene0011_01"):
        make_scan(name)
        (folder / f"{name}.txt").write_bytes(write_ids(NYU40.tolist()))
    return folder


def test_predictions_of_any_tool(predictions: Path, tmp_path: Path) -> None:
    score = evaluate_predictions(predictions, tmp_path)
    assert score.miou == 1.0
    assert score.confusion.sum() == 2 * (NYU40 > 0).sum()
    assert score.lacking == tuple(scans_of("val")[2:])
    ids = NYU40.copy()
    ids[:5] = 5  # half of the wall of one scan is taken for a chair
    (predictions / "scene0011_00.txt").write_bytes(write_ids(ids.tolist()))
    score = evaluate_predictions(predictions, tmp_path)
    iou = dict(zip(score.labels.names, score.iou.tolist(), strict=True))
    assert (iou["wall"], iou["chair"], iou["door"]) == (15 / 20, 20 / 25, 1.0)
    # The same scans in the ids of the other benchmark.
    for path in predictions.iterdir():
        path.write_bytes(write_ids(CATEGORY.tolist()))
    score = evaluate_predictions(predictions, tmp_path, labels="scannet200")
    assert score.miou == 1.0
    assert score.labels.num_classes == 200


def test_foreign_ids_and_surplus_files_are_named(predictions: Path, tmp_path: Path) -> None:
    (predictions / "scene0000_00.txt").write_bytes(b"1\n")
    ids = [0, 13, *NYU40[2:].tolist()]
    (predictions / "scene0011_01.txt").write_bytes(write_ids(ids))
    # The 10 vertices without a class of their own count as nothing, whatever is said of them.
    with (
        pytest.warns(UserWarning, match=r"^not of val, and not scored: scene0000_00\.txt$"),
        pytest.warns(UserWarning, match=r": 0 on 1, 13 on 1 \(2 vertices in all\)$"),
    ):
        score = evaluate_predictions(predictions, tmp_path)
    assert score.iou[:1].tolist() == [18 / 20]


def test_predictions_that_do_not_fit(
    predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "--predictions", str(predictions), str(tmp_path)]
    # Scans of the split that are not there do not go without a word, nor what others say of them.
    (predictions / "scene0015_00.txt").write_bytes(b"1\n")
    assert main(command) == 0
    said = capsys.readouterr()
    names = "scene0015_00, scene0019_00, scene0019_01 and 307 more"
    assert said.out.splitlines()[-2:] == [
        f"310 scans of the split not prepared, not scored: {names}",
        "mIoU: 100.0",
    ]
    assert not said.err
    assert main([*command, "--labels", "scannet200", "--split", "train"]) == 1
    assert "no scans of train under" in capsys.readouterr().err
    path = predictions / "scene0011_01.txt"
    path.write_bytes(write_ids([1] * (VERTICES - 1)))
    assert main(command) == 1
    assert "scene0011_01.txt: expected 35 lines, one for each vertex, got 34" in (
        capsys.readouterr().err
    )
    path.unlink()
    assert main(command) == 1
    said = "expected a file for each of 2 scenes of val, 1 are missing: scene0011_01.txt"
    assert said in capsys.readouterr().err
    for folder, said in {
        tmp_path: "then that of the release",
        path: "with <scene>.txt of val, got",
    }.items():
        assert main(["evaluate", str(folder), str(predictions), "--predictions"]) == 1
        assert said in capsys.readouterr().err
    assert main(["evaluate", "a.ckpt", "root", "--labels", "scannet20"]) == 2
    assert "--labels goes with --predictions" in capsys.readouterr().err
    assert main(["evaluate", str(predictions), "root", "--predictions", "--flip"]) == 2
    assert "--predictions looks at no scene" in capsys.readouterr().err
