import sys
from pathlib import Path

import pytest

from latentgraph.scannet.curves import draw_curves, read_curves

STEPS = [(3, 0.5), (7, 0.25), (11, 0.125)]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    writer = pytest.importorskip("torch.utils.tensorboard").SummaryWriter(str(tmp_path / "run"))
    for step, value in STEPS:
        writer.add_scalar("train/loss", value, step)
        writer.add_scalar("epoch", 0, step)
    writer.add_scalar("val/mIoU", 31, 11)
    writer.close()
    return tmp_path / "run"


def test_what_was_logged_is_read(run: Path) -> None:
    assert read_curves(run) == {"train/loss": STEPS, "val/mIoU": [(11, 31)]}


def test_curves_become_a_picture(run: Path, tmp_path: Path) -> None:
    image = pytest.importorskip("matplotlib.image")
    assert draw_curves(run) == run / "curves.png"
    pixels = image.imread(run / "curves.png")
    assert pixels.shape[:2] == (360, 960)  # two curves
    assert (pixels < 0.5).any()
    assert draw_curves(run, tmp_path / "a.png") == tmp_path / "a.png"


def test_no_run(run: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected the folder of a run"):
        draw_curves(tmp_path)
    with pytest.raises(IsADirectoryError, match="expected a file"):
        draw_curves(run, tmp_path)
    (tmp_path / "events.out.tfevents.0").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="has logged nothing yet"):
        draw_curves(tmp_path)


def test_a_package_that_is_missing(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(
        ImportError, match=r"to draw curves: pip install 'latentgraph\[inspection\]'"
    ):
        draw_curves(run)
    assert not (run / "curves.png").exists()
