from pathlib import Path

import numpy as np
import pytest

from latentgraph.scannet.ply import write_ply
from latentgraph.scannet.points import read_points

VERTICES, FACES = 13, 7


@pytest.mark.parametrize("with_faces", [False, True])
@pytest.mark.parametrize("with_labels", [False, True])
def test_what_is_written_is_read(tmp_path: Path, with_faces: bool, with_labels: bool) -> None:
    random = np.random.default_rng(0)
    pos = random.normal(size=(VERTICES, 3)).astype(np.float32)
    color = random.integers(0, 256, (VERTICES, 3)).astype(np.uint8)
    faces = random.integers(0, VERTICES, (FACES, 3)) if with_faces else None
    label = random.integers(0, 1 << 16, VERTICES) if with_labels else None
    path = tmp_path / "file.ply"
    write_ply(path, pos, color, faces, label)
    found = read_points(path)
    assert (found.pos == pos).all()
    assert (found.color == color).all()
    assert (found.faces is None) == (faces is None)
    assert faces is None or (found.faces == faces).all()
    assert (found.label is None) == (label is None)
    assert label is None or (found.label == label).all()
    assert path.read_bytes().startswith(b"ply\nformat binary_little_endian 1.0\n")
    far = pos + np.float64(1e6)
    write_ply(path, far, color)
    assert (read_points(path).pos == far).all()
