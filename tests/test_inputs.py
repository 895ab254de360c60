r"""Every row of docs/inputs.md, run; and every public name is called in one."""

import dataclasses
import importlib
import inspect
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

PAGE = (Path(__file__).parents[1] / "docs" / "inputs.md").read_text(encoding="utf-8")
PACKAGES = (
    "functional",
    "nn",
    "voxel",
    "models",
    "out_of_core",
    "distributed",
    "plug",
    "convert",
    "inspection",
    "scannet",
)
BESIDE = (
    "check",
    "checkpoint",
    "curves",
    "evaluate",
    "page",
    "ply",
    "predict",
    "prepare",
    "submission",
    "train",
    "view",
)
MADE_BY_OTHERS = {"Context", "Inserted"}  # `insert` makes them

ROWS = [re.split(r" \|(?: |$)", row) for row in re.findall(r"^\| (`.+) \|$", PAGE, re.MULTILINE)]
NOBODY = 65_534


def public_names() -> dict[str, object]:
    names: dict[str, object] = {"Data": Data, "np": np, "torch": torch}
    for package in PACKAGES:
        module = importlib.import_module(f"latentgraph.{package}")
        names |= {name: getattr(module, name) for name in module.__all__}
    for name in BESIDE:
        names |= functions(f"latentgraph.scannet.{name}")
    return names


def functions(name: str) -> dict[str, object]:
    found = vars(importlib.import_module(name)).items()
    return {k: v for k, v in found if inspect.isfunction(v) and v.__module__ == name}


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    found = public_names()
    torch.manual_seed(0)
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    exec(compile(code, "docs/inputs.md", "exec"), found)  # noqa: S102
    return found


class RunsCode:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.trace),)


class ReadsAClosedFile:
    def __iter__(self) -> Iterator[np.ndarray]:
        with tempfile.TemporaryFile() as file:
            pass
        yield np.frombuffer(file.read(), np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    from latentgraph.scannet.checkpoint import KEY, save_checkpoint

    save_checkpoint(segmenter(), tmp_path / "network.ckpt")
    whole = (tmp_path / "network.ckpt").read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[:-100])
    content = torch.load(tmp_path / "network.ckpt", weights_only=True)
    content[KEY] |= {"format": 2, "version": "9.0"}
    torch.save(content, tmp_path / "newer.ckpt")
    code = RunsCode(tmp_path / "trace")
    for name in ("code.ckpt", "code.pth"):
        torch.save(content | {"more": code}, tmp_path / name)
    np.save(tmp_path / "cut.npy", np.ones((7, 16), np.float32))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:-100])
    return tmp_path


def segmenter() -> torch.nn.Module:
    from latentgraph.scannet.network_config import NetworkConfig
    from latentgraph.scannet.segmenter import Segmenter

    return Segmenter(NetworkConfig(voxel_size=0.4, channels=(3, 5)))


@pytest.fixture
def full() -> Iterator[Path]:
    r"""A folder on a disk of 64 kB that another file fills."""
    disk = Path(tempfile.mkdtemp())
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if mount is None or subprocess.run([mount, *options], capture_output=True).returncode:  # noqa: S603
        disk.rmdir()
        pytest.skip("a small disk is mounted by root alone")
    try:
        (disk / "folder").mkdir()
        with pytest.raises(OSError, match="No space left"), (disk / "filler").open("wb") as filler:
            filler.write(bytes(2**17))
        yield disk / "folder"
    finally:  # an error that is looked at may still hold an open file
        subprocess.run(["umount", "--lazy", disk], check=True)  # noqa: S603, S607
        disk.rmdir()


@pytest.fixture
def locked() -> Iterator[Path]:
    r"""A folder to read from alone; root, whom no permission stops, becomes nobody for a while."""
    place = Path(tempfile.mkdtemp())
    was_root = os.geteuid() == 0
    (place / "locked").mkdir(mode=0o555)
    place.chmod(0o755)
    if was_root:
        os.seteuid(NOBODY)
    try:
        yield place / "locked"
    finally:
        if was_root:
            os.seteuid(0)
        shutil.rmtree(place)


@pytest.fixture
def scan(rooms: Path) -> Path:
    return rooms / "scans" / "scene0000_00"


@pytest.fixture
def secret(locked: Path) -> Path:
    r"""A file that the owner alone may read, and none of whom is asked."""
    path = locked.parent / "secret"
    if os.geteuid() == NOBODY:
        os.seteuid(0)
        path.write_bytes(b"secret")
        path.chmod(0o000)
        os.seteuid(NOBODY)
    else:
        path.write_bytes(b"secret")
        path.chmod(0o000)
    return path


def matches(error: Exception, expected: str) -> bool:
    kind, _, message = expected.partition(": ")
    pattern = ".*".join(re.escape(part) for part in message.split("..."))
    kinds = [base.__name__ for base in type(error).__mro__]
    return kind in kinds and re.fullmatch(pattern, str(error), re.DOTALL) is not None


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_row(row, names, request) -> None:
    call, outcome, afterwards = (re.search(r"(?:`(.+)`)?$", cell)[1] for cell in [*row, ""][:3])
    given = dict(names, ReadsAClosedFile=ReadsAClosedFile)
    for name in ("rooms", "scan", "folder", "full", "secret", "locked"):
        if re.search(rf"\b{name}\b", f"{call} {afterwards}"):
            given[name] = request.getfixturevalue(name)
    if "folder" in given:
        given |= {"trace": given["folder"] / "trace"}
    given["segmenter"] = segmenter() if "segmenter" in call else None
    fails = re.match(r"\w+(Error|Exception): ", outcome)
    for block in names["blocks"] if re.search(r"\bblock\b[(.]", call) else [None]:
        given["block"] = block
        if fails:
            with pytest.raises(Exception) as caught:  # noqa: PT011
                eval(call, given)  # noqa: S307
            assert matches(caught.value, outcome), f"{type(caught.value).__name__}: {caught.value}"
        else:
            given["out"] = eval(call, given)  # noqa: S307
            assert eval(outcome, given)  # noqa: S307
        if afterwards:
            assert eval(afterwards, given)  # noqa: S307


def is_called(value: object) -> bool:
    r"""Whether it is a function or a class that is more than its fields."""
    if not inspect.isclass(value):
        return callable(value)
    return not (issubclass(value, tuple | Exception) or dataclasses.is_dataclass(value))


def test_every_public_name_is_called_in_a_row() -> None:
    called = " ".join(row[0] for row in ROWS)
    public = {name for name, value in public_names().items() if is_called(value)}
    beside = {"np", "torch", "Data", *MADE_BY_OTHERS}
    for name in BESIDE:
        beside |= functions(f"latentgraph.scannet.{name}").keys()
    missing = {n for n in public - beside if not re.search(rf"\b{n}\(", called)}
    blocks = {"GlobalContext", "LatentGNN", "NonLocal", "SimplifiedNonLocal", "SqueezeExcitation"}
    assert not missing - blocks
