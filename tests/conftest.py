import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings
from torch_geometric.nn import Sequential

# `make test` tries the same cases each time, `make test-nightly` new ones and many more.
# Neither looks at the clock, which a busy machine would fail.
untimed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("default", untimed, max_examples=30, derandomize=True)
settings.register_profile("nightly", untimed, max_examples=1_600)
settings.load_profile("default")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    # Small tensors lose more to waiting threads than they gain.
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed() -> None:
    # pytest-randomly reseeds random and numpy only.
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _own_sequential(monkeypatch: pytest.MonkeyPatch) -> None:
    # torch_geometric.nn.Sequential writes the code made for one model onto its class, and keeps it
    # under a name drawn from random, which pytest-randomly starts at one seed in each test:
    # without this, a model runs the code of another test.
    monkeypatch.setattr(Sequential, "forward", Sequential.forward)
    for name in [name for name in sys.modules if name.startswith(f"{Sequential.__module__}_")]:
        del sys.modules[name]


@pytest.fixture(scope="session")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    r"""Five generated rooms to train on and three to evaluate on, prepared."""
    from latentgraph.scannet.prepare import prepare
    from latentgraph.scannet.rooms import write_rooms

    root = tmp_path_factory.mktemp("rooms")
    write_rooms(root, num_train=5, num_val=3, progress=False)
    assert prepare(root, progress=False).ok
    return root
