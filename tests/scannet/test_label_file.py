import numpy as np
import pytest

from latentgraph.scannet.label_file import describe_foreign, foreign_ids, read_ids, write_ids
from latentgraph.scannet.labels import SCANNET20


def test_what_is_written_is_read() -> None:
    ids = np.random.default_rng(0).integers(0, 1192, 1009)
    np.testing.assert_array_equal(read_ids(write_ids(ids.tolist()), 1009, "a.txt"), ids)
    assert write_ids([]) == b""
    assert len(read_ids(b"", 0, "a.txt")) == 0


@pytest.mark.parametrize(
    "content",
    [
        b"3\n-1\n39\n",
        b"3\n-1\n39",
        b"3\r\n-1\r\n39\r\n",
        b" 3\n-1 \n\t39\n",
        b"03\r-1\r39\r",
        b"+3\n-1\n+39",
    ],
)
def test_lines_of_every_system(content: bytes) -> None:
    np.testing.assert_array_equal(read_ids(content, 3, "a.txt"), [3, -1, 39])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"3\n1.0\nx\n", r"a.txt: expected an integer on line 2, got '1.0'$"),
        (b"3\n1\n1e3\n", "on line 3, got '1e3'"),
        (b"3\n\n1\n", "on line 2, got ''"),
        (b"3\r\r\n1\n", "on line 2, got ''"),
        (b"3\n1\n1\n ", "on line 4, got ''"),
        (b"3 4\n5\n1\n", "on line 1, got '3 4'"),
        (b"3\n1_0\n1\n", "on line 2, got '1_0'"),
        (b"3\n+-1\n1\n", r"on line 2, got '\+-1'"),
        (b"\xef\xbb\xbf3\n1\n1\n", "on line 1, got a byte order mark before it"),
        (b"3\n" + b"9" * 70 + b"\n1\n", f"on line 2, got '{'9' * 40}'"),
        ("３\n1\n1\n".encode(), r"on line 1, got '\\xef\\xbc\\x93'"),
        (b"3\n1\n", "expected 3 lines, one for each vertex, got 2"),
        (b"3\n1\n1\n1\n", "expected 3 lines, one for each vertex, got 4"),
        (b"", "expected 3 lines, one for each vertex, got 0"),
        (b"3\n1\n1\n\n", "on line 4, got ''"),
    ],
)
def test_other_files_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_ids(content, 3, "a.txt")


def test_ids_that_are_no_class_are_counted() -> None:
    foreign = foreign_ids(np.array([1, 0, 13, 39, 0, -7, 40, 1 << 40]), SCANNET20)
    assert foreign == {0: 2, 13: 1, -7: 1, 40: 1, 1 << 40: 1}
    assert describe_foreign(foreign, SCANNET20) == (
        "ids that are no class of scannet20, each vertex a miss: 0 on 2, -7 on 1, 13 on 1, "
        "40 on 1, 1099511627776 on 1 (6 vertices in all)"
    )
    many = foreign_ids(np.arange(100, 2000), SCANNET20)
    assert describe_foreign(many, SCANNET20).endswith(
        "106 on 1 and 1,893 more ids (1,900 vertices in all)"
    )
