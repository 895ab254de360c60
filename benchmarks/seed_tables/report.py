r"""The tables as Markdown."""

from __future__ import annotations

import torch
import torchvision

from benchmarks.seed_tables.blocks import CHANNELS, MAPS, Cost
from benchmarks.seed_tables.rows import Row

# Millions of parameters and "FLOPs" that the slides print for a block on 1024 x 50 x 84.
PRINTED_BLOCKS = {"NL": ("2.1", "9.3 G"), "SNL": ("1.0", "5.0 M"), "GC": ("0.1", "4.0 M")}

# AP of boxes and of masks on COCO val2017, theirs: README of github.com/xvjiarui/GCNet, schedule
# 1x, synchronized batch norm. It has no rows for single blocks.
THEIR_AP = {
    "COCO, Mask R-CNN on ResNet-50": {
        "baseline": "37.2, 33.8",
        "+ GC, all blocks": "39.4, 35.7",
        "+ GC r4, all blocks": "39.9, 36.2",
    },
    "COCO, other backbones": {
        "R101": "39.8, 36.0",
        "R101 + GC r16": "41.1, 37.4",
        "R101 + GC r4": "41.7, 37.6",
        "X101": "41.2, 37.3",
        "X101 + GC r16": "42.4, 38.0",
        "X101 + GC r4": "42.9, 38.5",
        "X101, cascade": "44.7, 38.3",
        "X101, cascade + GC r16": "45.9, 39.3",
        "X101, cascade + GC r4": "46.5, 39.7",
        "X101, DCN, cascade": "47.1, 40.4",
        "X101, DCN, cascade + GC r16": "47.9, 40.9",
        "X101, DCN, cascade + GC r4": "47.9, 40.8",
    },
}


def introduction() -> str:
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    return f"""\
`python -m benchmarks.seed_tables`: {versions}, {torch.get_num_threads()} threads.

*Printed* is what the slides say. Ours: parameters of the networks as built here, and multiply-adds
by torch's flop counter (half its count, attention taken apart into products), G = 10^9, of one
image: 800 x 1344 on COCO, with 1000 boxes and 100 masks through the heads, of each stage of a
cascade; 224 x 224 on ImageNet; 8 x 224 x 224 on Kinetics; 769 x 769 on Cityscapes.

The slides do not say how they count. Most of their figures fit a count that also has operations of
norms, activations and pooling, has fully connected layers twice, and is divided by 2^30; on
Cityscapes one without the products of attention and without the auxiliary head, divided by 10^9.
So compare differences between rows. They cannot all be right: SNL on Cityscapes is printed below
its baseline. Parameters are rounded in most rows, and cut in some.

Nothing is trained here. Where GCNet's repository has a network, the accuracy that it states for its
own training stands beside it, as theirs.
"""


def table(title: str, rows: list[tuple[Row, int, int]]) -> str:
    r"""One table; each row with its parameters and multiply-adds."""
    printed = any(row.printed for row, *_ in rows)
    head = ["", "#param (M)", "multiply-adds (G)"]
    if printed:
        head = ["", "#param, printed (M)", "ours", "FLOPs, printed (G)", "multiply-adds (G)"]
    their_ap = THEIR_AP.get(title)
    if their_ap:
        head.append("AP of boxes, masks: theirs")
    lines = []
    for row, parameters, operations in rows:
        line = [row.name, f"{parameters:,}", f"{operations / 1e9:.3f}"]
        if row.printed:
            line = [row.name, row.printed[0], line[1], row.printed[1], line[2]]
        lines.append([*line, their_ap.get(row.name, "")] if their_ap else line)
    return f"## {title}\n\n{_markdown(head, lines)}"


def block_tables(costs: dict[str, dict[str, Cost]]) -> str:
    r"""One table for each map, and the ratio of two counts."""
    parts = [
        """\
## Single blocks

NL takes its senders through a 2 x 2 max-pool; LatentGNN has reduction 8 and 100 latent nodes, GC
the ratio 1/16. Memory is what the process takes at its peak above input and output, in training
above their gradients too, with the fused attention that blocks run on. *Affinity* is what NL's
weights between all positions would take in float32; none of the blocks writes them out.
"""
    ]
    for name, by_block in costs.items():
        head = ["", "#param, printed (M)", "ours", "FLOPs, printed", "multiply-adds (M)"]
        head += ["affinity (MB)", "forward (MB)", "training (MB)"]
        lines = []
        for block, cost in by_block.items():
            printed = PRINTED_BLOCKS.get(block, ("", "")) if name == next(iter(MAPS)) else ("", "")
            counted = f"{cost.multiply_adds / 1e6:,.1f}"
            memory = (_megabytes(n) for n in (cost.forward, cost.training))
            affinity = "" if cost.affinity is None else _megabytes(cost.affinity)
            line = [block, printed[0], f"{cost.parameters:,}", printed[1], counted, affinity]
            lines.append([*line, *memory])
        parts.append(f"### {name}\n\n{_markdown(head, lines)}")
    pairs = (500 * 500) ** 2
    parts.append(
        f"""\
*Not run* is what takes many minutes. The slides give 500 GB for the affinity of all pairs of
500 x 500 positions: {pairs / 1e10:.2f} x 10^10 numbers of 8 bytes are that much; in float32 it is
{4 * pairs / 1e9:.0f} GB. LatentGNN trains with batch norm, so with all nodes at once. In training,
which allocates much that is soon freed, memory varies by some tens of MB from run to run.
"""
    )
    return "\n".join(parts)


def ratio(by_block: dict[str, Cost], positions: int) -> str:
    r"""How many times as much NL computes as GC, by both counts."""
    dense, pooled = by_block["NL"].multiply_adds, by_block["GC"].multiply_adds
    theirs = pooled - positions * CHANNELS
    return f"""\
## NL over GC

On 1024 x 50 x 84 NL takes {dense:,} multiply-adds and GC {pooled:,}.
That is **{dense / pooled:,.0f}** times as many. GC has two products over all N positions, of N C
multiply-adds each: the mask, from x and w, and the pooling of x by it. The slides' 4.0 M leave room
for the mask alone: {theirs:,}, and NL is **{dense / theirs:,.0f}** times that. NL is counted with
all of its products, so the first ratio compares like with like.
"""


def _megabytes(size: int | None) -> str:
    return "not run" if size is None else f"{size / 1e6:,.1f}"


def _markdown(head: list[str], lines: list[list[str]]) -> str:
    rows = [head, ["---"] + ["---:"] * (len(head) - 1), *lines]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)
