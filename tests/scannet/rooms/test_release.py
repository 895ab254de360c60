import json
from pathlib import Path

import numpy as np
import pytest

from latentgraph.scannet.rooms import release
from latentgraph.scannet.rooms.release import rooms_settings, scene_names, write_rooms
from latentgraph.scannet.splits import split_of


def contents(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def scans(root: Path) -> list[str]:
    return sorted(path.name for path in root.glob("scans*/*"))


@pytest.fixture(autouse=True)
def _small_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    make_scene = release.make_scene
    monkeypatch.setattr(release, "make_scene", lambda *args: make_scene(*args, edge=0.3))


def test_layout_and_splits(tmp_path: Path) -> None:
    write_rooms(tmp_path, num_train=3, num_val=2, num_test=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "rooms.json",
        "scannetv2-labels.combined.tsv",
        "scans",
        "scans_test",
    ]
    names = ["scene0000_00", "scene0001_00", "scene0002_00", "scene0011_00", "scene0015_00"]
    assert sorted(path.name for path in (tmp_path / "scans").iterdir()) == names
    assert [path.name for path in (tmp_path / "scans_test").iterdir()] == ["scene0707_00"]
    assert len(list((tmp_path / "scans" / "scene0011_00").iterdir())) == 6
    assert len(list((tmp_path / "scans_test" / "scene0707_00").iterdir())) == 2


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_names_are_of_their_split_and_go_on_with_second_scans(split: str) -> None:
    names = scene_names(split, 701)
    assert len(set(names)) == 701
    assert {split_of(name) for name in names} == {split}
    assert names[0].endswith("_00")
    assert names[-1].endswith({"train": "_01", "val": "_04", "test": "_07"}[split])


def test_types_of_single_rooms_go_round(tmp_path: Path) -> None:
    write_rooms(tmp_path, num_train=0, num_val=5)
    labels = set()
    for path in tmp_path.glob("scans/*/*.aggregation.json"):
        found = {group["label"] for group in json.loads(path.read_text())["segGroups"]}
        labels |= found & {"toilet", "stove", "office chair", "bed", "couch"}
    assert labels == {"toilet", "stove", "office chair", "bed", "couch"}


def test_apartments_have_rooms(tmp_path: Path) -> None:
    write_rooms(tmp_path, num_train=1, num_val=0, kind="apartments")
    rooms = np.load(tmp_path / "scans/scene0000_00/scene0000_00.rooms.npy")
    assert len(np.unique(rooms)) in (3, 4)


def test_more_scenes_leave_the_first_ones_alone(tmp_path: Path) -> None:
    write_rooms(tmp_path, num_train=2, num_val=1)
    before = contents(tmp_path)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.glob("scans/*/*")}
    write_rooms(tmp_path, num_train=3, num_val=1)
    after = contents(tmp_path)
    assert before.items() <= after.items()
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    assert "scene0002_00" in scans(tmp_path)


def test_scenes_differ_also_where_their_types_do_not(tmp_path: Path) -> None:
    write_rooms(tmp_path, num_train=6, num_val=1)
    meshes = [path.read_bytes() for path in tmp_path.glob("scans/*/*_vh_clean_2.ply")]
    assert len(set(meshes)) == 7


def test_seed_changes_the_scenes_and_nothing_else_does(tmp_path: Path) -> None:
    for name, seed, number in (("a", 0, 1), ("b", 0, 2), ("c", 1, 1)):
        write_rooms(tmp_path / name, num_train=number, num_val=0, seed=seed)
    a, b, c = (contents(tmp_path / name / "scans" / "scene0000_00") for name in "abc")
    assert a == b
    assert a != c


def test_interrupted_run_leaves_whole_scenes_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rooms(tmp_path / "whole", num_train=3, num_val=0)
    write_scan, calls = release.write_scan, []

    def stops(*args: object, **more: object) -> None:
        write_scan(*args, **more)
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(release, "write_scan", stops)
        with pytest.raises(KeyboardInterrupt):
            write_rooms(tmp_path / "cut", num_train=3, num_val=0)
    assert scans(tmp_path / "cut") == ["scene0000_00"]
    assert not list((tmp_path / "cut").glob("**/*.part"))
    # What a killed process would leave behind.
    (tmp_path / "cut" / ".scene0001_00.part").mkdir()
    (tmp_path / "cut" / ".scene0001_00.part" / "half").write_text("")
    write_rooms(tmp_path / "cut", num_train=3, num_val=0)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_settings_are_told(tmp_path: Path) -> None:
    assert rooms_settings(tmp_path) is None
    assert rooms_settings(tmp_path / "nowhere") is None
    write_rooms(tmp_path, num_train=0, num_val=0, kind="apartments", seed=7)
    expected = {"generator": release.GENERATOR, "kind": "apartments", "seed": 7}
    assert rooms_settings(tmp_path) == expected


@pytest.mark.parametrize("change", [{"seed": 1}, {"kind": "apartments"}])
def test_other_settings_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    write_rooms(tmp_path, num_train=1, num_val=0)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"holds rooms made with .*choose another folder"):
        write_rooms(tmp_path, num_train=1, num_val=0, **change)
    assert contents(tmp_path) == before


def test_fewer_scenes_are_refused(tmp_path: Path) -> None:
    write_rooms(tmp_path, num_train=2, num_val=0)
    with pytest.raises(ValueError, match="1 scans beyond those asked for, such as scene0001_00"):
        write_rooms(tmp_path, num_train=1, num_val=0)


def test_foreign_scans_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "scans" / "scene0000_00").mkdir(parents=True)
    with pytest.raises(ValueError, match="holds scans that were not generated here"):
        write_rooms(tmp_path, num_train=1, num_val=0)
    assert contents(tmp_path) == {}


def test_wrong_arguments_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    root = tmp_path / "rooms"
    with pytest.raises(ValueError, match="kind must be"):
        write_rooms(root, kind="house")
    with pytest.raises(ValueError, match="seed must not be negative, got -3"):
        write_rooms(root, seed=-3)
    with pytest.raises(ValueError, match="val can have 0 to 14200 scenes, got -1"):
        write_rooms(root, num_val=-1)
    with pytest.raises(ValueError, match="test can have 0 to 10000 scenes, got 10001"):
        write_rooms(root, num_test=10_001)
    assert not root.exists()
    root.write_text("")
    with pytest.raises(ValueError, match="should be a folder, and is a file"):
        write_rooms(root)


def test_damaged_settings_are_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "rooms.json").write_text("{")
    with pytest.raises(ValueError, match=r"rooms\.json should be JSON"):
        rooms_settings(tmp_path)
    (tmp_path / "rooms.json").write_text("[7]")
    with pytest.raises(ValueError, match=r"should hold a JSON object, got \[7\]"):
        write_rooms(tmp_path)
