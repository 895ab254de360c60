from pathlib import Path
from runpy import run_path
from typing import Any

import pytest
import torch
from properties import (
    assert_chunk_size_free,
    assert_graphs_independent,
    assert_permutation_equivariant,
)
from torch.autograd import gradcheck

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def own() -> dict[str, Any]:
    return run_path(str(EXAMPLES / "own_streaming_block.py"))


@pytest.mark.slow
def test_own_block_learns_and_streams(own) -> None:
    error, chunks, from_file = own["main"](num_nodes=5_003)
    assert error < 0.1
    assert chunks < 1e-5
    assert from_file < 1e-5


def test_own_block_keeps_the_rules_of_every_block(own) -> None:
    block = own["RegionContext"](7, 3).double()
    x = torch.randn(23, 7, dtype=torch.float64)
    batch = torch.randint(0, 5, (23,))
    batch[batch == 3] = 1  # an empty graph
    assert_chunk_size_free(block, x, None, None)
    assert_chunk_size_free(block, x, batch, 5)
    assert_graphs_independent(block, x, batch, 5)
    assert_permutation_equivariant(block, x, batch, 5)
    assert gradcheck(block, x[:11].clone().requires_grad_(), fast_mode=True)


def test_larger_than_memory() -> None:
    facts = run_path(str(EXAMPLES / "larger_than_memory.py"))["main"](num_nodes=70_001, channels=8)
    assert facts["difference"] < 1e-5
