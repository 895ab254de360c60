r"""Several processes, and processes that are killed."""

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from latentgraph.scannet import ScanNet
from latentgraph.scannet.evaluate import evaluate

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore:The '.*dataloader' does not have many workers",
        "ignore::DeprecationWarning",
        "ignore::FutureWarning",
    ),
]

RECIPE = """
threads: 1
model:
  network:
    voxel_size: 0.3
    channels: [5, 7]
    context: {block: LatentGNN, options: {latent_dims: [3], norm: batch_norm}}
data:
  num_workers: 2
  augment:
    - RandomDropout: {ratio: 0.2, p: 0.5}
    - RandomRotateZ: {}
    - ElasticDistortion: {}
    - ColorJitter: {}
    - RandomCrop: {max_points: 9973}
  mix: 0.5
trainer:
  accelerator: cpu
  max_epochs: 6
  check_val_every_n_epoch: 2
  enable_progress_bar: false
  num_sanity_val_steps: 0
"""


@pytest.fixture
def arguments(rooms: Path, tmp_path: Path) -> list[str]:
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    return ["train", "--config", str(tmp_path / "tiny.yaml"), "--data.root", str(rooms)]


def run(*command: str | Path) -> None:
    subprocess.run([sys.executable, *map(str, command)], check=True)  # noqa: S603


EVALUATE = """
import sys
import torch
from latentgraph.scannet.evaluate import evaluate

checkpoint, root, split, out = sys.argv[1:]
score = evaluate(checkpoint, root, split, num_workers=0, accelerator="cpu", devices=2)
torch.save(score.confusion, f"{out}.{torch.distributed.get_rank()}")
"""


def test_two_processes_train_and_evaluate_as_one(
    arguments: list[str], rooms: Path, tmp_path: Path
) -> None:
    out, script = tmp_path / "run", tmp_path / "evaluate.py"
    two = ["--trainer.devices=2", "--trainer.strategy=ddp"]
    run("-m", "latentgraph", *arguments, "--out", out, *two)
    script.write_text(EVALUATE)
    for split in ("train", "val"):  # five scenes and three: no two processes have as many
        alone = evaluate(out / "last.ckpt", rooms, split, num_workers=0, accelerator="cpu")
        annotated = sum(int((scene.y >= 0).sum()) for scene in ScanNet(rooms, split))
        assert alone.confusion.sum() == annotated > 0
        run(script, out / "last.ckpt", rooms, split, tmp_path / split)
        for rank in (0, 1):
            assert torch.equal(torch.load(tmp_path / f"{split}.{rank}"), alone.confusion)
    # What both logged in training, on the scenes of val and at the end.
    callbacks = torch.load(out / "last.ckpt", weights_only=True)["callbacks"]
    (logged,) = (float(c["current_score"]) for c in callbacks.values() if c.get("monitor"))
    assert logged == pytest.approx(100 * alone.miou, rel=1e-6)


MORTAL = """
import os, signal, sys
from multiprocessing import active_children
from lightning.pytorch import Trainer
from latentgraph.cli import main

calls, last, fit, process = 0, int(sys.argv[1]), Trainer.fit, os.getpid()

def count(frame, event, argument):
    global calls
    calls += event == "call"
    if calls == last and os.getpid() == process:
        for loader in active_children():
            loader.kill()
        os.kill(process, signal.SIGKILL)

def fit_and_count(*arguments, **options):
    sys.setprofile(count)
    fit(*arguments, **options)
    sys.setprofile(None)
    print(calls)

Trainer.fit = fit_and_count
sys.exit(main(sys.argv[2:]))
"""


def test_a_run_killed_at_any_moment_ends_as_if_it_had_not_been(
    arguments: list[str], tmp_path: Path
) -> None:
    script = tmp_path / "mortal.py"
    script.write_text(MORTAL)

    def train(out: Path, kill_at: int) -> tuple[bool, str]:
        r"""Whether it was killed, in that call of a Python function since training began."""
        command = [sys.executable, script, str(kill_at), *arguments, "--out", out, "--resume"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)  # noqa: S603
        assert done.returncode in (0, -signal.SIGKILL)
        return done.returncode != 0, done.stdout

    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    (calls,) = (int(said) for said in train(unbroken, -1)[1].splitlines() if said.isdigit())
    seed = random.randrange(2**32)  # noqa: S311
    draw = random.Random(seed)  # noqa: S311
    epochs, parts = [-1], 0
    for _ in range(8):
        killed, _ = train(broken, draw.randrange(calls // 2))
        if not killed:
            break
        last = broken / "last.ckpt"
        epochs.append(torch.load(last, weights_only=True)["epoch"] if last.exists() else -1)
        parts += len(list(broken.glob(".*.part")))
    else:
        train(broken, -1)
    print(f"seed {seed}: {len(epochs) - 1} kills, checkpoints then of {epochs[1:]}, {parts} parts")
    assert epochs == sorted(epochs)
    assert len(epochs) > 3
    assert not list(broken.glob(".*.part"))
    for name in ("last.ckpt", "best.ckpt"):
        found, expected = (torch.load(run / name, weights_only=True) for run in (broken, unbroken))
        assert found["epoch"] == expected["epoch"]
        for key, weight in expected["state_dict"].items():
            assert torch.equal(found["state_dict"][key], weight), f"{name}: {key}, seed {seed}"
