r"""What ranks send in a step: messages as they are given to torch.distributed, and bytes as TCP
counts them."""

import os
import socket
import stat
import struct
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist
from samples import nodes
from torch import Tensor, nn

from latentgraph.distributed import sharded_nodes

# Offset of tcpi_bytes_sent in Linux's struct tcp_info, after which are those of them sent again.
TCP_INFO_BYTES_SENT = 200


class Sent(NamedTuple):
    r"""Messages forward and backward, (collective, bytes), and bytes that went out."""

    forward: list[tuple[str, int]]
    backward: list[tuple[str, int]]
    tcp: int


def count(block: nn.Module, sizes: tuple[int, ...]) -> Sent:
    r"""One step of this rank on its share of graphs of these sizes."""
    torch.manual_seed(0)
    x, batch, batch_size = nodes(sizes, block.channels, dtype=torch.float32)
    mine = torch.arange(len(x)) % dist.get_world_size() == dist.get_rank()
    messages: list[tuple[str, int]] = []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("all_reduce", "all_gather"):
            patch.setattr(dist, name, _noted(name, getattr(dist, name), messages))
        before = tcp_bytes_sent()
        with sharded_nodes():
            out = block(x[mine].requires_grad_(), batch[mine], batch_size)
        forward = messages.copy()
        out.sum().backward()
        after = tcp_bytes_sent()
    dist.barrier()  # a rank that is done closes its connections
    return Sent(forward, messages[len(forward) :], after - before)


def _noted(name: str, collective: Any, messages: list[tuple[str, int]]) -> Any:
    def noted(*args: Any, **kwargs: Any) -> Any:
        message = next(arg for arg in args if isinstance(arg, Tensor))
        messages.append((name, message.numel() * message.element_size()))
        return collective(*args, **kwargs)

    return noted


def tcp_bytes_sent() -> int:
    r"""Bytes that all connections of this process have sent, without the headers of TCP."""
    total = 0
    for number in map(int, os.listdir("/proc/self/fd")):
        try:
            is_socket = stat.S_ISSOCK(os.fstat(number).st_mode)
        except OSError:  # that of the folder itself, which is closed by now
            continue
        if is_socket:
            with socket.socket(fileno=os.dup(number)) as connection:
                is_tcp = connection.family in (socket.AF_INET, socket.AF_INET6)
                if is_tcp and connection.type == socket.SOCK_STREAM:
                    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
                    sent, again = struct.unpack_from("QQ", info, TCP_INFO_BYTES_SENT)
                    total += sent - again
    return total


def count_all(blocks: dict[str, nn.Module], *graphs: tuple[int, ...]) -> dict[str, list[Sent]]:
    r"""Each block on each of several sets of graphs."""
    return {name: [count(block, sizes) for sizes in graphs] for name, block in blocks.items()}
