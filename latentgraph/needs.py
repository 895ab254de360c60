r"""Packages that only parts of the library need."""

import importlib
from typing import Any


def need(module: str, purpose: str, extra: str) -> Any:
    r"""Import a package of an extra.

    Args:
        module: Name of the package.
        purpose: What it is needed for, as in ``"to read PLY files"``.
        extra: The extra of ``latentgraph`` that has it.

    Raises:
        ImportError: If the package is missing, or a system library that it needs is.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:
        raise ImportError(
            f"{module} is needed {purpose}: pip install 'latentgraph[{extra}]' ({error})"
        ) from error
