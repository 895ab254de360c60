import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from runpy import run_path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def main_of(name: str) -> Callable[..., tuple[float, ...]]:
    main: Callable[..., tuple[float, ...]] = run_path(str(EXAMPLES / name))["main"]
    return main


@pytest.mark.slow
def test_custom_layers_learn_in_both_forms() -> None:
    dense, edges = main_of("custom_layers.py")()
    assert dense < 0.05
    assert edges < 0.2


def test_local_convolutions_fail_where_latent_gnn_does_not() -> None:
    local, context = main_of("node_features.py")()
    assert local < 0.5
    assert context > 0.9


@pytest.mark.slow
def test_context_tells_the_light_of_an_image() -> None:
    none, global_context, latent_gnn = main_of("grid_features.py")()
    assert none > 0.3
    assert max(global_context, latent_gnn) < 0.2


@pytest.mark.slow
def test_every_block_classifies_digits(tmp_path, capsys) -> None:
    accuracy = main_of("image_classification.py")(epochs=3, out=str(tmp_path))
    assert len(accuracy) == 6
    assert min(accuracy.values()) > 0.5
    printed = capsys.readouterr().out
    assert all(name in printed for name in (*accuracy, "input", "attention", "output"))
    assert (tmp_path / "attention.png").stat().st_size > 10_000


@pytest.mark.slow
def test_points_on_two_processes_get_what_one_process_gives() -> None:
    command = [sys.executable, EXAMPLES / "sharded_points.py", "--points=20011", "--steps=3"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603
    losses = [float(loss) for loss in re.findall(r"step \d: loss (\S+),", printed)]
    assert len(losses) == 3
    assert losses[-1] < losses[0]
    assert len(re.findall(r"process \d: 10,00\d points, .* MB of memory", printed)) == 2
    (difference,) = re.findall(r"largest difference from one process: (\S+)", printed)
    assert float(difference) < 1e-5
