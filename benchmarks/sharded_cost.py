r"""What sharded nodes cost by formulas: bytes, memory and time of a step.

``python -m benchmarks.sharded_cost`` prints tables for many nodes on many GPUs and writes them to
``benchmarks/results``. Nothing is measured here: what the GPUs can do is assumed, and said beside.
The bytes are those that ``tests/distributed/test_messages.py`` counts.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import nn

from latentgraph.inspection import costs
from latentgraph.nn import GlobalContext, LatentGNN, SimplifiedNonLocal, SqueezeExcitation
from latentgraph.nn.linear_norm import LinearNorm
from latentgraph.nn.one_node import OneNodeBlock

RESULTS = Path(__file__).parent / "results" / "sharded_cost.md"


class Message(NamedTuple):
    r"""What one rank gives to a collective."""

    collective: Literal["all_reduce", "all_gather"]
    bytes: int

    def sent(self, num_ranks: int) -> float:
        r"""Bytes that a rank sends in a ring."""
        if self.collective == "all_gather":
            return (num_ranks - 1) * self.bytes
        return 2 * (num_ranks - 1) / num_ranks * self.bytes


class Messages(NamedTuple):
    r"""The messages of a block in one step."""

    forward: list[Message]
    backward: list[Message]


def messages(block: nn.Module, batch_size: int = 1) -> Messages:
    r"""What :func:`latentgraph.distributed.sharded_nodes` exchanges, however many nodes there are.

    Args:
        block: in training or evaluation mode.
        batch_size: number of graphs B.
    """
    size = max(4, next(block.parameters()).element_size())
    forward, backward = [], []
    if isinstance(block, LatentGNN):
        width = block.channels // block.reduction + (block.mode == "asymmetric")
        state = Message("all_reduce", batch_size * sum(block.latent_dims) * width * size)
        forward, backward = [state], [state]
    elif isinstance(block, OneNodeBlock):
        sums = Message("all_reduce", batch_size * (block.channels + 1) * size)
        shifted = Message("all_gather", batch_size * (block.channels + 2) * size)
        forward, backward = [shifted if block.pool == "attention" else sums], [sums]
    else:
        raise TypeError(f"expected LatentGNN or a block of one node, got {type(block).__name__}")
    for module in block.modules():
        if isinstance(module, LinearNorm) and module.needs_all_rows:
            channels = module.linear.out_features
            forward.append(Message("all_reduce", (2 * channels + 1) * 8))
            backward.append(Message("all_reduce", 2 * channels * size))
    return Messages(forward, backward)


class Machine(NamedTuple):
    r"""One GPU and its link: what is sustained, not what is printed on the box."""

    flops: float
    memory_bandwidth: float
    link_bandwidth: float
    latency: float

    def exchange(self, message: Message, num_ranks: int) -> float:
        r"""Seconds: a tree up and down for a sum, doubling for a gathering."""
        hops = math.ceil(math.log2(num_ranks)) * self.latency
        if message.collective == "all_gather":
            return hops + message.sent(num_ranks) / self.link_bandwidth
        return 2 * hops + message.sent(num_ranks) / self.link_bandwidth


class Step(NamedTuple):
    r"""Forward and backward pass of a block, of one rank."""

    sent: float
    memory: float
    compute: float
    exchange: float


def step(block: nn.Module, num_nodes: int, num_ranks: int, machine: Machine) -> Step:
    r"""Bytes and seconds for one graph, float32.

    A chunk is computed once forward and once more backward, and its gradients take twice as much:
    four times the multiply-adds of the forward pass. Features are read or written nine times: x for
    each pass of each direction, the output, its gradient, that of x three times. What lies between,
    2 (c + D) numbers of a node for LatentGNN, is written and read forward, backward, and with its
    gradient.
    """
    own = math.ceil(num_nodes / num_ranks)
    with torch.device("meta"):
        forward = costs(block.to("meta").eval(), torch.empty(own, block.channels)).total
    rows = 0
    if isinstance(block, LatentGNN):
        rows = 2 * (block.channels // block.reduction + sum(block.latent_dims))
    features = own * block.channels * 4
    traffic = 9 * features + 6 * own * rows * 4
    exchanged = messages(block.train())
    everything = [*exchanged.forward, *exchanged.backward]
    return Step(
        sent=sum(message.sent(num_ranks) for message in everything),
        memory=4 * features,
        compute=max(
            4 * 2 * forward.multiply_adds / machine.flops, traffic / machine.memory_bandwidth
        ),
        exchange=sum(machine.exchange(message, num_ranks) for message in everything),
    )


BLOCKS: dict[str, Callable[[int], nn.Module]] = {
    "`LatentGNN`": LatentGNN,
    '`LatentGNN`, `norm="batch_norm"`': lambda channels: LatentGNN(channels, norm="batch_norm"),
    "`GlobalContext`": GlobalContext,
    "`SimplifiedNonLocal`": SimplifiedNonLocal,
    "`SqueezeExcitation`": SqueezeExcitation,
}


def report(num_nodes: int, channels: int, num_ranks: int, machine: Machine) -> str:
    r"""Two tables: blocks on so many GPUs, and one block on ever more."""
    lines = [
        "`python -m benchmarks.sharded_cost`: one graph of "
        f"{num_nodes:.3g} nodes with {channels} channels in float32. Assumed of a GPU: "
        f"{machine.flops / 1e12:g} TFLOP/s, {machine.memory_bandwidth / 1e12:g} TB/s of memory, "
        f"{machine.link_bandwidth / 1e9:g} GB/s and {machine.latency * 1e6:g} µs for each hop to "
        "others. Calculated, not measured.",
        "",
        f"| block on {num_ranks} GPUs | sent by one, KB | memory of one, GB | compute, ms | "
        "exchange, ms | share of the exchange |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, make in BLOCKS.items():
        lines.append(f"| {name} | {_cells(step(make(channels), num_nodes, num_ranks, machine))} |")
    lines += [
        "",
        "| GPUs, `LatentGNN` | sent by one, KB | memory of one, GB | compute, ms | exchange, ms | "
        "share of the exchange |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for count in (num_ranks // 8, num_ranks, num_ranks * 8):
        cells = _cells(step(LatentGNN(channels), num_nodes, count, machine))
        lines.append(f"| {count} | {cells} |")
    return "\n".join(lines) + "\n"


def _cells(step: Step) -> str:
    share = step.exchange / (step.exchange + step.compute)
    return (
        f"{step.sent / 1e3:.1f} | {step.memory / 1e9:.2f} | {step.compute * 1e3:.2f} | "
        f"{step.exchange * 1e3:.2f} | {share:.1%}"
    )


def main() -> None:
    r"""Calculate, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--nodes", type=float, default=1e9)
    parser.add_argument("--channels", type=int, default=256)
    parser.add_argument("--gpus", type=int, default=512)
    parser.add_argument("--tflops", type=float, default=60, help="sustained by one")
    parser.add_argument("--memory", type=float, default=2.4, help="TB/s of one")
    parser.add_argument("--link", type=float, default=40, help="GB/s of one")
    parser.add_argument("--latency", type=float, default=15, help="microseconds for each hop")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    machine = Machine(args.tflops * 1e12, args.memory * 1e12, args.link * 1e9, args.latency / 1e6)
    table = report(int(args.nodes), args.channels, args.gpus, machine)
    print(table)
    args.out.write_text(table)


if __name__ == "__main__":
    main()
