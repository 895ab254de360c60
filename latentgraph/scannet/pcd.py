r"""What must hold of a PCD file before Open3D reads it: what is missing it takes from anywhere."""

from __future__ import annotations

from pathlib import Path

_HEADER = 1 << 16
_TYPES = {("F", 4), ("F", 8), *((kind, size) for kind in "IU" for size in (1, 2, 4, 8))}


def check_pcd(path: Path) -> None:
    r"""Check that a file has a header and all the points that it announces.

    Raises:
        ValueError: If it has not.
        OSError: If the file cannot be read.
    """
    with path.open("rb") as file:
        header: dict[str, list[str]] = {}
        while "DATA" not in header:
            line = file.readline(_HEADER)
            if not line.endswith(b"\n") or file.tell() > _HEADER:
                raise ValueError("cut off within its header, or not a PCD file")
            words = line.decode("utf-8", "replace").split("#")[0].split()
            header |= dict.fromkeys(words[:1], words[1:])
        points, types, counts = _table(header)
        (form,) = header["DATA"]
        if form == "ascii":
            found = 0
            for line in file:
                words_found = len(line.split())
                if words_found not in (0, sum(counts)):
                    raise ValueError(f"point {found} has {words_found} of {sum(counts)} values")
                found += words_found > 0
        elif form == "binary":
            row = sum(size * count for (_, size), count in zip(types, counts, strict=True))
            found = (path.stat().st_size - file.tell()) // row
        elif form == "binary_compressed":
            left = path.stat().st_size - file.tell()
            found = points if left >= 8 + int.from_bytes(file.read(4), "little") else 0
        else:
            raise ValueError(f"expected DATA ascii, binary or binary_compressed, got {form}")
    if found < points:
        raise ValueError(f"cut off: {points} points announced, {found} there")


def _table(header: dict[str, list[str]]) -> tuple[int, list[tuple[str, int]], list[int]]:
    r"""Number of points, type and size of each field, and how many values it has."""
    fields = header.get("FIELDS", [])
    try:
        (points,) = map(int, header["POINTS"])
        counts = [int(word) for word in header.get("COUNT", ["1"] * len(fields))]
        sizes = [int(word) for word in header["SIZE"]]
        types = list(zip(header["TYPE"], sizes, strict=True))
        good = len(fields) == len(types) == len(counts) and set(types) <= _TYPES
    except (KeyError, ValueError):
        good = False
    if not good or points < 0 or min(counts, default=0) < 1:
        raise ValueError("expected FIELDS, SIZE, TYPE, COUNT and POINTS that fit, in the header")
    if not {"x", "y", "z"} <= set(fields):
        raise ValueError(f"expected fields x, y, z, got {', '.join(fields)}")
    return points, types, counts
