r"""A file of a stranger runs nothing, and its names stay names."""

import io
import json
import os
import pickle
import re
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from latentgraph.cli import main
from latentgraph.convert import read_state_dict
from latentgraph.scannet import SCANNET20, ScanError, ScanNet, read_points, rooms_settings
from latentgraph.scannet.checkpoint import KEY, load_checkpoint
from latentgraph.scannet.colorings import Classes
from latentgraph.scannet.page import write_page
from latentgraph.scannet.reader import read_scan
from latentgraph.scannet.submission import check_submission

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore:left out"
)


class MakesAFolder:
    r"""Unpickled without care, it makes a folder."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.trace),)


def saved_by_torch(content: object, zipped: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def saved_by_numpy(content: object) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([content], dtype=object), allow_pickle=True)
    return buffer.getvalue()


FORMS: dict[str, Callable[[object], bytes]] = {
    "torch": lambda code: saved_by_torch({KEY: {"format": 1}, "state_dict": {}, "x": code}, True),
    "torch before 1.6": lambda code: saved_by_torch({"state_dict": {}, "x": code}, False),
    "pickle": pickle.dumps,
    "numpy": saved_by_numpy,
}


def read_prepared(path: Path) -> object:
    (path.parent / "prepared").mkdir()
    path.rename(path.parent / "prepared" / "scene0000_00.pt")
    return ScanNet(path.parent, "train")[0]


def read_rooms(path: Path) -> object:
    from latentgraph.scannet.rooms import write_rooms

    root = path.parent / "rooms"
    write_rooms(root, num_train=1, num_val=0, progress=False)
    (rooms,) = root.rglob("*rooms.npy")
    path.replace(rooms)
    return read_scan(rooms.parent)


def read_safetensors(path: Path) -> object:
    pytest.importorskip("safetensors")
    return read_state_dict(path.rename(path.with_suffix(".safetensors")))


READERS: dict[str, Callable[[Path], object]] = {
    "checkpoint": load_checkpoint,
    "weights": read_state_dict,
    "safetensors": read_safetensors,
    "prepared scene": read_prepared,
    "rooms of the vertices": read_rooms,
    "points": lambda path: read_points(path.rename(path.with_suffix(".ply"))),
    "settings": lambda path: rooms_settings(path.rename(path.parent / "rooms.json").parent),
    "submission": lambda path: check_submission(path, path.parent),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("reader", READERS)
def test_no_file_is_unpickled(reader, form, tmp_path) -> None:
    path, trace = tmp_path / "file", tmp_path / "trace"
    path.write_bytes(FORMS[form](MakesAFolder(trace)))
    with suppress(ValueError, OSError, ScanError):
        READERS[reader](path)
    assert not trace.exists()


def test_the_pickle_of_these_tests_would_run(tmp_path) -> None:
    trace = tmp_path / "trace"
    pickle.loads(FORMS["pickle"](MakesAFolder(trace)))  # noqa: S301
    assert trace.exists()


@pytest.mark.parametrize("tag", ["object/apply:os.mkdir", "object/new:os.mkdir", "name:os.mkdir"])
def test_a_recipe_makes_no_objects(tag, tmp_path, capsys) -> None:
    recipe, trace = tmp_path / "recipe.yaml", tmp_path / "trace"
    recipe.write_text(f"seed_everything: !!python/{tag} [{trace}]\n")
    assert main(["train", "--config", str(recipe), "--data.root", str(tmp_path)]) == 1
    assert "could not determine a constructor" in capsys.readouterr().err
    assert not trace.exists()


EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&@SCRIPT@"


def test_no_name_is_code_on_a_page(tmp_path) -> None:
    colors = Classes.palette(*SCANNET20.colors[:2])
    classes = Classes(EVIL, np.array([0, 1, -1]), (EVIL, "wall"), colors, EVIL)
    path = tmp_path / "page.html"
    write_page(path, EVIL, np.zeros((3, 3), np.float32), [classes], [EVIL], EVIL)
    page = path.read_text()
    assert "alert(1)</script>" not in page
    assert "<img" not in page
    found = re.search(r'<script type="application/json" id="scene">(.*?)</script>', page)
    assert found is not None
    assert json.loads(found[1])["views"][0]["names"] == [EVIL, "wall", EVIL]


def test_names_in_an_archive_are_names(tmp_path) -> None:
    scan = tmp_path / "scans_test" / "scene0707_00"
    scan.mkdir(parents=True)
    (scan / "scene0707_00_vh_clean_2.ply").write_bytes(b"ply")
    archive = tmp_path / "submission.zip"
    names = ["../../evil.txt", "/evil.txt", "scene0707_00/../evil.txt"]
    with zipfile.ZipFile(archive, "w") as file:
        for name in names:
            file.writestr(name, "1\n")
    before = sorted(tmp_path.rglob("*"))
    assert not check_submission(archive, tmp_path).ok
    assert sorted(tmp_path.rglob("*")) == before
    assert not list(tmp_path.parent.glob("evil*"))
