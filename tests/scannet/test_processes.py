r"""Several processes, and processes that end in the middle."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from latentgraph.scannet.evaluate import evaluate

RECIPE = """
threads: 1
model:
  network:
    voxel_size: 0.3
    channels: [5, 7]
    context: {block: LatentGNN, options: {latent_dims: [3], norm: batch_norm}}
data:
  num_workers: 1
  augment: [RandomRotateZ: {}, ElasticDistortion: {}, RandomCrop: {max_points: 9973}]
  mix: 0.5
trainer:
  accelerator: cpu
  max_epochs: 7
  check_val_every_n_epoch: 2
  enable_progress_bar: false
  enable_model_summary: false
  num_sanity_val_steps: 0
"""

SCRIPT = """
import sys
import torch
from latentgraph.scannet.evaluate import evaluate

checkpoint, root, devices, out = sys.argv[1:]
score = evaluate(checkpoint, root, "train", num_workers=0, accelerator="cpu", devices=int(devices))
torch.save(score.confusion, f"{out}/{torch.distributed.get_rank()}.pt")
"""


@pytest.fixture
def command(rooms: Path, tmp_path: Path) -> list[str]:
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    latentgraph = [sys.executable, "-m", "latentgraph", "train"]
    return [*latentgraph, "--config", str(tmp_path / "tiny.yaml"), "--data.root", str(rooms)]


def weights(path: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state


@pytest.mark.slow
def test_two_processes_train_and_evaluate_as_one(
    command: list[str], rooms: Path, tmp_path: Path
) -> None:
    two = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]
    subprocess.run([*command, "--out", str(tmp_path / "run"), *two], check=True)  # noqa: S603
    last = tmp_path / "run" / "last.ckpt"
    # Five scenes of training: uneven, so that one process has one more than the other.
    expected = evaluate(last, rooms, "train", num_workers=0, accelerator="cpu").confusion
    script = tmp_path / "evaluate.py"
    script.write_text(SCRIPT)
    arguments = [sys.executable, str(script), str(last), str(rooms), "2", str(tmp_path)]
    subprocess.run(arguments, check=True)  # noqa: S603
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    assert torch.equal(found[0], expected)
    assert torch.equal(found[1], expected)
    assert expected.sum() > 0
    logged = list((tmp_path / "run").glob("events*"))
    assert logged


def killed(command: list[str], checkpoint: Path, delay: float) -> bool:
    r"""Whether a run was killed, so many seconds after its next checkpoint, before it ended."""
    before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else None
    process = subprocess.Popen(command, start_new_session=True)  # noqa: S603
    while process.poll() is None:
        if checkpoint.exists() and checkpoint.stat().st_mtime_ns != before:
            time.sleep(delay)
            os.killpg(process.pid, signal.SIGKILL)
            break
        time.sleep(0.005)
    assert process.wait() in (0, -signal.SIGKILL)
    return process.returncode != 0


@pytest.mark.slow
def test_a_run_killed_at_any_moment_ends_as_if_it_had_not_been(
    command: list[str], tmp_path: Path
) -> None:
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    subprocess.run([*command, "--out", str(unbroken)], check=True)  # noqa: S603
    seed = random.randrange(2**32)  # noqa: S311
    draw = random.Random(seed)  # noqa: S311
    again = [*command, "--out", str(broken), "--resume"]
    kills = sum(killed(again, broken / "last.ckpt", draw.uniform(0.0, 0.5)) for _ in range(5))
    subprocess.run(again, check=True)  # noqa: S603
    assert kills > 0, f"seed {seed}"
    found, expected = weights(broken / "last.ckpt"), weights(unbroken / "last.ckpt")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected), f"seed {seed}"
    assert yaml.safe_load((broken / "config.yaml").read_text())["resume"]
