r"""Memory that a call takes, of a whole process. Linux only."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Peak(NamedTuple):
    r"""Bytes at the peak of a call: more than before it, and all that the process held."""

    above: int
    process: int


def peak_of(call: Callable[[], T]) -> tuple[T, Peak]:
    r"""Make a call and see how far memory rises; what is held before and freed is given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = _resident("VmRSS")
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # lets VmHWM start anew
    result = call()
    process = _resident("VmHWM")
    return result, Peak(process - before, process)


def _resident(key: str) -> int:
    r"""Bytes that this process has in memory: ``VmRSS`` now, ``VmHWM`` at most."""
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(key + ":"):
                return int(line.split()[1]) * 1024
    raise KeyError(key)
