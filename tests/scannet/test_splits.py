import pytest

from latentgraph.scannet.splits import SPLITS, scans_of, spaces, split_of


def test_official_sizes_and_no_overlap() -> None:
    sizes = {split: len(spaces(split)) for split in SPLITS}
    assert sizes == {"train": 565, "val": 142, "test": 100}
    assert sorted(sum((spaces(split) for split in SPLITS), ())) == list(range(807))


@pytest.mark.parametrize("split", SPLITS)
def test_split_of_a_scene_is_that_of_its_space(split: str) -> None:
    assert all(split_of(f"scene{space:04d}_03") == split for space in spaces(split))


def test_scans_of_the_release() -> None:
    scans = {split: scans_of(split) for split in SPLITS}
    assert {split: len(names) for split, names in scans.items()} == {
        "train": 1201,
        "val": 312,
        "test": 100,
    }
    for split, names in scans.items():
        assert names == sorted(set(names))
        assert {split_of(name) for name in names} == {split}
        assert {int(name[5:9]) for name in names} == set(spaces(split))


def test_well_known_scenes() -> None:
    assert split_of("scene0000_00") == "train"
    assert split_of("scene0011_01") == "val"
    assert split_of("scene0806_00") == "test"


@pytest.mark.parametrize("name", ["scene11_00", "scene0011", "room0011_00", "scene0011_00.ply", ""])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="form scene0011_00"):
        split_of(name)


def test_unknown_spaces_and_splits_are_refused() -> None:
    with pytest.raises(ValueError, match="spaces 0 to 806, got 807"):
        split_of("scene0807_00")
    with pytest.raises(ValueError, match="'train', 'val' or 'test', got 'dev'"):
        spaces("dev")
