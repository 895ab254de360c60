from functools import partial
from pathlib import Path

import pytest
from raw_scans import MakeScan, write_scan


@pytest.fixture
def make_scan(tmp_path: Path) -> MakeScan:
    return partial(write_scan, tmp_path)
