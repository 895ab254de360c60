import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def with_python(pages: list[Path]) -> list[Path]:
    return [page for page in pages if PYTHON.search(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", with_python(PAGES), ids=lambda page: page.name)
def test_code_on_pages_runs_from_top_to_bottom(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    if "from torchvision" in text:
        pytest.importorskip("torchvision")
    names: dict[str, object] = {}
    for code in PYTHON.findall(text):
        exec(compile(code, str(page), "exec"), names)  # noqa: S102
