import json
from pathlib import Path

import pytest
import torch

from benchmarks.compare import BLOCKS, estimate, finished, place, render, settings
from latentgraph.scannet.network_config import Context

FACTS = {"steps": 2400, "parameters": 12345, "machine": "a processor"}


@pytest.mark.parametrize("block", [block for block in BLOCKS if BLOCKS[block]])
def test_every_block_can_be_built_and_starts_finite(block: str) -> None:
    made = Context(**BLOCKS[block])(64)  # type: ignore[arg-type]
    x = torch.randn(37, 64)
    positions = torch.randn(37, 4)
    out = made(x, affinity_x=positions) if "positions" in block else made(x)
    assert out.shape == x.shape
    assert out.isfinite().all()


def test_a_finished_run_counts_only_with_the_same_settings(tmp_path: Path) -> None:
    folder = tmp_path / "rooms"
    job = ("no context", 3)
    assert finished(folder, "rooms", *job) is None
    out = place(folder, *job)
    out.mkdir(parents=True)
    result = {"settings": settings(folder, "rooms", *job), "seconds": 90.0}
    (out / "result.json").write_text(json.dumps(result))
    assert finished(folder, "rooms", *job) == result
    (out / "result.json").write_text(json.dumps(result | {"settings": ["--other"]}))
    assert finished(folder, "rooms", *job) is None


def test_the_estimate_uses_what_was_measured(tmp_path: Path) -> None:
    folder = tmp_path / "rooms"
    jobs = [("no context", seed) for seed in range(5)]
    assert "5 runs, 5 of them still to do" in estimate(folder, "rooms", jobs, jobs, 2)
    out = place(folder, *jobs[0])
    out.mkdir(parents=True)
    result = {"settings": settings(folder, "rooms", *jobs[0]), "seconds": 420.0}
    (out / "result.json").write_text(json.dumps(result))
    text = estimate(folder, "rooms", jobs, jobs[1:], 2)
    assert "5 runs, 4 of them still to do" in text
    assert "about 7 minutes each: about 14 minutes" in text


def test_the_table_has_mean_and_spread() -> None:
    runs = [FACTS | {"miou": m, "look_alikes": m / 2, "seconds": 60.0 * m} for m in (50.0, 53.0)]
    table = render("rooms", 2, {"no context": runs, "other": runs[:1]})
    assert "| no context | 2 | 51.5 ± 2.1 | 25.8 ± 1.1 | 12,345 | 51.5 |" in table
    assert "| other | 1 | 50.0 | 25.0 | 12,345 | 50.0 |" in table
    assert "`python -m benchmarks.compare --scenes rooms --seeds 2`" in table
