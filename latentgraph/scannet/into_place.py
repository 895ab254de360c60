r"""Files that are whole from the moment that they are there."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

FULL = (errno.ENOSPC, errno.EDQUOT)
LITTLE = 2**16  # bytes; a disk without so many has no room for a run


@contextmanager
def _naming(path: str | os.PathLike[str]) -> Iterator[None]:
    r"""Where something is written to :obj:`path`: errors of a full disk, which do not, say so."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL and error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def into_place(path: str | os.PathLike[str]) -> Iterator[Path]:
    r"""A path beside :obj:`path` to write to, renamed to it at the end, removed after an error."""
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} should be a file, and is a folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(f"{path.parent} should be a folder, and is a file") from error
    part = path.with_name(f".{path.name}.part")
    try:
        with _naming(path):
            yield part
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def check_space(folder: Path) -> None:
    r"""Raise OSError unless something can be written to a folder, which need not be there yet."""
    place = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    with _naming(folder), tempfile.TemporaryFile(dir=place) as file:
        file.write(bytes(LITTLE))


def save(content: Any, path: str | os.PathLike[str]) -> None:
    r"""Write what :func:`torch.load` reads, renamed into place when it is whole.

    Raises:
        OSError: If it cannot be written, for want of space for example.
    """
    with into_place(path) as part:
        try:
            torch.save(content, part)
        except RuntimeError as error:  # what torch makes of a disk that is full
            reason = str(error).partition("\n")[0]
            raise OSError(f"{path} cannot be written; is the disk full? ({reason})") from error
