import re
from pathlib import Path

import pytest
from pages import PAGES, ROOT, blocks

TEXTS = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))]
TEXTS = [page for page in TEXTS if "_build" not in page.parts]
CODE = re.compile(r"```.*?```|`[^`]*`", re.DOTALL)
TABLE = re.compile(r"(?:^\|.*\n)+", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_on_pages_runs_from_top_to_bottom(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = blocks(page)
    if any("from torchvision" in block for block in code):
        pytest.importorskip("torchvision")
    names: dict[str, object] = {}
    for block in code:
        exec(compile(block, str(page), "exec"), names)  # noqa: S102


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_files_lead_somewhere(page: Path) -> None:
    links = LINK.findall(CODE.sub("", page.read_text(encoding="utf-8")))
    assert [link for link in links if not (page.parent / link).exists()] == []


def column(page: str, head: str) -> list[str]:
    r"""The filled cells below a head, in the table of a page that has it."""
    tables = TABLE.findall(ROOT.joinpath(page).read_text(encoding="utf-8"))
    rows = [[cell.strip() for cell in row.split("|")] for row in tables[-1].splitlines()]
    assert head in rows[0], f"expected a column {head} in {page}"
    return [row[rows[0].index(head)] for row in rows[2:] if row[rows[0].index(head)]]


@pytest.mark.parametrize("scenes", ["rooms", "apartments"])
def test_scores_on_the_front_page_are_those_that_were_measured(scenes) -> None:
    shown = column("README.md", {"rooms": "single rooms"}.get(scenes, scenes))
    assert len(shown) > 5
    measured = iter(column(f"benchmarks/results/compare_{scenes}.md", "mIoU"))
    assert all(cell in measured for cell in shown), "expected the same figures in the same order"


def test_the_readme_is_short() -> None:
    assert ROOT.joinpath("README.md").read_text(encoding="utf-8").count("\n") < 150
