import json
import os
from pathlib import Path

import pytest

from benchmarks.votes import LOOKS, main, render, score


def test_the_table_has_changes_of_each_network() -> None:
    one, flip, *others = LOOKS
    runs = [{one: 50.0, flip: 51.0}, {one: 60.0, flip: 60.0}]
    table = render(2, {"a": [run | dict.fromkeys(others, 40.0) for run in runs]})
    assert "2 of a." in table
    assert f"| {one} | 55.0 ± 7.1 |" in table
    assert f"| {flip} | 0.5 ± 0.7 |" in table
    assert f"| {others[0]} | -15.0 ± 7.1 |" in table


def test_scores_of_a_checkpoint_are_kept_until_it_changes(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_bytes(b"no checkpoint")
    (tmp_path / "votes.json").write_text(json.dumps({"--flip": 12.5}))
    os.utime(tmp_path / "last.ckpt", (1, 1))
    assert score(tmp_path, tmp_path, "--flip") == 12.5
    os.utime(tmp_path / "votes.json", (0, 0))
    with pytest.raises(ValueError, match=r"last\.ckpt"):
        score(tmp_path, tmp_path, "--flip")


def test_without_runs_it_says_what_comes_first(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="make compare comes first"):
        main(["--runs", str(tmp_path)])
    assert not list(tmp_path.iterdir())
