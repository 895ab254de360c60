import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzzed_files import fuzz

HERE = Path(__file__).parent


def test_a_mutated_file_ends_in_one_clear_error_or_in_what_it_says() -> None:
    outcomes = fuzz(211, 0)
    assert outcomes.total() == 211
    assert {kind for kind in outcomes if kind.endswith(" results")} == {
        ".ply results",
        ".json results",
        ".tsv results",
    }


@pytest.mark.slow
def test_ten_thousand_of_them_without_crash_hang_or_hunger() -> None:
    command = [sys.executable, str(HERE / "fuzzed_files.py"), "10000", "1"]
    paths = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    done = subprocess.run(  # noqa: S603
        command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)
