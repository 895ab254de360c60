r"""What ranks do wrong, or what is done to them."""

import os
import re
import signal
import time
from collections.abc import Callable

import pytest
import torch
import torch.distributed as dist
from samples import randomized
from torch import nn
from torch.utils.checkpoint import checkpoint

from latentgraph.distributed import sharded_nodes, sum_gradients
from latentgraph.nn import GlobalContext, LatentGNN, NonLocal


def killed_between_passes(victim: int) -> None:
    r"""One rank is killed while the others wait for it in the backward pass."""
    out = _forward()
    if dist.get_rank() == victim:
        os.kill(os.getpid(), signal.SIGKILL)
    out.sum().backward()


def stuck_between_passes(victim: int, seconds: float) -> None:
    r"""One rank does not go on."""
    out = _forward()
    if dist.get_rank() == victim:
        time.sleep(seconds)
    out.sum().backward()


def _forward() -> torch.Tensor:
    torch.manual_seed(0)
    with sharded_nodes():
        out: torch.Tensor = LatentGNN(7, (5,), 2)(torch.randn(23, 7))
    return out


def check_errors() -> None:
    r"""One error that says what was expected, the same on every rank, and no hang."""
    torch.manual_seed(0)
    rank, num_ranks = dist.get_rank(), dist.get_world_size()
    x = torch.randn(11, 8)
    latent_gnn, batch = LatentGNN(8, (5,), 2), torch.zeros(11, dtype=torch.int64)
    with sharded_nodes():
        with pytest.raises(ValueError, match="expected the same batch_size on every rank"):
            latent_gnn(x, batch, 3 + rank)
        got = re.escape(f"that of all nodes, got {[*range(1, num_ranks + 1)]}")
        with pytest.raises(ValueError, match=got):
            GlobalContext(8, 1 / 2)(x, batch + rank)  # without batch_size
        assert latent_gnn(x, batch).shape == x.shape  # without it, but the same on all ranks
        with pytest.raises(RuntimeError, match="expected all nodes in one process for NonLocal"):
            NonLocal(8)(x)
        for block in (latent_gnn, GlobalContext(8, 1 / 2), NonLocal(8)):
            with pytest.raises(RuntimeError, match="expected all nodes in one process"):
                block.message_graph(x)
        normed = LatentGNN(8, (5,), 2, norm="batch_norm")
        with pytest.raises(ValueError, match=r"for batch norm in training, got 1$"):
            normed(x[: int(rank == 3)])
    assert NonLocal(8)(x).shape == x.shape

    sparse = nn.Embedding(5, 3, sparse=True)
    sparse(torch.tensor([1])).sum().backward()
    with pytest.raises(TypeError, match=r"got one of torch.sparse_coo, .*\(5, 3\)$"):
        sum_gradients(sparse)

    others = dist.new_group([0])
    if rank > 0:
        with (
            pytest.raises(ValueError, match=f"on the ranks of its group, got it on rank {rank}"),
            sharded_nodes(others),
        ):
            pass


def check_errors_and_go_on() -> None:
    check_errors()
    check_checkpointed()


def check_checkpointed() -> None:
    r"""Blocks that the backward pass calls again, where it runs inside."""
    torch.manual_seed(0)
    x, weight = torch.randn(2, 23, 8, dtype=torch.float64)
    mine = torch.arange(23) % dist.get_world_size() == dist.get_rank()
    block = randomized(LatentGNN(8, (5,), 2))

    def gradient_of(call: Callable[[nn.Module, torch.Tensor], torch.Tensor]) -> torch.Tensor:
        own = x[mine].requires_grad_()
        call(block, own).backward(weight[mine])
        assert own.grad is not None
        return own.grad

    with sharded_nodes():
        expected = gradient_of(lambda block, x: block(x))
        for reentrant in (True, False):
            found = gradient_of(lambda b, x, r=reentrant: checkpoint(b, x, use_reentrant=r))
            torch.testing.assert_close(found, expected)
