r"""Settings of the documentation; it also writes the API pages from the exported names."""

import importlib
import pkgutil
from pathlib import Path

from sphinx.application import Sphinx

import latentgraph

project = "latentgraph"
author = "the latentgraph authors"
project_copyright = "2026, the latentgraph authors"
version = release = latentgraph.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "myst_nb",
]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 180
exclude_patterns = ["_build"]

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_use_ivar = True

# References to our own names must resolve; those of torch and others have no page here.
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(?!latentgraph\b).*")]

html_theme = "furo"
html_title = "latentgraph"


def is_own_verb(name: str) -> bool:
    r"""Whether a module, as `prepare`, holds a function of its own name for people to call."""
    return callable(getattr(importlib.import_module(name), name.rpartition(".")[2], None))


def public_names() -> dict[str, list[str]]:
    r"""What each package, and each module at the top, exports for people to use."""
    found: dict[str, list[str]] = {}
    for module in pkgutil.walk_packages(latentgraph.__path__, "latentgraph."):
        package, _, own_name = module.name.rpartition(".")
        if own_name.startswith("_"):
            continue
        if module.ispkg or package == "latentgraph":
            names = getattr(importlib.import_module(module.name), "__all__", None)
            if names is not None:
                found[module.name] = [f"{module.name}.{name}" for name in names]
        elif is_own_verb(module.name) and f"{package}.{own_name}" not in found.get(package, []):
            found.setdefault(package, []).append(f"{module.name}.{own_name}")
    return found


def directive(name: str) -> str:
    module, _, own_name = name.rpartition(".")
    value = getattr(importlib.import_module(module), own_name)
    kind = "class" if isinstance(value, type) else "function" if callable(value) else "data"
    return f".. auto{kind}:: {name}"


def write_api_pages(app: Sphinx) -> None:
    folder = Path(app.srcdir, "api")
    folder.mkdir(exist_ok=True)
    pages = public_names()
    for module, names in pages.items():
        names = sorted(names, key=lambda name: name.rpartition(".")[2].lower())
        lines = [module, "=" * len(module), "", f".. automodule:: {module}", "   :no-members:", ""]
        lines += [".. autosummary::", "   :nosignatures:", ""]
        lines += [f"   ~{name}" for name in names]
        for name in names:
            lines += ["", directive(name)]
        folder.joinpath(f"{module}.rst").write_text("\n".join(lines) + "\n")
    index = ["API reference", "=============", "", ".. toctree::", "   :maxdepth: 2", ""]
    folder.joinpath("index.rst").write_text("\n".join([*index, *(f"   {m}" for m in pages), ""]))


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", write_api_pages)
