import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from raw_scans import VERTICES, MakeScan

from latentgraph.cli import main
from latentgraph.scannet import prepared
from latentgraph.scannet.checkpoint import save_checkpoint
from latentgraph.scannet.label_file import read_ids, write_ids
from latentgraph.scannet.network_config import NetworkConfig
from latentgraph.scannet.reader import read_scan
from latentgraph.scannet.rooms import write_rooms
from latentgraph.scannet.segmenter import Segmenter
from latentgraph.scannet.submission import check_submission, submit

RIGHT = write_ids([5] * VERTICES)
FILES = {"scene0707_00.txt": RIGHT, "scene0708_00.txt": RIGHT}

Zip = Callable[..., Path]


@pytest.fixture
def make_zip(make_scan: MakeScan, tmp_path: Path) -> Zip:
    r"""A submission for two test scans, with files replaced, or left away where they are None."""
    make_scan("scene0000_00")
    for name in FILES:
        make_scan(name.removesuffix(".txt"))

    def make(changes: dict[str, bytes | None] | None = None) -> Path:
        path = tmp_path / "submission.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in (FILES | (changes or {})).items():
                if content is not None:
                    archive.writestr(name, content)
        return path

    return make


def test_a_submission_as_it_should_be(
    make_zip: Zip, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_zip({"scene0708_00.txt": RIGHT.replace(b"\n", b"\r\n")})
    findings = check_submission(path, tmp_path)
    assert findings.ok
    assert findings.scenes == 2
    partial = f"{tmp_path} has 2 of the 100 test scans of the release; the benchmark wants all"
    assert findings.warnings == [f"{partial} of them"]
    assert main(["submit", "--check", str(path), str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"warning: {partial} of them",
        "2 scenes as they should be, 0 errors, 1 warnings",
    ]


@pytest.mark.parametrize(
    ("changes", "errors"),
    [
        ({"scene0708_00.txt": None}, ["missing: scene0708_00.txt"]),
        ({"notes.md": b""}, ["no file of a test scan: notes.md"]),
        ({"scene0709_00.txt": RIGHT}, ["no file of a test scan: scene0709_00.txt"]),
        ({"scene0000_00.txt": RIGHT}, ["no file of a test scan: scene0000_00.txt"]),
        (
            {"scene0707_00.txt": RIGHT[2:]},
            ["scene0707_00.txt: expected 35 lines, one for each vertex, got 34"],
        ),
        (
            {"scene0707_00.txt": RIGHT + RIGHT},
            ["scene0707_00.txt: expected 35 lines, one for each vertex, got 70"],
        ),
        (
            {"scene0707_00.txt": RIGHT[:-2] + b"5.0"},
            ["scene0707_00.txt: expected an integer on line 35, got '5.0'"],
        ),
        (
            {"scene0707_00.txt": RIGHT + b" " * 9999},
            ["scene0707_00.txt: expected 35 lines, got 10,069 bytes"],
        ),
        (
            {"scene0707_00.txt": None, "sub/": b"", "sub/scene0707_00.txt": RIGHT},
            [
                "not at the top level of the zip: sub/, sub/scene0707_00.txt",
                "missing: scene0707_00.txt",
            ],
        ),
    ],
)
def test_what_the_benchmark_would_refuse(
    make_zip: Zip,
    tmp_path: Path,
    changes: dict[str, bytes | None],
    errors: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = make_zip(changes)
    assert check_submission(path, tmp_path).errors == errors
    assert main(["submit", "--check", str(path), str(tmp_path)]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[: len(errors)] == [f"error: {error}" for error in errors]


def test_a_file_that_is_there_twice(make_zip: Zip, tmp_path: Path) -> None:
    path = make_zip()
    with (
        pytest.warns(UserWarning, match="Duplicate name"),
        zipfile.ZipFile(path, "a") as archive,
    ):
        archive.writestr("scene0707_00.txt", RIGHT)
    assert check_submission(path, tmp_path).errors == [
        "more than once in the zip: scene0707_00.txt"
    ]


@pytest.mark.parametrize("length", [0, 10, -1, -30])
def test_a_zip_that_is_cut_off(
    make_zip: Zip, tmp_path: Path, length: int, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_zip()
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match="is no zip file, or cut off"):
        check_submission(path, tmp_path)
    assert main(["submit", "--check", str(path), str(tmp_path)]) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"latentgraph: error: {path} is no zip file, or cut off: ")


def test_a_zip_with_a_damaged_file(make_zip: Zip, tmp_path: Path) -> None:
    path = make_zip()
    content = bytearray(path.read_bytes())
    content[30 + len("scene0707_00.txt")] ^= 0xFF  # the first byte after the first local header
    path.write_bytes(content)
    (error,) = check_submission(path, tmp_path).errors
    assert error.startswith("scene0707_00.txt: cannot be unpacked: ")


def test_foreign_ids_are_misses_and_no_errors(make_zip: Zip, tmp_path: Path) -> None:
    ids = [0, 0, 13, *[5] * (VERTICES - 3)]
    path = make_zip({"scene0707_00.txt": write_ids(ids), "scene0708_00.txt": write_ids(ids)})
    findings = check_submission(path, tmp_path)
    assert findings.ok
    assert findings.warnings[0] == (
        "ids that are no class of scannet20, each vertex a miss: 0 on 4, 13 on 2 "
        "(6 vertices in all)"
    )
    # In the other benchmark, 5 and 13 are classes.
    findings = check_submission(path, tmp_path, "scannet200")
    assert "scannet200, each vertex a miss: 0 on 4 (4 vertices in all)" in findings.warnings[0]


def test_nothing_to_compare_with(make_zip: Zip, tmp_path: Path) -> None:
    path = make_zip()
    with pytest.raises(FileNotFoundError, match="no submission at"):
        check_submission(tmp_path / "none.zip", tmp_path)
    (tmp_path / "scans_test" / "scene0707_00" / "scene0707_00_vh_clean_2.ply").write_bytes(b"ply")
    (error,) = check_submission(path, tmp_path).errors
    assert "scene0707_00_vh_clean_2.ply: not a PLY file" in error
    shutil.rmtree(tmp_path / "scans_test")
    with pytest.raises(FileNotFoundError, match="no scans of test under"):
        check_submission(path, tmp_path)


@pytest.mark.parametrize("labels", ["scannet20", "scannet200"])
def test_predictions_of_all_test_scans_go_into_the_zip(
    tmp_path: Path, labels: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "rooms"
    write_rooms(root, num_train=0, num_val=1, num_test=2, progress=False)
    segmenter = Segmenter(NetworkConfig(labels=labels, voxel_size=0.4, channels=(3, 5)))
    save_checkpoint(segmenter, tmp_path / "a.ckpt")
    before = sorted(root.rglob("*"))
    out = tmp_path / "out" / "submission.zip"
    assert main(["submit", str(tmp_path / "a.ckpt"), str(root), "--out", str(out)]) == 0
    assert capsys.readouterr().out == "2 scenes as they should be, 0 errors, 0 warnings\n"
    assert sorted(root.rglob("*")) == before
    assert [path.name for path in out.parent.iterdir()] == ["submission.zip"]
    with zipfile.ZipFile(out) as archive:
        assert sorted(archive.namelist()) == sorted(FILES)
        for name in FILES:
            scan = read_scan(root / "scans_test" / name.removesuffix(".txt"))
            predicted = segmenter.predict(prepared.to_data(prepared.pack(scan), segmenter.labels))
            ids = read_ids(archive.read(name), len(scan.pos), name)
            assert torch.equal(torch.from_numpy(segmenter.labels.encode(ids)), predicted)


def test_a_scan_that_cannot_be_used_leaves_no_zip(
    make_scan: MakeScan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_scan("scene0707_00")
    make_scan("scene0708_00", mesh=b"ply\n")
    save_checkpoint(Segmenter(NetworkConfig(voxel_size=0.4, channels=(3, 5))), tmp_path / "a.ckpt")
    out = tmp_path / "out"
    out.mkdir()
    command = ["submit", str(tmp_path / "a.ckpt"), str(tmp_path), "--out", str(out / "a.zip")]
    assert main(command) == 1
    assert "scene0708_00_vh_clean_2.ply: not a PLY file" in capsys.readouterr().err
    assert list(out.iterdir()) == []
    assert main([*command, "--device", "abacus"]) == 1
    assert "torch has here, got abacus: " in capsys.readouterr().err
    with pytest.raises(ValueError, match="scene0708_00"):
        submit(tmp_path / "a.ckpt", tmp_path, out / "a.zip", progress=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.ckpt", "root"], "--out FILE.zip is needed, or --check"),
        (["--check", "a.zip", "root", "--out", "b.zip"], "--check writes nothing"),
        (["--check", "a.zip", "root", "--fragment", "5"], "--check looks at no scene"),
        (
            ["a.ckpt", "root", "--out", "b.zip", "--labels", "scannet20"],
            "--labels goes with --check",
        ),
    ],
)
def test_arguments_that_make_no_sense(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", *arguments]) == 2
    assert message in capsys.readouterr().err
