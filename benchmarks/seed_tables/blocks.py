r"""A single block of each kind on a large feature map: multiply-adds, and memory that it takes."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.memory import peak_of
from benchmarks.seed_tables.counting import multiply_adds, num_parameters
from benchmarks.seed_tables.rows import Block, global_context, latent_gnn, simplified
from latentgraph.nn import NonLocal, OnGrid

CHANNELS = 1024
MAPS = {"1024 x 50 x 84": (50, 84), "1024 x 500 x 500": (500, 500)}
# Blocks of more multiply-adds than these are not run: that would take many minutes.
FORWARD_AT_MOST, TRAINING_AT_MOST = 20 * 10**12, 10**12

BLOCKS: dict[str, Block] = {
    "NL": lambda channels: OnGrid(NonLocal(channels), pool=2, pool_at="input"),
    "NL, no sub-sampling": lambda channels: OnGrid(NonLocal(channels)),
    "SNL": simplified,
    "GC": global_context(16),
    "LatentGNN": latent_gnn(100),
}
SENDERS = {"NL": 1 / 4, "NL, no sub-sampling": 1.0}  # of all positions


class Cost(NamedTuple):
    r"""What one block takes on one map.

    Attributes:
        parameters: their number.
        multiply_adds: of a forward pass.
        affinity: bytes of the dense affinity that a non-local block stands for, in float32.
        forward: bytes above input and output at the peak of a call without gradients; None where
            that is not run.
        training: those above input, output and their gradients, forward and backward.
    """

    parameters: int
    multiply_adds: int
    affinity: int | None
    forward: int | None
    training: int | None


def cost(name: str, height: int, width: int, weigh: bool = True) -> Cost:
    r"""Everything about one block on one map; memory only if ``weigh``."""
    with torch.device("meta"):
        block, x = BLOCKS[name](CHANNELS), torch.empty(1, CHANNELS, height, width)
    operations = multiply_adds(lambda: block.eval()(x))
    affinity = None
    if name in SENDERS:
        affinity = int(4 * (height * width) ** 2 * SENDERS[name])
    forward = training = None
    if weigh and operations <= FORWARD_AT_MOST:
        forward = _in_a_process(name, height, width, False)
    if weigh and operations <= TRAINING_AT_MOST:
        training = _in_a_process(name, height, width, True)
    return Cost(num_parameters(block), operations, affinity, forward, training)


def _in_a_process(*arguments: Any) -> int:
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(extra_bytes, *arguments).result()


def extra_bytes(name: str, height: int, width: int, training: bool) -> int:
    r"""Bytes at the peak of a call above input and output, in training also their gradients."""
    block = BLOCKS[name](CHANNELS).train(training)
    _run(block, torch.randn(1, CHANNELS, 16, 16), training)  # loads and allocates what stays
    x = torch.randn(1, CHANNELS, height, width)
    _, peak = peak_of(lambda: _run(block, x, training))
    return peak.above - (3 if training else 1) * x.nbytes


def _run(block: nn.Module, x: Tensor, training: bool) -> Tensor:
    with torch.set_grad_enabled(training):
        out: Tensor = block(x.requires_grad_(training))
        if training:
            out.backward(torch.ones_like(out))
    return out.detach()
