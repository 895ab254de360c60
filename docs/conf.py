r"""Settings of the documentation; it also writes the API pages from the exported names."""

import importlib
import inspect
import os
import pkgutil
import re
import shutil
from functools import cache
from pathlib import Path

from docutils.nodes import Element
from myst_nb.sphinx_ import NbMetadataCollector
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.logging import getLogger

import latentgraph
from latentgraph import cli, scannet

logger = getLogger(__name__)

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
# Small tensors lose more to waiting threads than they gain; the tutorials' kernels inherit this.
os.environ.setdefault("OMP_NUM_THREADS", "1")
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 180  # seconds for a cell, and for all of a tutorial
nb_merge_streams = True
exclude_patterns = ["_build"]

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_use_ivar = True

# Formulas in a sentence stay whole; those of their own line break where the screen is narrow.
mathjax4_config = {"output": {"linebreaks": {"inline": False}, "displayOverflow": "linebreak"}}

# References to our own names must resolve; those of torch and others have no page here.
nitpicky = True
nitpick_ignore = [("py:class", "latentgraph.scannet.lightning_module.SegmentationModule")]
nitpick_ignore_regex = [(r"py:.*", r"(?!latentgraph\b).*")]

html_theme = "furo"
html_title = "latentgraph"
html_static_path = ["_static"]
html_css_files = ["site.css"]


def called() -> list[str]:
    r"""What the command line calls: no package exports a function under the name of its module."""
    calls = re.findall(r"from latentgraph\.scannet\.(\w+) import (.+)", inspect.getsource(cli))
    names = [(module, own) for module, owns in calls for own in owns.split(", ")]
    return [f"{module}.{own}" for module, own in names if own not in scannet.__all__]


@cache
def public_names() -> dict[str, list[str]]:
    r"""What each package, and each module at the top, has for people, by names within it."""
    found = {}
    for top in pkgutil.iter_modules(latentgraph.__path__, "latentgraph."):
        if not top.name.endswith("__main__"):
            names = list(getattr(importlib.import_module(top.name), "__all__", []))
            names += called() if top.name == "latentgraph.scannet" else []
            found[top.name] = sorted(names, key=lambda name: name.rpartition(".")[2].lower())
    return {module: names for module, names in found.items() if names}


def value_of(module: str, name: str) -> object:
    inside, _, own_name = f"{module}.{name}".rpartition(".")
    return getattr(importlib.import_module(inside), own_name)


def write_api_pages(app: Sphinx) -> None:
    folder = Path(app.srcdir, "api")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    pages = public_names()
    for module, names in pages.items():
        lines = [module, "=" * len(module), "", f".. automodule:: {module}", "   :no-members:", ""]
        lines += [f".. currentmodule:: {module}", "", ".. autosummary::", "   :nosignatures:", ""]
        lines += [f"   {name}" for name in names]
        for name in names:
            value = value_of(module, name)
            kind = "class" if isinstance(value, type) else "function" if callable(value) else "data"
            lines += ["", f".. auto{kind}:: {module}.{name}"]
        folder.joinpath(f"{module}.rst").write_text("\n".join(lines) + "\n")
    index = ["API reference", "=============", "", ".. toctree::", "   :maxdepth: 2", ""]
    folder.joinpath("index.rst").write_text("\n".join([*index, *(f"   {m}" for m in pages), ""]))


def leave_out_fields(
    app: Sphinx, what: str, name: str, value: object, skip: bool, options: object
) -> bool | None:
    r"""Fields of a named tuple stand in its docstring already."""
    return True if type(value).__name__ == "_tuplegetter" else None


def follow_export(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: Element
) -> Element | None:
    r"""From the file where something is defined, as types name it, to where it is exported."""
    for module, names in public_names().items():
        for name in names:
            value, page = value_of(module, name), f"{module}.{name}"
            defined = f"{getattr(value, '__module__', '')}.{getattr(value, '__name__', '')}"
            if defined == node["reftarget"] != page:
                return env.get_domain("py").resolve_xref(
                    env, node["refdoc"], app.builder, node["reftype"], page, node, content
                )
    return None


def check_time_of_tutorials(app: Sphinx, env: BuildEnvironment) -> None:
    for page, facts in NbMetadataCollector.get_doc_data(env).items():
        seconds = facts.get("exec_data", {}).get("runtime") or 0.0
        if seconds > nb_execution_timeout:
            logger.warning("%s may run for %d s, took %.0f", page, nb_execution_timeout, seconds)


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", write_api_pages)
    app.connect("autodoc-skip-member", leave_out_fields)
    app.connect("missing-reference", follow_export)
    app.connect("env-updated", check_time_of_tutorials)
