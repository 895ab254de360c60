r"""The non-local block from its formulas alone: float64, one graph and one pair at a time.

Parameters are read by the names that the block's docstring gives to the symbols.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Reference(NamedTuple):
    out: Tensor
    received: Tensor
    weights: list[Tensor]


def non_local(
    block: nn.Module,
    x: Tensor,
    batch: Tensor,
    batch_size: int,
    senders: Tensor | None = None,
    of_sender: Tensor | None = None,
    projected: tuple[Tensor, Tensor] | None = None,
) -> Reference:
    r"""The block, where ``senders`` of the graphs ``of_sender`` stand for x on the sending side.

    ``projected`` has :math:`\phi` and g of the senders, where pooling comes after the projection.
    """
    senders = x if senders is None else senders
    of_sender = batch if of_sender is None else of_sender
    theta = x if block.theta is None else x @ block.theta.weight.T + block.theta.bias
    if projected is None:
        phi = senders if block.phi is None else senders @ block.phi.weight.T + block.phi.bias
        g = senders @ block.g.weight.T + block.g.bias
    else:
        phi, g = projected
    received, weights = x.new_zeros(len(x), g.size(1)), []
    for graph in range(batch_size):
        rows, sources = batch == graph, of_sender == graph
        q, k, count = theta[rows], phi[sources], int(sources.sum())
        weight = x.new_zeros(len(q), count)
        for i in range(len(q)):
            for j in range(count):
                if block.pairwise == "concatenation":
                    together = torch.cat([q[i], k[j]])
                    weight[i, j] = (block.concat.weight[0] * together).sum().relu() / count
                elif block.pairwise == "dot_product":
                    weight[i, j] = (q[i] * k[j]).sum() / count
                else:
                    weight[i, j] = (q[i] * k[j]).sum()
        if block.pairwise == "embedded_gaussian" and block.scale is not False:
            root = g.size(1) ** 0.5
            weight = weight * root if block.scale == "gcnet" else weight / root
        if block.pairwise in ("embedded_gaussian", "gaussian"):
            weight = weight.softmax(1)
        received[rows] = weight @ g[sources]
        weights.append(weight)
    up = received @ block.out.weight.T + block.out.bias
    if isinstance(block.norm, nn.LayerNorm):
        mean, var = up.mean(1, keepdim=True), up.var(1, unbiased=False, keepdim=True)
    elif isinstance(block.norm, nn.BatchNorm1d) and block.norm.training:
        mean, var = up.mean(0), up.var(0, unbiased=False)
    elif isinstance(block.norm, nn.BatchNorm1d):
        mean, var = block.norm.running_mean, block.norm.running_var
    if block.norm is not None:
        up = (up - mean) / (var + block.norm.eps).sqrt() * block.norm.weight + block.norm.bias
    return Reference(x + up, received, weights)
