import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentgraph.scannet.labels import SCANNET20
from latentgraph.scannet.page import write_page

VERTICES = 29


def content(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="scene">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    scene: dict[str, Any] = json.loads(found[1])
    return scene


def decode(text: str, dtype: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype)


@pytest.fixture
def scene() -> dict[str, Any]:
    random = np.random.default_rng(0)
    return {
        "pos": random.normal(size=(VERTICES, 3)).astype(np.float32),
        "color": random.integers(0, 256, (VERTICES, 3)).astype(np.uint8),
        "predicted": np.arange(VERTICES) % 3,
        "truth": np.arange(VERTICES) % 5 - 1,
        "labels": SCANNET20,
    }


def test_the_page_holds_the_scene(tmp_path: Path, scene: dict[str, Any]) -> None:
    path = tmp_path / "page.html"
    write_page(path, "scene0011_00", **scene)
    found = content(path.read_text())
    pos = np.stack([decode(axis, "<f4") for axis in found["pos"]], axis=1)
    assert (pos == scene["pos"]).all()
    color = np.stack([decode(channel, "u1") for channel in found["color"]], axis=1)
    assert (color == scene["color"]).all()
    shown = {panel["title"]: panel["labels"] for panel in found["panels"]}
    assert list(shown) == ["Colors", "True labels", "Predicted labels"]
    names = [entry["name"] for entry in found["palette"]]
    assert [names[i] for i in decode(shown["True labels"], "u1")[:3]] == [
        "unlabeled",
        "wall",
        "floor",
    ]
    assert (decode(shown["Predicted labels"], "u1") == scene["predicted"]).all()
    assert found["palette"][0]["color"] == "#aec7e8"


def test_nothing_comes_from_the_network(tmp_path: Path, scene: dict[str, Any]) -> None:
    path = tmp_path / "page.html"
    write_page(path, "scene0011_00", **scene)
    page = path.read_text()
    assert len(page) > 1_000_000  # plotly.js is in it
    outside = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"\b(?:src|href)\s*=|url\(|@import", outside)


def test_without_truth_there_are_two_views(tmp_path: Path, scene: dict[str, Any]) -> None:
    path = tmp_path / "page.html"
    write_page(path, "scan", **(scene | {"truth": None}))
    page = path.read_text()
    assert [panel["title"] for panel in content(page)["panels"]] == ["Colors", "Predicted labels"]
    legend = re.findall(r"</span>([^<]+)</li>", page)
    assert legend == ["wall", "floor", "cabinet"]


def test_large_scenes_are_thinned_out_and_the_page_says_so(
    tmp_path: Path, scene: dict[str, Any]
) -> None:
    path = tmp_path / "page.html"
    write_page(path, "scan", **scene, max_points=7)
    page = path.read_text()
    found = content(page)
    assert "Shown are 7 of the 29 vertices." in page
    x = decode(found["pos"][0], "<f4")
    assert len(x) == len(decode(found["color"][2], "u1")) == 7
    assert set(x) < set(scene["pos"][:, 0])


def test_names_cannot_bring_code_along(tmp_path: Path, scene: dict[str, Any]) -> None:
    path = tmp_path / "page.html"
    evil = "</script><script>alert(1)</script>@SCENE@"
    write_page(path, evil, **scene, notes=[evil], warning=evil)
    assert "alert(1)</script>" not in path.read_text()
    assert len(content(path.read_text())["panels"]) == 3
