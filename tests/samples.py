r"""Random nodes of several graphs, and blocks whose parameters are random, none of them zero."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from latentgraph.nn import GlobalContext, LatentGNN, SimplifiedNonLocal, SqueezeExcitation

SIZES = (7, 0, 3, 1, 11, 0)  # with empty graphs, and fewer nodes than latents
CHANNELS = 23

BATCHES: dict[str, tuple[int, ...]] = {
    "ragged": SIZES,
    "one": (7,),
    "equal": (3, 3),
    "many": (1, 2, 0, 5, 4) * 61,  # 4 and 5 share a bucket
    "all_empty": (0, 0),
    "none": (),
}

# A graph that takes a product of its own, beside small ones; and many that share theirs.
LARGER = ((521, 3, 0, 7), (4, 5, 0, 1, 9) * 12 + (2,))

BLOCKS: dict[str, Callable[..., nn.Module]] = {
    "latent_gnn": partial(LatentGNN, latent_dims=(5,), reduction=2),
    "latent_gnn_symmetric": partial(LatentGNN, latent_dims=(5, 3), reduction=2, mode="symmetric"),
    "latent_gnn_conv": partial(
        LatentGNN,
        latent_dims=(5, 3),
        reduction=2,
        graph_conv=True,
        mixing="residual",
        temperature="learned",
    ),
    "latent_gnn_top_k": partial(LatentGNN, latent_dims=(5, 3), reduction=2, top_k=2),
    "global_context": partial(GlobalContext, ratio=1 / 2),
    "global_context_mean": partial(GlobalContext, ratio=1 / 2, pool="mean", fuse=("mul", "add")),
    "simplified_non_local": SimplifiedNonLocal,
    "squeeze_excitation": partial(SqueezeExcitation, ratio=1 / 2),
}

Module = TypeVar("Module", bound=nn.Module)


class Nodes(NamedTuple):
    x: Tensor
    batch: Tensor
    batch_size: int


def nodes(
    sizes: Sequence[int] = SIZES,
    channels: int = CHANNELS,
    dtype: torch.dtype = torch.float64,
    in_order: bool = False,
) -> Nodes:
    r"""Random features of graphs of these sizes, their nodes mixed up unless ``in_order``."""
    batch = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes, dtype=torch.int64))
    if not in_order:
        batch = batch[torch.randperm(batch.numel())]
    return Nodes(torch.randn(batch.numel(), channels).to(dtype), batch, len(sizes))


def randomized(module: Module, dtype: torch.dtype = torch.float64) -> Module:
    r"""The module with random parameters and running statistics, in ``dtype``."""
    module.to(dtype)
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif tensor.is_floating_point():
                tensor.normal_(0.1, 0.4)
    return module


def block(name: str, channels: int = CHANNELS, dtype: torch.dtype = torch.float64) -> nn.Module:
    r"""One of :data:`BLOCKS`, randomized."""
    return randomized(BLOCKS[name](channels), dtype)


def complete_edges(batch: Tensor, num_latents: int) -> tuple[Tensor, Tensor]:
    r"""Edges from every node to every latent of its graph, and where their dense weights lie."""
    visible = torch.arange(len(batch)).repeat_interleave(num_latents)
    latent = batch[visible] * num_latents + torch.arange(num_latents).repeat(len(batch))
    shuffle = torch.randperm(len(visible))
    return torch.stack([visible, latent])[:, shuffle], shuffle
