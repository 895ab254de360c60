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
