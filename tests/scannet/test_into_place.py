import resource
from pathlib import Path

import pytest
import torch

from latentgraph.scannet.into_place import into_place, save


def test_the_file_is_there_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file.txt"
    with into_place(path) as part:
        part.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="should be a file"), into_place(tmp_path):
        pytest.fail("something was made")


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("before")
    with pytest.raises(OSError, match="directory"), into_place(path) as part:
        (part.write_text("half"), tmp_path.read_text())
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_what_does_not_fit_on_the_disk_leaves_nothing(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_003, before[1]))
    try:
        with pytest.raises(OSError, match=r"a\.pt cannot be written"):
            save({"x": torch.zeros(4_001)}, tmp_path / "a.pt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []
