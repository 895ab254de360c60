r"""Whether a compiler follows, or a transform of torch.func."""

from __future__ import annotations

import torch
import torch.autograd.forward_ad as fwAD
from torch import Tensor
from torch.compiler import is_compiling, is_dynamo_compiling


def is_traced(x: Tensor) -> bool:
    r"""Whether a compiler or an exporter follows this call on ``x``, whose entries it cannot read.

    That torch is compiling holds for all threads of a process; this holds for the thread that does.
    """
    return is_dynamo_compiling() or (is_compiling() and type(x) is not Tensor)


def is_transformed() -> bool:
    r"""Whether torch.func, or a dual number, wants derivatives that a function of ours has not."""
    return fwAD._current_level >= 0 or torch._C._are_functorch_transforms_active()


def is_followed(x: Tensor) -> bool:
    r"""Whether either follows this call, and wants torch's own functions."""
    return is_traced(x) or is_transformed()
