from pathlib import Path

import pytest

from latentgraph.scannet.tables import read_table

POS = [[0, 1, 2], [3, 4, 5.5]]


def read(folder: Path, text: str, name: str = "a.xyz") -> dict[str, list[list[float]]]:
    path = folder / name
    path.write_text(text)
    return {key: value.tolist() for key, value in read_table(path).items()}


@pytest.mark.parametrize(
    "text",
    [
        "0 1 2\n3 4 5.5\n",
        "0\t1  2\n\n3 4 5.5",
        "0,1,2\n3, 4, 5.5\n",
        "x y z\n0 1 2\n3 4 5.5\n",
        "# made by hand\nX,Y,Z\n0,1,2\n3,4,5.5\n",
        "# made by hand\n0 1 2 # corner\r\n3 4 5.5\r\n",
    ],
)
def test_positions(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == {"pos": POS}


def test_one_point(tmp_path: Path) -> None:
    assert read(tmp_path, "3 4 5.5") == {"pos": POS[1:]}


def test_three_columns_more(tmp_path: Path) -> None:
    colors, normals = "0 1 2 255 0 0\n3 4 5.5 0 0 9\n", "0 1 2 0 0 1\n3 4 5.5 0.6 0 -0.8\n"
    assert read(tmp_path, colors) == {"pos": POS, "color": [[255, 0, 0], [0, 0, 9]]}
    assert read(tmp_path, normals) == {"pos": POS, "normal": [[0, 0, 1], [0.6, 0, -0.8]]}
    assert set(read(tmp_path, colors, "a.XYZN")) == {"pos", "normal"}
    assert set(read(tmp_path, normals, "a.xyzrgb")) == {"pos", "color"}


def test_nine_columns_and_labels(tmp_path: Path) -> None:
    found = read(tmp_path, "0 1 2 7 8 9 0 0 1 4\n3 4 5.5 1 2 3 0 1 0 0\n")
    assert found == {
        "pos": POS,
        "color": [[7, 8, 9], [1, 2, 3]],
        "normal": [[0, 0, 1], [0, 1, 0]],
        "label": [[4], [0]],
    }
    assert read(tmp_path, "0 1 2 4\n3 4 5.5 0\n") == {"pos": POS, "label": [[4], [0]]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file has no points"),
        ("# nothing\n", "the file has no points"),
        ("x y z\n", "the file has no points"),
        ("0 1 2\n3 4\n", "2"),
        ("0 1 2\n3 4 five\n", "five"),
        ("0 1\n3 4\n", "expected 3, 6 or 9 columns and perhaps a label, got 2"),
        ("0 1 2 3 4\n", "expected 3, 6 or 9 columns and perhaps a label, got 5"),
    ],
)
@pytest.mark.filterwarnings("ignore:loadtxt. input contained no data")
def test_no_table(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(tmp_path, text)
