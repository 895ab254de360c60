r"""``python -m benchmarks.seed_tables``: builds every network, counts, prints and writes tables."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks.seed_tables import blocks, report
from benchmarks.seed_tables.counting import num_parameters, of_network
from benchmarks.seed_tables.rows import TABLES, Row

RESULTS = Path(__file__).parents[1] / "results"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.seed_tables", description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder (default: results)")
    args = parser.parse_args()

    total = sum(map(len, TABLES.values())) + len(blocks.MAPS) * len(blocks.BLOCKS)
    with tqdm(total=total, unit="row", dynamic_ncols=True, leave=False) as bar:
        parts = [report.introduction()]
        for title, rows in TABLES.items():
            counted = []
            for row in rows:
                bar.set_postfix_str(row.name)
                counted.append(_counted(row))
                bar.update()
            parts.append(report.table(title, counted))
        costs: dict[str, dict[str, blocks.Cost]] = {}
        for name, (height, width) in blocks.MAPS.items():
            costs[name] = {}
            for block in blocks.BLOCKS:
                bar.set_postfix_str(f"{block} on {name}")
                costs[name][block] = blocks.cost(block, height, width)
                bar.update()
    first, (height, width) = next(iter(blocks.MAPS.items()))
    parts += [report.block_tables(costs), report.ratio(costs[first], height * width)]
    text = "\n".join(parts)
    print(text)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "seed_tables.md").write_text(text)


def _counted(row: Row) -> tuple[Row, int, int]:
    with torch.device("meta"):
        network = row.build()
    parameters = num_parameters(network)
    if row.parameters not in (None, parameters):
        raise RuntimeError(f"expected {row.parameters:,} parameters, got {parameters:,}: {row}")
    return row, parameters, of_network(network)


if __name__ == "__main__":
    main()
