r"""The page of a scene in a browser: Debian's chromium, driven by playwright."""

import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentgraph.scannet.colorings import Classes, Coloring, Colors, Heat, Latents, distinct, ramp
from latentgraph.scannet.labels import SCANNET200
from latentgraph.scannet.page import MAX_POINTS, write_page
from latentgraph.scannet.view import view

CHROMIUM = shutil.which("chromium")
EVIL = "<img src=x onerror=alert(1)>"
NAMES = ("wall", "floor", EVIL)
PALETTE = Classes.palette((200, 10, 20), (30, 210, 40), (50, 60, 220))
# What goes to the graphics card, in the order in which it goes there.
COUNT = """
window.uploads = []; window.draws = [];
const card = WebGL2RenderingContext.prototype, { bufferData, drawArrays } = card;
card.bufferData = function (...given) {
  uploads.push(given[1].constructor.name);
  return bufferData.apply(this, given);
};
card.drawArrays = function (...given) {
  draws.push(given[2]);
  return drawArrays.apply(this, given);
};
"""
# The colors of each half of the canvas and how many pixels have them.
PIXELS = """() => {
  const canvas = document.querySelector("canvas"), gl = canvas.getContext("webgl2");
  const { width, height } = canvas, half = Math.floor(width / 2);
  return [0, half].map(x => {
    const pixels = new Uint8Array(4 * half * height), found = {};
    gl.readPixels(x, 0, half, height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
    for (let i = 0; i < pixels.length; i += 4) {
      const color = pixels.subarray(i, i + 3).join();
      found[color] = (found[color] ?? 0) + 1;
    }
    return found;
  });
}"""
# Waits for the card to have drawn what it was told to.
DRAWN = """() => {
  const gl = document.querySelector("canvas").getContext("webgl2");
  gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
}"""
WHITE = (255, 255, 255)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    software = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=list(software))
        yield chromium
        chromium.close()


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    r"""A tab without a network in which nothing may go wrong."""
    context = browser.new_context(offline=True, viewport={"width": 1200, "height": 900})
    found: list[str] = []
    page = context.new_page()
    page.add_init_script(COUNT)
    page.on("console", lambda message: found.append(message.text))
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("dialog", lambda dialog: (found.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: request.url.startswith("file:") or found.append(request.url))
    yield page
    context.close()
    assert found == []


def open_page(tab: Any, path: Path) -> None:
    tab.goto(path.as_uri())
    tab.wait_for_selector("body[data-drawn]", timeout=60_000)


def colors(tab: Any) -> list[Counter[tuple[int, ...]]]:
    r"""Pixels of each color in the left and in the right pane, white left out."""
    tab.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
    halves = []
    for half in tab.evaluate(PIXELS):
        counted = {tuple(map(int, color.split(","))): n for color, n in half.items()}
        halves.append(Counter({color: n for color, n in counted.items() if color != WHITE}))
    return halves


def three_sheets() -> tuple[np.ndarray, np.ndarray]:
    r"""Three squares beside each other, and the number of the square of each point."""
    x, y = np.meshgrid(np.arange(30), np.arange(30))
    sheet = np.stack([x, y, 0 * x], axis=-1).reshape(-1, 3) / 10
    pos = np.concatenate([sheet + np.array([4.0 * k, 0, 0]) for k in range(3)])
    return pos.astype(np.float32), np.repeat(np.arange(3), len(sheet))


@pytest.fixture
def sheets(tmp_path: Path) -> Path:
    pos, of = three_sheets()
    own = np.array([[90, 80, 70], [7, 8, 9], [100, 0, 100]], dtype=np.uint8)
    affinity = np.array([[0.0, 0.1], [0.2, 0.0], [0.0, 0.4]])
    colorings: list[Coloring] = [
        Colors("Colors", own[of]),
        Classes("True labels", of, NAMES, PALETTE),
        Classes("Predicted labels", (of + 1) % 3 - (of == 2), NAMES, PALETTE),
        Heat("Confidence", of / 2),
        Latents("block", of, affinity),
    ]
    path = tmp_path / "page.html"
    write_page(path, EVIL, pos, colorings, notes=[EVIL], warning=EVIL, beside="True labels")
    return path


def shades(values: list[float]) -> set[tuple[int, ...]]:
    return {tuple(ramp()[round(255 * value)].tolist()) for value in values}


def test_each_pane_shows_its_coloring(tab: Any, sheets: Path) -> None:
    open_page(tab, sheets)
    left, right = colors(tab)
    assert set(left) == {(90, 80, 70), (7, 8, 9), (100, 0, 100)}
    assert set(right) == set(map(tuple, PALETTE.tolist()))
    assert left.total() == right.total() > 5000
    assert set(tab.evaluate("draws")) == {2700}
    for title, expected in (("Confidence", [0, 0.5, 1]), ("block", None)):
        tab.get_by_label("coloring").first.select_option(title)
        found = set(colors(tab)[0])
        assert found == (shades(expected) if expected else set(map(tuple, distinct(2).tolist())))
    tab.get_by_label("latent node").select_option("latent 1")
    assert set(colors(tab)[0]) == shades([0.25, 0, 1])
    assert tab.locator(".legend", has_text="block, latent 1").inner_text().endswith("0.400")
    assert tab.evaluate("uploads").count("Float32Array") == 1


def test_the_legend_switches_classes_and_leaves_positions_alone(tab: Any, sheets: Path) -> None:
    open_page(tab, sheets)
    tab.get_by_label("coloring").first.select_option("Predicted labels")
    before = colors(tab)
    tab.get_by_role("button", name="floor").click()
    after = colors(tab)
    floor = tuple(PALETTE[1].tolist())
    assert floor in before[0]
    assert floor in before[1]
    for pane, full in zip(after, before, strict=True):  # one legend for both
        assert floor not in pane
        assert pane == Counter({color: n for color, n in full.items() if color != floor})
    tab.get_by_role("button", name="floor").click()
    assert colors(tab) == before
    tab.get_by_role("button", name="none", exact=True).click()
    assert colors(tab) == [Counter(), Counter()]
    tab.get_by_role("button", name="all", exact=True).click()
    assert colors(tab) == before
    assert tab.evaluate("uploads").count("Float32Array") == 1


def test_the_mouse_turns_moves_and_asks(tab: Any, sheets: Path) -> None:
    open_page(tab, sheets)
    before = colors(tab)
    box = tab.locator("canvas").bounding_box()
    middle = box["x"] + box["width"] / 4, box["y"] + box["height"] / 2
    tab.mouse.move(*middle)
    assert "True labels: floor\n" in tab.locator("#tip", has_text="Confidence").inner_text()
    tab.mouse.down()
    tab.mouse.move(middle[0] + 90, middle[1] + 40)
    tab.mouse.up()
    turned = colors(tab)
    assert turned != before
    tab.mouse.wheel(0, -400)
    assert colors(tab)[0].total() > turned[0].total()
    tab.locator("#cut").fill("1")
    tab.locator("#size").fill("2")
    assert colors(tab)[0].total() > 0
    assert tab.evaluate("uploads").count("Float32Array") == 1


def test_names_are_text(tab: Any, sheets: Path, tmp_path: Path) -> None:
    open_page(tab, sheets)
    assert tab.locator("h1").inner_text() == tab.title() == EVIL
    assert tab.get_by_role("button", name=EVIL).count() == 1
    assert tab.locator("img").count() == 0
    scan = tmp_path / "<img src=x onerror=alert(2)>.xyz"
    scan.write_text("0 0 0 9 9 9 1\n1 0 0 9 9 9 2\n0 1 2 9 9 9 2\n")
    with pytest.warns(UserWarning, match="estimated"):
        page, _ = view(scan, out=tmp_path / "out")
    open_page(tab, page)
    assert tab.locator("h1").inner_text() == scan.stem
    assert tab.locator("img").count() == 0


def test_without_webgl_the_page_says_so(browser: Any, sheets: Path) -> None:
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null;")
    page.goto(sheets.as_uri())
    assert page.locator("#panes .warning").inner_text() == "This page needs a browser with WebGL 2."
    context.close()


def test_two_hundred_thousand_points(tab: Any, tmp_path: Path) -> None:
    r"""In one draw call a pane, in less than 20 MB, open in less than 10 seconds."""
    random = np.random.default_rng(0)
    count = MAX_POINTS + 1_003
    pos = random.uniform(0, 6, (count, 3)).astype(np.float32)
    pos[np.arange(count), random.integers(0, 3, count)] = 0
    node = random.integers(0, 20_011, count)
    colorings: list[Coloring] = [
        Colors("Colors", random.integers(0, 256, (count, 3)).astype(np.uint8)),
        Classes.of(SCANNET200, "True labels", random.integers(-1, 200, count)),
        Classes.of(SCANNET200, "Predicted labels", random.integers(0, 200, count)),
        Heat("Confidence", random.random(count)),
        Latents("a", node, random.random((20_011, 64))),
        Latents("b", node, random.random((20_011, 512))),
    ]
    path = tmp_path / "page.html"
    write_page(path, "scan", pos, colorings, beside="Predicted labels")
    assert path.stat().st_size < 20e6
    assert "The affinities of b are left out" in path.read_text()
    start = time.perf_counter()
    open_page(tab, path)
    tab.evaluate(DRAWN)
    seconds = time.perf_counter() - start
    print(f"{path.stat().st_size / 1e6:.1f} MB, {seconds:.1f} s")
    left, right = colors(tab)
    assert min(left.total(), right.total()) > 10_000
    assert seconds < 10
    assert set(tab.evaluate("draws")) == {MAX_POINTS}
    assert tab.evaluate("uploads").count("Float32Array") == 1
    tab.get_by_label("coloring").first.select_option("a")
    tab.get_by_label("latent node").select_option("latent 63")
    start = time.perf_counter()
    colors(tab)
    assert time.perf_counter() - start < 10
