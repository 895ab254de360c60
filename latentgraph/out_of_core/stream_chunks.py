r"""A block on nodes that are loaded chunk by chunk."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch_geometric.data import Data

from latentgraph.functional import Passes, two_passes
from latentgraph.functional.shards import over_shards
from latentgraph.out_of_core.nodes import Expected, Nodes
from latentgraph.out_of_core.output import Array, rows_of


def stream_chunks(
    block: nn.Module | Passes,
    chunks: Array | Tensor | Iterable[Array | Tensor | Data],
    out: str | os.PathLike[str] | Array | Tensor,
    batch_size: int = 1,
    chunk_size: int = 4_096,
    progress: bool = True,
) -> Array | Tensor:
    r"""A block on nodes that are loaded chunk by chunk, twice, without gradients.

    The result is that of the block on all nodes at once. In memory are one chunk as it was loaded,
    what lies between input and output of ``chunk_size`` nodes, and the latent nodes.

    Args:
        block: a block of this library, any module whose ``passes()`` gives a
            :class:`~latentgraph.functional.Passes`, or such passes.
        chunks: node features (N, C), memory-mapped for instance; or anything that gives parts of
            them, each time that it is iterated over: arrays or tensors (n, C), or PyG's
            :class:`~torch_geometric.data.Data` with ``x``, where needed ``batch`` and
            ``affinity_x``, and ``n_id`` (n,), the place of each node among all, where nodes do not
            come in their order. Of what PyG's node loaders sample, the seed nodes are taken.
        out: where the features (N, C) go, in the dtype of the chunks: the path of a ``.npy`` file,
            which appears when it is whole; or an array or tensor to write to.
        batch_size: number of graphs B that the ``batch`` of all chunks tells apart.
        chunk_size: nodes computed at once.
        progress: show a progress bar, if there is a terminal.

    Returns:
        ``out``, or what its file holds, memory-mapped for reading.

    Raises:
        TypeError: chunks can be iterated over only once, or have a wrong type or dtype.
        ValueError: shapes do not fit, nodes are missing or repeated, chunks are not the same in
            both passes, or a batch norm needs all nodes at once.
        FileNotFoundError: the folder of ``out`` does not exist.
    """
    if chunk_size < 1:
        raise ValueError(f"expected chunk_size of 1 or more, got {chunk_size}")
    if batch_size < 1:
        raise ValueError(f"expected batch_size of 1 or more, got {batch_size}")
    if not isinstance(out, np.ndarray | Tensor) and not Path(out).parent.is_dir():
        raise FileNotFoundError(f"expected out in a folder that exists, got {out}")
    passes, expected = (block, Expected()) if isinstance(block, Passes) else _of_block(block)
    nodes = Nodes(chunks, expected, batch_size, chunk_size, progress)

    with torch.no_grad():
        _, outputs = two_passes(over_shards(passes), nodes, batch_size)
        with rows_of(out, *nodes.like) as rows:
            for y in outputs:
                rows[nodes.where] = y.flatten(0, -2).to(rows)
    if isinstance(out, np.ndarray | Tensor):
        return out
    written: Array = np.load(out, mmap_mode="r")
    return written


def _of_block(block: nn.Module) -> tuple[Passes, Expected]:
    r"""The two passes of a block, and what its chunks have to be."""
    make_passes = getattr(block, "passes", None)
    if make_passes is None:
        raise TypeError(f"expected a block with passes(), got {type(block).__name__}")
    for name, module in block.named_modules():
        if isinstance(module, _BatchNorm) and (module.training or module.running_mean is None):
            raise ValueError(
                f"expected batch norm in eval mode, got {name} in training, which needs all nodes "
                "at once: call eval() on the block"
            )
    parameter = next(block.parameters(), None)
    dtype, device = (None, None) if parameter is None else (parameter.dtype, parameter.device)
    channels = getattr(block, "channels", None)
    affinity_channels = getattr(block, "affinity_channels", 0)
    return make_passes(), Expected(channels, affinity_channels, dtype, device)
