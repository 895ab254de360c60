from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    # Small tensors lose more to waiting threads than they gain.
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed() -> None:
    # pytest-randomly reseeds random and numpy only.
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    r"""Five generated rooms to train on and three to evaluate on, prepared."""
    from latentgraph.scannet.prepare import prepare
    from latentgraph.scannet.rooms import write_rooms

    root = tmp_path_factory.mktemp("rooms")
    write_rooms(root, num_train=5, num_val=3, progress=False)
    assert prepare(root, progress=False).ok
    return root
