r"""The blocks from their formulas alone: float64, one graph at a time, nothing shared with them.

Parameters are read by the names that each block's docstring gives to the symbols.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Kernel(NamedTuple):
    P: Tensor
    S: Tensor
    Z: Tensor


class Reference(NamedTuple):
    out: Tensor
    kernels: list[Kernel]
    statistics: dict[nn.Module, tuple[Tensor, Tensor]]


def latent_gnn(
    block: nn.Module,
    x: Tensor,
    batch: Tensor,
    batch_size: int,
    affinity_x: Tensor | None = None,
) -> Reference:
    r"""LatentGNN, with the mean and unbiased variance that every batch norm saw."""
    graphs = [(batch == b).nonzero().squeeze(1) for b in range(batch_size)]
    statistics: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def norm(module: nn.Module | None, y: Tensor) -> Tensor:
        if module is None:
            return y
        if isinstance(module, nn.LayerNorm):
            mean, var = y.mean(1, keepdim=True), y.var(1, unbiased=False, keepdim=True)
        elif module.training:
            mean, var = y.mean(0), y.var(0, unbiased=False)
            statistics[module] = y.mean(0), y.var(0)
        else:
            mean, var = module.running_mean, module.running_var
        return (y - mean) / (var + module.eps).sqrt() * module.weight + module.bias

    def linear_norm(module: nn.Module, y: Tensor) -> Tensor:
        return norm(module.norm, y @ module.linear.weight.T)

    def l2(y: Tensor, dim: int) -> Tensor:
        return y / y.norm(dim=dim, keepdim=True).clamp_min(1e-12)

    def scores(module: nn.Module, y: Tensor) -> Tensor:
        raw = linear_norm(module, torch.cat([y, *beside], 1))
        if block.top_k is not None:
            rank = raw.argsort(1, descending=True).argsort(1)
            raw = raw * (rank < block.top_k)
        return raw.relu()

    symmetric = block.mode == "symmetric"
    q = l2(linear_norm(block.visible, x), 1)
    k = q if symmetric else l2(linear_norm(block.latent, x), 1)
    beside = [] if affinity_x is None else [affinity_x]
    if block.votes is not None:
        voted = affinity_x[:, :-1] + x @ block.votes.weight.T
        beside = [voted, (voted**2).sum(1, keepdim=True) / 6]
    kernels, messages = [], []
    for kernel in block.kernels:
        psi = scores(kernel.psi_v2l, q)
        if symmetric:
            P = S = l2(psi, 1)
        else:
            P = torch.zeros_like(psi)
            for rows in graphs:
                P[rows] = l2(psi[rows], 0)
            S = l2(scores(kernel.psi_l2v, k), 1)
        mixed, V = [], torch.zeros_like(q)
        for rows in graphs:
            Z = P[rows].T @ q[rows]
            if block.mixing != "none":
                tau = (
                    block.temperature
                    if block.log_temperature is None
                    else block.log_temperature.exp()
                )
                F = (l2(Z, 1) @ l2(Z, 1).T / tau).softmax(1)
                Z = F @ Z + Z if block.mixing == "residual" else F @ Z
            V[rows] = S[rows] @ Z
            mixed.append(Z)
        kernels.append(Kernel(P, S, torch.stack(mixed)))
        messages.append(V if kernel.conv is None else linear_norm(kernel.conv, V).relu())
    out = block.gamma * linear_norm(block.up, torch.cat(messages, 1))
    return Reference(x + out if block.residual else out, kernels, statistics)


def one_node(block: nn.Module, x: Tensor, batch: Tensor, batch_size: int) -> Tensor:
    r"""GlobalContext, SimplifiedNonLocal and SqueezeExcitation."""

    def transform(module: nn.Module, y: Tensor) -> Tensor:
        if module.first is not None:
            y = y @ module.first.weight.T + module.first.bias
            if module.norm is not None:
                y = (y - y.mean()) / (y.var(unbiased=False) + module.norm.eps).sqrt()
                y = y * module.norm.weight + module.norm.bias
            y = y.relu()
        return y @ module.last.weight.T + module.last.bias

    out = x.clone()
    for graph in range(batch_size):
        rows = (batch == graph).nonzero().squeeze(1)
        if len(rows) == 0:
            continue
        alpha = torch.full((len(rows), 1), 1 / len(rows), dtype=x.dtype)
        if block.pool == "attention":
            alpha = (x[rows] @ block.score.weight.T + block.score.bias).softmax(0)
        g, y = (alpha * x[rows]).sum(0), x[rows]
        if block.mul is not None:
            y = y * transform(block.mul, g).sigmoid()
        if block.add is not None:
            y = y + transform(block.add, g)
        out[rows] = y
    return out
