import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentgraph.scannet.colorings import Classes, Coloring, Colors, Heat, Latents
from latentgraph.scannet.labels import SCANNET20
from latentgraph.scannet.page import write_page

VERTICES = 29
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>@SCENE@"


def content(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="scene">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    scene: dict[str, Any] = json.loads(found[1])
    return scene


def decode(array: dict[str, str]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(array["bytes"]), f"<{array['type']}")


@pytest.fixture
def pos() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(VERTICES, 3)).astype(np.float32)


@pytest.fixture
def colorings() -> list[Coloring]:
    random = np.random.default_rng(1)
    return [
        Colors("Colors", random.integers(0, 256, (VERTICES, 3)).astype(np.uint8)),
        Classes.of(SCANNET20, "Predicted labels", np.arange(VERTICES) % 3),
        Heat("Confidence", np.linspace(0, 1, VERTICES)),
        Latents("a", np.arange(VERTICES), random.random((VERTICES, 5))),
        Latents("b", np.arange(VERTICES), random.random((VERTICES, 11))),
    ]


def test_the_page_holds_the_scene(
    tmp_path: Path, pos: np.ndarray, colorings: list[Coloring]
) -> None:
    path = tmp_path / "page.html"
    write_page(path, "scan", pos + np.float32(1e4), colorings, beside="Predicted labels")
    found = content(path.read_text())
    shown = decode(found["pos"]).reshape(-1, 3)
    np.testing.assert_allclose(np.ptp(shown, axis=0), np.ptp(pos, axis=0), atol=0.01)
    assert np.abs(shown.min(axis=0) + shown.max(axis=0)).max() < 1e-3  # moved to the middle
    titles = [view["title"] for view in found["views"]]
    assert titles == ["Colors", "Predicted labels", "Confidence", "a", "b"]
    assert found["beside"] == 1
    assert (decode(found["views"][1]["data"]) == np.arange(VERTICES) % 3).all()


def test_nothing_comes_from_the_network(
    tmp_path: Path, pos: np.ndarray, colorings: list[Coloring]
) -> None:
    path = tmp_path / "page.html"
    write_page(path, "scan", pos, colorings)
    page = path.read_text()
    assert not re.search(r"\b(?:src|href)\s*=|url\(|@import|https?:|fetch\(|import\(", page)


def test_large_scenes_are_thinned_out_and_the_page_says_so(
    tmp_path: Path, pos: np.ndarray, colorings: list[Coloring]
) -> None:
    path = tmp_path / "page.html"
    write_page(path, "scan", pos, colorings, max_points=7)
    page = path.read_text()
    found = content(page)
    assert "Shown are 7 of the 29 vertices." in page
    assert len(decode(found["pos"])) == 21
    assert len(decode(found["views"][0]["data"])) == 21
    assert [len(decode(view["data"])) for view in found["views"][1:]] == [7, 7, 7, 7]
    assert found["views"][3]["nodes"] == 7


def test_affinities_that_do_not_fit_are_left_out_and_the_page_says_so(
    tmp_path: Path, pos: np.ndarray, colorings: list[Coloring]
) -> None:
    path = tmp_path / "page.html"
    write_page(path, "scan", pos, colorings)
    size = len(path.read_text())
    write_page(
        path, "scan", pos, colorings, max_bytes=len(json.dumps(content(path.read_text()))) - 1
    )
    page = path.read_text()
    assert ["maps" in view for view in content(page)["views"]] == [False, False, False, True, False]
    assert "The affinities of b are left out" in page
    assert len(page) < size
    with pytest.raises(ValueError, match="of which 100 are allowed"):
        write_page(path, "scan", pos, colorings, max_bytes=100)


def test_names_cannot_bring_code_along(tmp_path: Path, pos: np.ndarray) -> None:
    path = tmp_path / "page.html"
    classes = Classes(EVIL, np.zeros(VERTICES, dtype=np.int64), (EVIL,), Classes.palette((1, 2, 3)))
    write_page(path, EVIL, pos, [classes], notes=[EVIL], warning=EVIL)
    page = path.read_text()
    assert "<script>alert" not in page
    assert "<img" not in page
    assert content(page)["views"][0]["names"] == [EVIL, "unlabeled"]


def test_points_at_one_place(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    color = np.zeros((3, 3), dtype=np.uint8)
    write_page(path, "scan", np.ones((3, 3), dtype=np.float32), [Colors("Colors", color)])
    found = content(path.read_text())
    assert found["beside"] == 0
    assert found["spacing"] > 0
    assert (decode(found["pos"]) == 0).all()
