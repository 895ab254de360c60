import struct
from pathlib import Path

import pytest

from latentgraph.scannet.pcd import check_pcd

HEADER = """# .PCD v0.7
VERSION 0.7
FIELDS x y z label
SIZE 4 4 4 1
TYPE F F F U
COUNT 1 1 1 1
WIDTH 3
HEIGHT 1
POINTS 3
"""
ASCII = HEADER + "DATA ascii\n0 0 0 1\n1 0 0 1\n0 2 0 40\n"
ROW = struct.pack("<3fB", 1, 2, 3, 4)
FILES = {
    "ascii": ASCII.encode(),
    "binary": HEADER.encode() + b"DATA binary\n" + 3 * ROW,
    "compressed": HEADER.encode()
    + b"DATA binary_compressed\n"
    + struct.pack("<2I", 11, 39)
    + bytes(11),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cloud.pcd"


@pytest.mark.parametrize("form", FILES)
def test_a_whole_file_passes_and_no_part_of_it(form: str, path: Path) -> None:
    content = FILES[form]
    path.write_bytes(content)
    check_pcd(path)
    # Of text, all but the last digit and the end of the line can be missing unseen.
    for kept in range(len(content) - (2 if form == "ascii" else 0)):
        path.write_bytes(content[:kept])
        with pytest.raises(ValueError, match=r"cut off|has \d of 4 values"):
            check_pcd(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("x y z", "x y w", "expected fields x, y, z, got x, y, w, label"),
        ("SIZE 4 4 4 1", "SIZE 4 4 4", "that fit, in the header"),
        ("SIZE 4 4 4 1", "SIZE 4 4 3 1", "that fit, in the header"),
        ("COUNT 1 1 1 1", "COUNT 1 1 1 0", "that fit, in the header"),
        ("POINTS 3", "POINTS three", "that fit, in the header"),
        ("POINTS 3\n", "", "that fit, in the header"),
        ("POINTS 3", "POINTS 99", "cut off: 99 points announced, 3 there"),
        ("1 0 0 1", "1 0 0", "point 1 has 3 of 4 values"),
        ("ascii", "utf8", "binary_compressed, got utf8"),
    ],
)
def test_headers_that_do_not_fit(path: Path, old: str, new: str, message: str) -> None:
    path.write_text(ASCII.replace(old, new))
    with pytest.raises(ValueError, match=message):
        check_pcd(path)


def test_a_file_without_an_end_to_its_header(path: Path) -> None:
    for content in (bytes(200_000), b"\n" * 200_000, b""):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="not a PCD file"):
            check_pcd(path)
