r"""The exported names, as tests go through them."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from torch_geometric.data import Dataset
from torch_geometric.transforms import BaseTransform

import latentgraph
from latentgraph import cli

# What the command line calls: a package cannot export a function under the name of its module.
CALLED = re.findall(r"from latentgraph\.scannet\.(\w+) import (.+)", inspect.getsource(cli))
COMMANDS = [(module, own) for module, names in CALLED for own in names.split(", ")]


class Public(NamedTuple):
    r"""A function, or a method of a class, that is documented on its own."""

    name: str
    value: Callable[..., Any]
    doc: str


def packages() -> Iterator[str]:
    for module in pkgutil.iter_modules(latentgraph.__path__, "latentgraph."):
        if not module.name.endswith("__main__"):
            yield module.name


def exported() -> dict[str, Any]:
    found = {}
    for name in packages():
        module = importlib.import_module(name)
        for own in getattr(module, "__all__", []):
            found[f"{name}.{own}"] = getattr(module, own)
    for inside, own in COMMANDS:
        module = importlib.import_module(f"latentgraph.scannet.{inside}")
        if f"latentgraph.scannet.{own}" not in found:
            found[f"{module.__name__}.{own}"] = getattr(module, own)
    return found


EXPORTED = exported()


def is_ours(value: object) -> bool:
    return getattr(value, "__module__", "").startswith("latentgraph")


def is_written(method: Callable[..., Any]) -> bool:
    r"""Whether a method stands in our files: PyG generates some when a layer is made."""
    return inspect.unwrap(method).__code__.co_filename.startswith(latentgraph.__path__[0])


def is_called_by_pyg(value: type, own: str) -> bool:
    r"""Whether a method is one that PyG's base class calls, and explains."""
    return own == "message" or issubclass(value, BaseTransform | Dataset)


def callables() -> dict[str, Public]:
    r"""Functions, classes by their constructors, and public methods that we wrote."""
    found = {}
    for name, value in EXPORTED.items():
        if isinstance(value, type):
            if "__init__" in vars(value) or hasattr(value, "__dataclass_fields__"):
                found[name] = Public(name, value, inspect.getdoc(value) or "")
            for own, method in vars(value).items():
                method = inspect.unwrap(getattr(method, "__func__", method))
                public = inspect.isfunction(method) and not own.startswith("_")
                if public and is_written(method) and not is_called_by_pyg(value, own):
                    full = f"{name}.{own}"
                    found[full] = Public(full, method, inspect.getdoc(getattr(value, own)) or "")
        elif callable(value) and is_ours(value):
            found[name] = Public(name, value, inspect.getdoc(value) or "")
    return found


CALLABLES = callables()


def parameters(value: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    found = dict(inspect.signature(value).parameters)
    found.pop("self", None)
    found.pop("cls", None)
    return found
