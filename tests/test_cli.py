import re
import subprocess
import sys
from pathlib import Path

import pytest

from latentgraph import __version__
from latentgraph.cli import _votes, main
from latentgraph.scannet.checkpoint import save_checkpoint
from latentgraph.scannet.labels import SCANNET20
from latentgraph.scannet.network_config import NetworkConfig
from latentgraph.scannet.segmenter import Segmenter

COMMANDS = ("rooms", "check", "prepare", "train", "evaluate", "submit", "predict", "view", "curves")

pytestmark = pytest.mark.filterwarnings(
    "ignore:The '.*dataloader' does not have many workers",
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "a.ckpt"
    save_checkpoint(Segmenter(NetworkConfig(voxel_size=0.4, channels=(3, 5))), path)
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: latentgraph {command} ")


def test_help_of_train_lists_the_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    assert "\n  demo: single generated rooms" in capsys.readouterr().out


def test_rooms_prepare_and_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "rooms"
    assert main(["rooms", str(root), "--train", "2", "--val", "1"]) == 0
    assert main(["check", str(root)]) == 0
    assert "train 2, val 1" in capsys.readouterr().out
    (root / "scans" / "scene0011_00" / "scene0011_00_vh_clean_2.ply").write_bytes(b"ply\n")
    out = tmp_path / "prepared"
    assert main(["prepare", str(root), "--out", str(out)]) == 1
    assert "left out: scene0011_00" in capsys.readouterr().out
    assert len(list(out.glob("*.pt"))) == 2


def test_evaluate_ends_with_the_table_and_the_mean(
    rooms: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", str(checkpoint), str(rooms), "--workers", "0", "--accelerator", "cpu"]
    assert main([*command, "--split", "train"]) == 0
    lines = capsys.readouterr().out.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("class "))
    classes = [line[:14].strip() for line in lines[first + 1 : first + 21]]
    assert classes == list(SCANNET20.names)
    assert float(lines[-1].removeprefix("mIoU: ")) < 100


def test_predict_prints_the_page(
    rooms: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = rooms / "scans" / "scene0011_00"
    out = tmp_path / "out"
    assert main(["predict", str(scan), "--checkpoint", str(checkpoint), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"page: {out / 'page.html'}\n"
    assert (out / "page.html").is_file()

    mesh = scan / "scene0011_00_vh_clean_2.ply"
    assert main(["predict", str(mesh), "--checkpoint", str(checkpoint), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert re.fullmatch(rf"height: 2\.\d\d m\npage: {re.escape(str(out / 'page.html'))}\n", said)


def test_view_needs_no_checkpoint(
    rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["view", str(rooms / "scans" / "scene0011_00"), "--out", str(out), "--ply"]) == 0
    assert capsys.readouterr().out == f"page: {out / 'page.html'}\n"
    assert {path.name for path in out.iterdir()} == {"page.html", "colors.ply", "true_labels.ply"}


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "COMMAND"),
        (["fly"], 2, "invalid choice: 'fly'"),
        (["prepare"], 2, "required: root"),
        (["rooms", "x", "--train", "many"], 2, "invalid int value: 'many'"),
        (["check", "nowhere"], 1, "nowhere"),
        (["prepare", "nowhere"], 1, "nowhere"),
        (["evaluate", "no.ckpt", "nowhere"], 1, "no checkpoint at no.ckpt; train one with"),
        (["predict", "scan.ply"], 1, "no checkpoint given; train one with"),
        (["predict", "scan.ply", "--up", "w"], 2, "invalid choice: 'w'"),
        (["view", "scan.ply"], 1, "scan.ply: no such file"),
        (["view", "scan.ply", "--block", "a"], 1, "expected a checkpoint, which has the block 'a'"),
        (["curves", "nowhere"], 1, "expected the folder of a run"),
        (["train"], 1, "--config NAME_OR_FILE is needed; recipes: "),
        (["train", "--config", "demo"], 1, "data.root"),
        (["train", "--config", "demo", "--data.root", "nowhere"], 1, "nowhere"),
    ],
)
def test_bad_input_ends_in_one_line(
    arguments: list[str],
    status: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == status
    said = [line for line in capsys.readouterr().err.splitlines() if "latentgraph: " in line]
    assert len(said) == 1
    assert said[0].startswith("latentgraph: error: ")
    assert message in said[0]
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_where_an_error_came_from() -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        main(["--debug", "check", "nowhere"])


def test_a_missing_package_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "latentgraph.scannet.train", raising=False)
    monkeypatch.setitem(sys.modules, "lightning.pytorch.cli", None)
    assert main(["train", "--config", "demo"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("latentgraph: error: lightning")
    assert said.endswith("pip install 'latentgraph[scannet]'\n")


def test_the_program_starts_quickly_and_runs_as_a_module() -> None:
    code = "import sys, latentgraph.cli; assert not {'torch', 'lightning'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603
    command = [sys.executable, "-m", "latentgraph", "--version"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    assert done.stdout == f"latentgraph {__version__}\n"


def test_narrow_fragments_draw_a_warning() -> None:
    looks = ((0.0,), (1.0,), False)
    with pytest.warns(UserWarning, match="--fragment 3: columns narrower than 4 m"):
        assert _votes(*looks, 3.0).fragment == 3.0
    assert _votes(*looks, 4.0).fragment == 4.0  # silent: warnings are errors here
    with pytest.raises(ValueError, match="expected a fragment"):
        _votes(*looks, -1.0)
