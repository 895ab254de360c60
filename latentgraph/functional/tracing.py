r"""Whether a compiler follows."""

from __future__ import annotations

from torch import Tensor
from torch.compiler import is_compiling, is_dynamo_compiling


def is_traced(x: Tensor) -> bool:
    r"""Whether a compiler or an exporter follows this call on ``x``, whose entries it cannot read.

    That torch is compiling holds for all threads of a process; this holds for the thread that does.
    """
    return is_dynamo_compiling() or (is_compiling() and type(x) is not Tensor)
