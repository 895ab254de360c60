r"""Mutated files of a scan, each read to a clear error or to what an independent reading gives.

``python tests/scannet/fuzzed_files.py 10000 0`` tries 10,000 of them from seed 0. A file that takes
over 5 seconds ends the process; one that takes over 1 GB, ends in another exception than
``ScanError``, or is read to something else is an error.
"""

from __future__ import annotations

import faulthandler
import json
import random
import re
import resource
import struct
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from raw_scans import ply_bytes, write_scan

from latentgraph.scannet.points import Points, ScanError, read_points
from latentgraph.scannet.reader import read_scan

SECONDS = 5
MEMORY = 1 << 30
TOKENS = (
    *(b"0 -1 7 99999999 4294967295 18446744073709551616 nan inf 1e400 0.5 \x00 \xff".split(b" ")),
    *(b'list uint char double ascii binary_big_endian { [ ] , : " null true'.split(b" ")),
    *(b"\n", b"\r\n", b"\t", b" ", b"end_header\n", b"property float x\n"),
    *(b"element vertex 3\n", b"element face 2\n", b"property list uint int vertex_indices\n"),
    *(
        b'"segIndices"',
        b'"segGroups"',
        b'"objectId"',
        b"nyu40id",
        b"raw_category",
        b"wall",
        b"chair",
    ),
)
TEXT = b"""ply
format ascii 1.0
comment by hand
element vertex 5
property double x
property double y
property double z
property uchar red
property uchar green
property uchar blue
property int label
element face 2
property list uchar int vertex_index
end_header
0 0 0 0 7 255 40
1 0 0 0 7 255 40
1 1 0 0 7 255 7
0 1 0 0 7 255 149
0 0 1 0 7 255 0
4 0 1 2 3
3 0 1 4
"""
SIZES = {"char": "b", "uchar": "B", "short": "h", "ushort": "H", "int": "i", "uint": "I"}
SIZES |= {"float": "f", "double": "d", "int8": "b", "uint8": "B", "int16": "h", "uint16": "H"}
SIZES |= {"int32": "i", "uint32": "I", "float32": "f", "float64": "d"}


def mutate(content: bytes, rng: random.Random) -> bytes:
    r"""Bytes changed, left out, put in, doubled or cut off at one to five places."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 1, 2, 5))):
        end = max(1, min(len(changed), rng.choice((400, len(changed)))))  # headers need their share
        i, j = rng.randrange(end), rng.randrange(end)
        match rng.randrange(6):
            case 0:
                changed[i : i + 1] = bytes([rng.randrange(256)])
            case 1:
                del changed[i : i + rng.choice((1, 3, 50))]
            case 2:
                changed[i:i] = rng.choice(TOKENS)
            case 3:
                changed[i : i + rng.choice((1, 4))] = rng.choice(TOKENS)
            case 4:
                changed[i:i] = changed[j : j + rng.randrange(60)]
            case 5 if rng.random() < 0.3:
                del changed[i:]
    return bytes(changed)


def fuzz(count: int, seed: int, guarded: bool = False) -> Counter[str]:
    r"""Read mutated files; how many ended in an error and how many in a result, by kind of file.

    ``guarded`` ends the process when one takes too long, whatever holds it up.
    """
    rng, outcomes = random.Random(seed), Counter[str]()  # noqa: S311
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("error")
        for path, read in _cycle(Path(folder)):
            if count == 0:
                return outcomes
            count -= 1
            whole = path.read_bytes()
            path.write_bytes(mutate(whole, rng))
            start = time.monotonic()
            if guarded:
                faulthandler.dump_traceback_later(SECONDS, exit=True)
            try:
                read()
                outcome, said = "results", path.name
            except ScanError as error:
                outcome, said = "errors", str(error)
            finally:
                faulthandler.cancel_dump_traceback_later()
            assert path.name in said
            assert "\n" not in said
            assert time.monotonic() - start < SECONDS
            outcomes[f"{path.suffix} {outcome}"] += 1
            path.write_bytes(whole)
    raise AssertionError("unreachable")


def _cycle(root: Path) -> Iterator[tuple[Path, Callable[[], None]]]:
    scan = write_scan(root)
    text, big = scan / "text.ply", scan / "big.ply"
    text.write_bytes(TEXT)
    rows = [(name, "float", np.arange(7.0)) for name in "xyz"]
    big.write_bytes(ply_bytes(rows, np.zeros((3, 3), int), ">"))
    mesh, labels, segs, aggregation = (
        scan / f"{scan.name}{ending}"
        for ending in (
            "_vh_clean_2.ply",
            "_vh_clean_2.labels.ply",
            "_vh_clean_2.0.010000.segs.json",
            ".aggregation.json",
        )
    )
    table = root / "scannetv2-labels.combined.tsv"

    def points(path: Path) -> Callable[[], None]:
        return lambda: _require_points(read_points(path), path.read_bytes())

    def truth() -> None:
        read = read_scan(scan)
        expected = naive_truth(*(path.read_bytes() for path in (segs, aggregation, table)))
        for key, values in expected.items():
            np.testing.assert_array_equal(getattr(read, key), values, key)

    while True:
        for path in (mesh, labels, text, big):
            yield path, points(path)
        for path in (segs, aggregation, table):
            yield path, truth


def naive_truth(segs: bytes, aggregation: bytes, table: bytes) -> dict[str, list[int]]:
    r"""NYU40 id, raw id and object of each vertex, vertex by vertex."""
    head, *rows = (line.split("\t") for line in re.split("\r\n|\r|\n", table.decode()) if line)
    ids = {}
    for row in rows:
        cells = dict(zip(head, row, strict=False))
        ids[cells["raw_category"]] = int(cells["nyu40id"]), int(cells["id"])
    truth: dict[str, list[int]] = {"nyu40": [], "category": [], "instance": []}
    for segment in json.loads(segs)["segIndices"]:
        found = (0, 0, -1)
        for group in json.loads(aggregation)["segGroups"]:
            if segment in group["segments"]:
                found = *ids.get(group["label"], (0, 0)), group["objectId"]
        for values, value in zip(truth.values(), found, strict=True):
            values.append(value)
    return truth


def naive_ply(content: bytes) -> dict[str, list[dict[str, Any]]]:
    r"""The rows of each element of a PLY file, number by number."""
    header, body = re.split(rb"(?<=\nend_header)\r?\n", content, maxsplit=1)
    elements: dict[str, tuple[int, list[list[str]]]] = {}
    kind = ""
    for line in header.decode("ascii").split("\n")[1:-1]:
        match line.split():
            case ["format", kind, "1.0"]:
                pass
            case ["element", name, number]:
                elements[name] = int(number), []
            case ["property", *words]:
                elements[name][1].append(words)
            case [] | ["comment" | "obj_info", *_]:
                pass
            case _:
                raise ValueError(line)
    take = _tokens(body) if kind == "ascii" else _packed(body, kind)

    def value(words: list[str]) -> Any:
        if words[0] != "list":
            return take(words[0])
        return [take(words[2]) for _ in range(take(words[1]))]

    return {
        name: [{words[-1]: value(words) for words in properties} for _ in range(number)]
        for name, (number, properties) in elements.items()
    }


def _tokens(body: bytes) -> Callable[[str], Any]:
    tokens = iter(re.findall(rb"[^\s\x1c-\x1f]+", body))  # blanks are those of Python's strings
    return lambda kind: (float if SIZES[kind] in "fd" else int)(next(tokens))


def _packed(body: bytes, kind: str) -> Callable[[str], Any]:
    order, place = {"binary_little_endian": "<", "binary_big_endian": ">"}[kind], 0

    def take(name: str) -> Any:
        nonlocal place
        (number,) = struct.unpack_from(order + SIZES[name], body, place)
        place += struct.calcsize(order + SIZES[name])
        return number

    return take


def _require_points(points: Points, content: bytes) -> None:
    rows = naive_ply(content)
    vertex = rows["vertex"]
    assert np.isfinite(points.pos).all()
    pos = [[row[axis] for axis in "xyz"] for row in vertex]
    expected = np.array(pos, np.float64).astype(points.pos.dtype)
    np.testing.assert_array_equal(points.pos, expected)
    if "label" in vertex[0]:
        np.testing.assert_array_equal(points.label, [row["label"] for row in vertex])
    if points.faces is not None:
        corners = [next(iter(row.values())) for row in rows["face"]]
        fans = [[c[0], c[i], c[i + 1]] for c in corners for i in range(1, len(c) - 1)]
        np.testing.assert_array_equal(points.faces, np.array(fans, int).reshape(-1, 3))
        assert points.faces.max(initial=0) < len(points)
    if points.color is not None:
        assert points.color.shape == (len(points), 3)


if __name__ == "__main__":
    fuzz(7, 1)  # what is imported on the way is no memory of a file
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.monotonic()
    print(dict(sorted(fuzz(int(sys.argv[1]), int(sys.argv[2]), guarded=True).items())))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    print(f"{time.monotonic() - begun:.0f} s, {grown / 1e6:.0f} MB")
    assert grown < MEMORY
