import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from raw_scans import MakeScan, grid, mesh_bytes

from latentgraph.cli import main
from latentgraph.scannet import prepare as module
from latentgraph.scannet import prepared
from latentgraph.scannet.prepare import prepare


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _snapshot(folder: Path) -> dict[Path, tuple[bytes, int]]:
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_every_scan_becomes_a_file(make_scan: MakeScan, tmp_path: Path) -> None:
    for name in ("scene0000_00", "scene0011_01", "scene0707_00"):
        make_scan(name)
    report = prepare(tmp_path, tmp_path / "out", progress=False)
    assert report.ok
    assert report.remarks == {"scene0000_00": [], "scene0011_01": [], "scene0707_00": []}
    expected = ["scene0000_00.pt", "scene0011_01.pt", "scene0707_00.pt"]
    assert _files(tmp_path / "out") == expected
    assert "nyu40" in prepared.read(tmp_path / "out" / "scene0000_00.pt")
    assert "nyu40" not in prepared.read(tmp_path / "out" / "scene0707_00.pt")


def test_nothing_is_written_to_a_root_with_out(make_scan: MakeScan, tmp_path: Path) -> None:
    make_scan()
    before = _snapshot(tmp_path)
    prepare(tmp_path, tmp_path / "out" / "deep", progress=False)
    after = _snapshot(tmp_path)
    assert {path: after[path] for path in before} == before
    assert {path.parent for path in after.keys() - before.keys()} == {tmp_path / "out" / "deep"}


def test_without_out_and_of_one_split(make_scan: MakeScan, tmp_path: Path) -> None:
    make_scan("scene0000_00")
    make_scan("scene0011_00")
    assert list(prepare(tmp_path, split="val", progress=False).remarks) == ["scene0011_00"]
    assert _files(tmp_path / "prepared") == ["scene0011_00.pt"]


def test_it_goes_on_where_it_stopped(
    make_scan: MakeScan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["scene0000_00", "scene0001_00", "scene0002_00"]
    for name in names:
        make_scan(name)
    read = []

    def stop_at_the_second(folder: Path) -> object:
        read.append(folder.name)
        if read == names[:2]:
            raise KeyboardInterrupt
        return original(folder)

    original = module.read_scan
    monkeypatch.setattr(module, "read_scan", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path, progress=False)
    assert _files(tmp_path / "prepared") == ["scene0000_00.pt"]
    assert list(prepare(tmp_path, progress=False).remarks) == names
    assert read == [names[0], names[1], names[1], names[2]]
    prepare(tmp_path, progress=False)
    assert len(read) == 4


def test_a_scan_that_changed_is_prepared_again(make_scan: MakeScan, tmp_path: Path) -> None:
    folder = make_scan()
    prepare(tmp_path, progress=False)
    path = tmp_path / "prepared" / "scene0000_00.pt"
    pos, color, faces = grid()
    mesh = folder / "scene0000_00_vh_clean_2.ply"
    mesh.write_bytes(mesh_bytes(pos + 1, color, faces))
    prepare(tmp_path, progress=False)
    assert float(prepared.read(path)["pos"].min()) == 1.0
    (folder / "scene0000_00.aggregation.json").unlink()
    report = prepare(tmp_path, progress=False)
    assert "category" not in prepared.read(path)
    assert report.remarks["scene0000_00"] != []
    path.write_bytes(b"damaged")
    prepare(tmp_path, progress=False)
    assert "pos" in prepared.read(path)


def test_remarks_of_scans_prepared_before_are_in_the_report(
    make_scan: MakeScan, tmp_path: Path
) -> None:
    make_scan(segs=None)
    first = prepare(tmp_path, progress=False)
    assert first.remarks["scene0000_00"] == ["labels are those of labels.ply, for want of segs"]
    assert prepare(tmp_path, progress=False) == first


BROKEN = {
    "no such file": {"mesh": None},
    "cut off": {"mesh": mesh_bytes(*grid())[:-5]},
    "labels.ply: expected 35 vertices": {"labels": mesh_bytes(grid()[0][:-1], label=np.ones(34))},
    "segs.json: expected 35 entries": {"segs": '{"segIndices": [1, 2]}'},
    "NaN or infinite coordinates": {"mesh": mesh_bytes(grid()[0] * np.nan)},
    "has no points": {"mesh": mesh_bytes(grid()[0][:0])},
    "no labels: expected segs": {"labels": None, "aggregation": None},
}


@pytest.mark.parametrize("reason", BROKEN)
def test_a_scan_that_cannot_be_used_is_left_out(
    make_scan: MakeScan, tmp_path: Path, reason: str
) -> None:
    make_scan("scene0000_00")
    make_scan("scene0001_00", **BROKEN[reason])
    make_scan("scene0002_00")
    report = prepare(tmp_path, progress=False)
    assert not report.ok
    assert list(report.remarks) == ["scene0000_00", "scene0002_00"]
    assert list(report.left_out) == ["scene0001_00"]
    assert reason in report.left_out["scene0001_00"]
    assert "\n" not in report.left_out["scene0001_00"]
    assert _files(tmp_path / "prepared") == ["scene0000_00.pt", "scene0002_00.pt"]


def test_names_that_are_no_scan_are_left_out(make_scan: MakeScan, tmp_path: Path) -> None:
    make_scan("scene0000_00")
    (tmp_path / "scans" / "kitchen").mkdir()
    (tmp_path / "scans" / "scene0807_00").mkdir()
    report = prepare(tmp_path, progress=False)
    assert list(report.left_out) == ["kitchen", "scene0807_00"]


def test_dirt_of_the_release_leaves_no_scan_out(make_scan: MakeScan, tmp_path: Path) -> None:
    table = "id\traw_category\tnyu40id\n1\twall\t1\n2\tchair\t5\n"
    pos, color, faces = grid()
    label = np.repeat([1, 5, 50, 149, 0], 7)
    make_scan(table=table, labels=mesh_bytes(pos, color, faces, label))
    report = prepare(tmp_path, progress=False)
    assert report.ok
    said = str(report)
    assert "category 'double \"door' of 1 object is not in the label table" in said
    assert "id 50 on 7 vertices of labels.ply is no NYU40 class" in said
    assert "labels.ply differs from the aggregation on" in said


def test_strict_leaves_out_scans_with_labels_that_are_no_class(
    make_scan: MakeScan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pos, color, faces = grid()
    make_scan("scene0000_00")
    make_scan("scene0001_00", labels=mesh_bytes(pos, color, faces, np.full(len(pos), 50)))
    groups = [{"label": "soufa", "objectId": 0, "segments": [10]}]
    make_scan("scene0002_00", aggregation=json.dumps({"segGroups": groups}))
    out = tmp_path / "out"
    command = ["prepare", str(tmp_path), "--out", str(out)]
    assert main([*command, "--strict"]) == 1
    left_out = {
        "scene0001_00": "id 50 on 35 vertices of labels.ply is no NYU40 class",
        "scene0002_00": "category 'soufa' of 1 object is not in the label table",
    }
    lines = [f"left out: {name}: {reason}" for name, reason in left_out.items()]
    assert [line for line in capsys.readouterr().out.splitlines() if "left out: " in line] == lines
    assert _files(out) == ["scene0000_00.pt"]

    # Without it the same are prepared and named; with it again, they are left out as before.
    assert main(command) == 0
    said = capsys.readouterr().out
    assert [line for line in said.splitlines() if line.startswith("no class: ")] == [
        f"no class: {name}: {reason}" for name, reason in left_out.items()
    ]
    assert len(_files(out)) == 3
    again = prepare(tmp_path, out, progress=False)
    assert again.unknown == {name: [reason] for name, reason in left_out.items()}
    assert prepare(tmp_path, out, progress=False, strict=True).left_out == left_out
    assert len(_files(out)) == 3


def test_hidden_folders_are_no_scans(make_scan: MakeScan, tmp_path: Path) -> None:
    make_scan()
    (tmp_path / "scans" / ".ipynb_checkpoints").mkdir()
    report = prepare(tmp_path, progress=False)
    assert report.ok
    assert list(report.remarks) == ["scene0000_00"]


def test_where_no_scan_can_be_used_nothing_is_left_behind(
    make_scan: MakeScan, tmp_path: Path
) -> None:
    make_scan(mesh=None)
    assert not prepare(tmp_path, progress=False).ok
    assert not (tmp_path / "prepared").exists()
    (tmp_path / "mine").mkdir()
    assert not prepare(tmp_path, tmp_path / "mine", progress=False).ok
    assert _files(tmp_path / "mine") == []


@pytest.mark.parametrize("times", [1, 2])
def test_a_negative_number_of_processes(make_scan: MakeScan, tmp_path: Path, times: int) -> None:
    make_scan()
    if times == 2:
        prepare(tmp_path, progress=False)
    with pytest.raises(ValueError, match="num_workers must be at least 0, got -1"):
        prepare(tmp_path, num_workers=-1, progress=False)


def test_nothing_to_prepare(make_scan: MakeScan, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a folder scans/"):
        prepare(tmp_path)
    (tmp_path / "scans").mkdir()
    with pytest.raises(FileNotFoundError, match="there are no scans under"):
        prepare(tmp_path)
    make_scan()
    with pytest.raises(FileNotFoundError, match="there are no scans of test under"):
        prepare(tmp_path, split="test")
    with pytest.raises(ValueError, match="got 'dev'"):
        prepare(tmp_path, split="dev")
    assert not (tmp_path / "prepared").exists()


def test_a_place_that_cannot_be_written_to(make_scan: MakeScan, tmp_path: Path) -> None:
    make_scan()
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        prepare(tmp_path, tmp_path / "file" / "out", progress=False)
    with pytest.raises(OSError, match="file should be a folder, and is a file"):
        prepare(tmp_path, tmp_path / "file", progress=False)


def test_several_processes_make_the_same_files(make_scan: MakeScan, tmp_path: Path) -> None:
    names = [f"scene{space:04d}_00" for space in range(5)]
    for name in names:
        make_scan(name)
    (tmp_path / "scans" / names[3] / f"{names[3]}_vh_clean_2.ply").write_bytes(b"ply")
    one = prepare(tmp_path, tmp_path / "one", progress=False)
    two = prepare(tmp_path, tmp_path / "two", num_workers=2, progress=False)
    assert one == two
    assert list(two.left_out) == [names[3]]
    for name in one.remarks:
        a, b = (prepared.read(tmp_path / out / f"{name}.pt") for out in ("one", "two"))
        assert all(
            torch.equal(a[key], b[key]) if isinstance(a[key], torch.Tensor) else a[key] == b[key]
            for key in a
        )


def test_one_at_a_time_prepares_into_a_folder(tmp_path: Path) -> None:
    folder, inside = tmp_path / "out", []

    def enter(number: int) -> int:
        with module._alone(folder):
            inside.append(number)
            time.sleep(0.001)
            assert inside == [number]
            inside.clear()
        return number

    often, usual = 1e-6, sys.getswitchinterval()
    sys.setswitchinterval(often)
    try:
        with ThreadPoolExecutor(5) as pool:
            assert list(pool.map(enter, range(211))) == list(range(211))
    finally:
        sys.setswitchinterval(usual)
    assert not (folder / ".lock").exists()


ENDLESS = """
import sys
from pathlib import Path
from latentgraph.scannet.prepare import prepare
root = Path(sys.argv[1])
while True:
    prepare(root, progress=False)
    for path in (root / "prepared").glob("*.pt"):
        path.unlink()
"""


def test_killed_at_any_moment_only_whole_files_lie_there(
    make_scan: MakeScan, tmp_path: Path
) -> None:
    for space in range(3):
        make_scan(f"scene{space:04d}_00")
    command = [sys.executable, "-c", ENDLESS, str(tmp_path)]
    deadline = time.monotonic() + 300  # on a busy machine the imports alone can take a minute
    with subprocess.Popen(command) as running:  # noqa: S603
        try:
            while not list(tmp_path.glob("prepared/*.pt")):
                assert running.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.01)
            time.sleep(0.1 + 0.001 * (os.getpid() % 97))
        finally:
            running.kill()
    for path in tmp_path.glob("prepared/*.pt"):
        assert "pos" in prepared.read(path)
    assert len(prepare(tmp_path, progress=False).remarks) == 3
    assert not list(tmp_path.glob("prepared/.*.part"))


KILLER = """
import os, random, signal, sys, threading, time
from pathlib import Path
import torch
from tqdm import tqdm
from latentgraph.scannet import prepared
from latentgraph.scannet.prepare import prepare
torch.set_num_threads(1)
tqdm.set_lock(threading.RLock())  # its own would stay locked when a forked child is killed in it
root, halfway, whole = Path(sys.argv[1]), 0, 0.0
for kill in range(202):
    for path in (root / "prepared").glob("*.pt"):
        path.unlink()
    if kill < 2:  # the first imports, the second tells how long the others may take
        begun = time.monotonic()
        prepare(root, progress=False)
        whole = time.monotonic() - begun
        continue
    if (child := os.fork()) == 0:
        prepare(root, progress=False)
        os._exit(0)
    time.sleep(random.uniform(0, 2 * whole))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    there = list(root.glob("prepared/*.pt"))
    for path in there:
        assert "pos" in prepared.read(path), path
    halfway += len(there) < 5 and bool(list(root.glob("prepared/.*")))
    report = prepare(root, progress=False)
    assert report.clean and len(report.remarks) == 5, report
    lying = set(os.listdir(root / "prepared")) - {".lock"}  # of one killed after its last file
    assert lying == {f"{name}.pt" for name in report.remarks}, lying
print(halfway)
"""


@pytest.mark.slow
def test_killed_at_two_hundred_moments(make_scan: MakeScan, tmp_path: Path) -> None:
    for space in range(5):
        make_scan(f"scene{space:04d}_00")
    command = [sys.executable, "-c", KILLER, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20  # of them between the first file and the last


def test_a_script_that_its_workers_would_start_again_fails(
    make_scan: MakeScan, tmp_path: Path
) -> None:
    make_scan("scene0000_00")
    (tmp_path / "scans" / "scene0011_00").mkdir()  # of val, left out, and so never up to date
    script = tmp_path / "script.py"
    script.write_text(
        "from latentgraph.scannet.prepare import prepare\n"
        f"prepare({str(tmp_path)!r}, split='val')\n"
        f"prepare({str(tmp_path)!r}, split='train', num_workers=1)\n"
    )
    command = [sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)  # noqa: S603
    assert done.returncode != 0
    assert "expected it to call prepare under if __name__" in done.stderr
    told = done.stderr.splitlines()[-1]
    assert told.startswith("RuntimeError: one of 1 processes ended before its scan was done")
