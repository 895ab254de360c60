r"""Every public name says what it does, what it takes and gives, and how it fails."""

import ast
import importlib
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Callable
from typing import Any

import pytest
from public_names import CALLABLES, EXPORTED, Public, parameters
from torch import Tensor, nn

import latentgraph

SECTION = re.compile(r"^(Args|Returns|Yields|Raises|Attributes|Warns|Example):$", re.MULTILINE)
ENTRY = re.compile(r"^    (\**\w+)(?: \(.*?\))?:", re.MULTILINE)
SHAPE = re.compile(r"\(.*\)|scalar|shape|as the block takes it|as in|float|same|like")
FORMULA = re.compile(r":math:|\.\. math::")
# Modules that stand on no paper.
OWN = {"OnGrid", "Context"}


def sections(doc: str) -> dict[str, str]:
    parts = SECTION.split(doc)
    return dict(zip(parts[1::2], parts[2::2], strict=True)) | {"": parts[0]}


def entries(text: str) -> dict[str, str]:
    parts = ENTRY.split(text)
    return dict(zip((name.lstrip("*") for name in parts[1::2]), parts[2::2], strict=True))


def raised(value: Callable[..., Any]) -> set[str]:
    r"""Types of the errors that the body raises itself, and does not catch."""
    body = value.__init__ if isinstance(value, type) else value  # type: ignore[misc]
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(body))))
    except (OSError, TypeError):
        return set()
    nodes = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise)]
    calls = [node.func for node in nodes if isinstance(node, ast.Call)]
    return {node.id for node in calls if isinstance(node, ast.Name)} - {"AssertionError"}


def problems(public: Public) -> list[str]:
    r"""What is missing from a docstring."""
    _, value, doc = public
    found, named, first = sections(doc), parameters(value), doc.partition("\n")[0]
    explained = entries(found.get("Args", "") + found.get("Attributes", ""))
    raises = entries(found.get("Raises", ""))
    returned = inspect.signature(value).return_annotation
    silent = isinstance(value, type) or returned in (None, "None", inspect.Signature.empty)
    tensors = [own for own, parameter in named.items() if is_tensor(parameter) and own in explained]
    return [
        *([] if first.endswith((".", ":")) else [f"a first sentence, got {first!r}"]),
        *(f"{own} under Args" for own in named if own not in explained),
        *(f"no {own} under Args" for own in entries(found.get("Args", "")) if own not in named),
        *(f"the shape of {own}" for own in tensors if not SHAPE.search(explained[own])),
        *(["Returns"] if not silent and named and "Returns" not in found else []),
        *(f"{error} under Raises" for error in sorted(raised(value)) if error not in raises),
    ]


def is_tensor(parameter: inspect.Parameter) -> bool:
    annotation = str(parameter.annotation)
    return "Tensor" in annotation and "Callable" not in annotation


@pytest.mark.parametrize("name", sorted(CALLABLES))
def test_a_docstring_has_all_that_a_reader_needs(name) -> None:
    missing = problems(CALLABLES[name])
    assert not missing, f"{name} lacks: {'; '.join(missing)}"


def gappy(x: Tensor, size: int) -> Tensor:
    r"""Double

    Args:
        x: what is doubled.
        width: of what is not there.
    """
    if size < 1:
        raise ValueError("no")
    return 2 * x


def test_every_gap_is_found() -> None:
    assert problems(Public("gappy", gappy, inspect.getdoc(gappy) or "")) == [
        "a first sentence, got 'Double'",
        "size under Args",
        "no width under Args",
        "the shape of x",
        "Returns",
        "ValueError under Raises",
    ]


MODULES = sorted(
    name
    for name, value in EXPORTED.items()
    if isinstance(value, type)
    and issubclass(value, nn.Module)
    and name.startswith(("latentgraph.nn.", "latentgraph.models."))
    and name.rpartition(".")[2] not in OWN
)


@pytest.mark.parametrize("name", MODULES)
def test_a_layer_has_its_formula_and_its_source(name) -> None:
    doc = inspect.getdoc(EXPORTED[name]) or ""
    assert FORMULA.search(doc)
    assert "https://" in doc


def test_a_folder_inside_a_package_exports_nothing_that_its_package_does_not() -> None:
    r"""What only a folder exports would be public, and in no page of the API reference."""
    inner = [
        module.name
        for module in pkgutil.walk_packages(latentgraph.__path__, "latentgraph.")
        if module.ispkg and module.name.count(".") > 1
    ]
    assert "latentgraph.scannet.rooms" in inner
    for name in inner:
        outer = importlib.import_module(name.rpartition(".")[0])
        assert set(importlib.import_module(name).__all__) <= set(outer.__all__), name
