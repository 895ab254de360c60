from pathlib import Path

import pytest

from latentgraph.scannet.into_place import into_place


def test_the_file_is_there_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file.txt"
    with into_place(path) as part:
        part.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("before")
    with pytest.raises(OSError, match="directory"), into_place(path) as part:
        (part.write_text("half"), tmp_path.read_text())
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
