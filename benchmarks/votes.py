r"""What votes and fragments change, on the finished runs of ``make compare``: ``make votes``.

Each network is scored once for each way to look at held-out rooms, as by ``latentgraph evaluate``:
more than ``make compare`` has, where one room taken for one of another kind changes the mean as
much as votes do. The scores lie beside its checkpoint, so a stopped measurement goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.compare import BLOCKS, PREPARING, finished, place, spread
from latentgraph.scannet.into_place import into_place
from latentgraph.scannet.votes import Votes

QUARTERS = (0.0, 90.0, 180.0, 270.0)
LOOKS = {
    "one look": Votes(),
    "--flip": Votes(flip=True),
    "--rotations 0 90 180 270": Votes(rotations=QUARTERS),
    "--scales 0.95 1 1.05": Votes(scales=(0.95, 1.0, 1.05)),
    "--fragment 6": Votes(fragment=6.0),
    "--fragment 4": Votes(fragment=4.0),
    "--fragment 3": Votes(fragment=3.0),
    "--fragment 2": Votes(fragment=2.0),
}
NUM_ROOMS = 200  # those of `make compare` among them


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.votes", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="runs of each block, at most (3)")
    parser.add_argument("--blocks", nargs="+", choices=BLOCKS, default=BLOCKS, metavar="BLOCK")
    parser.add_argument("--runs", type=Path, default=Path("runs/compare"))
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args(arguments)
    folder = options.runs / "rooms"
    runs = {
        block: [
            place(folder, block, seed)
            for seed in range(options.seeds)
            if finished(folder, "rooms", block, seed)
        ]
        for block in options.blocks
    }
    if not any(runs.values()):
        raise SystemExit(f"{folder} has no finished run: make compare comes first")
    rooms = options.runs / "held_out"
    make_rooms(rooms)
    found = {
        block: [{name: score(run, rooms, name) for name in LOOKS} for run in folders]
        for block, folders in runs.items()
        if folders
    }
    options.results.mkdir(parents=True, exist_ok=True)
    path = options.results / "votes.md"
    path.write_text(render(options.seeds, found), encoding="utf-8")
    print(f"{path.read_text(encoding='utf-8')}\n{path}")


def make_rooms(root: Path) -> None:
    from latentgraph.scannet.prepare import prepare
    from latentgraph.scannet.rooms import write_rooms

    write_rooms(root, num_train=0, num_val=NUM_ROOMS)
    prepare(root, num_workers=PREPARING)


def score(run: Path, rooms: Path, name: str) -> float:
    r"""The mIoU of a run in percent, measured or read."""
    path, checkpoint = run / "votes.json", run / "last.ckpt"
    known: dict[str, Any] = {}
    if path.is_file() and path.stat().st_mtime >= checkpoint.stat().st_mtime:
        known = json.loads(path.read_text(encoding="utf-8"))
    if name not in known:
        from latentgraph.scannet.evaluate import evaluate

        found = evaluate(checkpoint, rooms, num_workers=0, accelerator="cpu", votes=LOOKS[name])
        known[name] = 100 * found.miou
        with into_place(path) as part:
            part.write_text(json.dumps(known, indent=1), encoding="utf-8")
        print(f"{run.name}, {name}: {known[name]:.1f}", flush=True)
    return float(known[name])


def render(seeds: int, found: dict[str, list[dict[str, float]]]) -> str:
    r"""The table as Markdown: the score of one look, and what the others change."""
    one, *others = LOOKS
    seeds_of = ", ".join(f"{len(runs)} of {block}" for block, runs in found.items())
    lines = [
        "# Votes and fragments, on rooms",
        "",
        f"`python -m benchmarks.votes --seeds {seeds}`: mIoU of `latentgraph evaluate` on "
        f"{NUM_ROOMS} held-out rooms, and by how many points its options change that of a network. "
        f"Mean and standard deviation over seeds: {seeds_of}.",
        "",
        f"| | {' | '.join(found)} |",
        "|---" * (len(found) + 1) + "|",
        f"| {one} | {' | '.join(spread(found[block], one) for block in found)} |",
    ]
    for name in others:
        changes = [
            spread([{name: run[name] - run[one]} for run in runs], name) for runs in found.values()
        ]
        lines.append(f"| {name} | {' | '.join(changes)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
