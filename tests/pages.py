r"""Run the code of README and guides as a reader does: python tests/pages.py [EXTRA ...]

Each page's code is copied into an empty folder and run there with the latentgraph that this Python
has. A page that names an extra is left out unless the extra is given.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NEEDS = re.compile(r"pip install 'latentgraph\[(.*?)\]'")


def blocks(page: Path) -> list[str]:
    return PYTHON.findall(page.read_text(encoding="utf-8"))


def needs(page: Path) -> set[str]:
    r"""The extras that a page tells its reader to install."""
    found = NEEDS.findall(page.read_text(encoding="utf-8"))
    return {extra for extras in found for extra in extras.split(",")}


PAGES = [page for page in [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))] if blocks(page)]


def run(page: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "page.py").write_text("\n".join(blocks(page)), encoding="utf-8")
        subprocess.run([sys.executable, "page.py"], cwd=folder, check=True)


def installed() -> Path:
    r"""Where latentgraph is, seen from a folder outside the checkout."""
    with tempfile.TemporaryDirectory() as folder:
        code = "import latentgraph; print(latentgraph.__file__)"
        said = subprocess.check_output([sys.executable, "-c", code], cwd=folder, text=True)  # noqa: S603
    return Path(said.strip())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("extras", nargs="*", help="that are installed")
    extras = set(parser.parse_args().extras)
    where = installed()
    if where.is_relative_to(ROOT / "latentgraph"):
        sys.exit(f"expected an installed latentgraph, got the checkout's, {where}")
    for page in PAGES:
        if needs(page) <= extras:
            print(f"== {page.relative_to(ROOT)}", flush=True)
            run(page)


if __name__ == "__main__":
    main()
