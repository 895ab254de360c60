r"""Batches in one piece, for the way from a process that loads to the one that trains."""

from __future__ import annotations

import io
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any

import torch
from torch import Tensor

ALIGNMENT = 64  # bytes, as torch has it


class Parcel:
    r"""Anything with tensors in it, all of them in one piece of memory.

    Torch hands over each tensor by itself, with a file descriptor that the other process asks for:
    about a millisecond, and a batch with its voxel graphs has dozens of them.

    Args:
        content: What to hand over. Its tensors are on the CPU.
    """

    def __init__(self, content: Any) -> None:
        buffers: list[Any] = []  # of pickle, one for each tensor
        form = io.BytesIO()
        _Pickler(form, 5, True, buffers.append).dump(content)
        self.form = form.getvalue()
        contents = [buffer.raw() for buffer in buffers]
        self.sizes = [content.nbytes for content in contents]
        self.memory = torch.empty(sum(map(_padded, self.sizes)), dtype=torch.uint8)
        for place, content in zip(self._places(), contents, strict=True):
            place[:] = content

    def open(self) -> Any:
        r"""The content; its tensors share the memory of the parcel."""
        return ForkingPickler.loads(self.form, buffers=self._places())

    def _places(self) -> list[memoryview]:
        whole, places, start = self.memory.numpy().data, [], 0
        for size in self.sizes:
            places.append(whole[start : start + size])
            start += _padded(size)
        return places


def packed(collate: Callable[[Any], Any], items: Any) -> Parcel:
    r"""What a loader's function makes of its items, as a parcel."""
    return Parcel(collate(items))


class _Pickler(ForkingPickler):
    r"""Writes the form of tensors and leaves what they hold to the buffers, as NumPy does."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Tensor):
            return torch.from_numpy, (obj.numpy(),)
        return NotImplemented


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
