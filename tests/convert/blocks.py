r"""Blocks of other code: their state dicts, and what they give, from formulas and keys alone."""

from itertools import product

import torch
from foreign import (
    StateDict,
    apply_batch_norm,
    apply_conv,
    batch_norm,
    context,
    context_branch,
    conv,
)
from torch import Tensor
from torch.nn.functional import max_pool1d, max_pool2d, max_pool3d

CHANNELS = 23


def context_block(
    fuse: tuple[str, ...], attention: bool, hidden: int = 5, channels: int = CHANNELS
) -> StateDict:
    r"""Of GCNet and mmcv."""
    weights = conv("conv_mask", 1, channels) if attention else {}
    for kind in fuse:
        names = [f"channel_{kind}_conv.{number}" for number in (0, 1, 3)]
        weights |= context_branch(names, channels, hidden, 1, 1)
    return weights


def run_context_block(weights: StateDict, x: Tensor) -> Tensor:
    nodes = out = x.flatten(2)
    for kind in ("mul", "add"):
        name = f"channel_{kind}_conv"
        if f"{name}.0.weight" in weights:
            names = ["conv_mask", f"{name}.0", f"{name}.1", f"{name}.3"]
            vector = context(weights, names, nodes, eps=1e-5)
            out = out * vector.sigmoid() if kind == "mul" else out + vector
    return out.view(x.shape)


def timm_context(fuse: tuple[str, ...], attention: bool, hidden: int = 5) -> StateDict:
    weights = conv("conv_attn", 1, CHANNELS) if attention else {}
    for name in fuse:
        names = [f"mlp_{name}.{layer}" for layer in ("fc1", "norm", "fc2")]
        weights |= context_branch(names, CHANNELS, hidden)
    return weights


def run_timm_context(weights: StateDict, x: Tensor) -> Tensor:
    nodes = out = x.flatten(2)
    for kind in ("scale", "add"):
        if f"mlp_{kind}.fc1.weight" in weights:
            names = ["conv_attn", *(f"mlp_{kind}.{layer}" for layer in ("fc1", "norm", "fc2"))]
            vector = context(weights, names, nodes, eps=1e-6)
            out = out * vector.sigmoid() if kind == "scale" else out + vector
    return out.view(x.shape)


def latentgnn_v1(symmetric: bool, latent_dims: tuple[int, ...], graph_conv: bool) -> StateDict:
    width = 7
    sizes = {"down_channel": (width, CHANNELS)} if symmetric else {}
    if not symmetric:
        sizes = dict.fromkeys(("down_channel_v2l", "down_channel_l2v"), (width, CHANNELS))
    for m, d in enumerate(latent_dims):
        for name in ("psi",) if symmetric else ("psi_v2l", "psi_l2v"):
            sizes[f"LatentGNN_Kernel_{m}.{name}"] = (d, width)
        if graph_conv:
            sizes[f"LatentGNN_Kernel_{m}.GraphConvWeight"] = (width, width)
    sizes["up_channel"] = (CHANNELS, width * len(latent_dims))
    weights = {"gamma": torch.tensor([0.7]).double()}
    for name, (out, channels) in sizes.items():
        weights |= conv(f"{name}.0", out, channels, bias=False) | batch_norm(f"{name}.1", out)
    return weights


def run_latentgnn_v1(
    weights: StateDict, x: Tensor, residual: bool = True, eps: float = 1e-5
) -> Tensor:
    def layer(name: str, x: Tensor) -> Tensor:
        return apply_batch_norm(weights, f"{name}.1", apply_conv(weights, f"{name}.0", x), eps)

    def l2(y: Tensor, dim: int) -> Tensor:
        return y / y.norm(dim=dim, keepdim=True).clamp_min(1e-12)

    nodes, symmetric = x.flatten(2), "down_channel.0.weight" in weights
    q = l2(layer("down_channel" if symmetric else "down_channel_v2l", nodes), 1)
    k = q if symmetric else l2(layer("down_channel_l2v", nodes), 1)
    messages, m = [], 0
    while any(key.startswith(f"LatentGNN_Kernel_{m}.") for key in weights):
        kernel = f"LatentGNN_Kernel_{m}"
        if symmetric:
            P = S = l2(layer(f"{kernel}.psi", q).relu(), 1)
        else:
            P = l2(layer(f"{kernel}.psi_v2l", q).relu(), 2)
            S = l2(layer(f"{kernel}.psi_l2v", k).relu(), 1)
        Z = torch.einsum("bdn,bcn->bdc", P, q)
        F = torch.einsum("bic,bjc->bij", l2(Z, 2), l2(Z, 2)).softmax(2)
        V = torch.einsum("bdn,bde,bec->bcn", S, F, Z)
        if f"{kernel}.GraphConvWeight.0.weight" in weights:
            V = layer(f"{kernel}.GraphConvWeight", V).relu()
        messages.append(V)
        m += 1
    out = layer("up_channel", torch.cat(messages, 1))
    return (nodes + weights["gamma"] * out if residual else out).view(x.shape)


def non_local(
    pairwise: str = "embedded_gaussian",
    sub_sample: bool = False,
    with_norm: bool = False,
    dims: int = 2,
    channels: int = CHANNELS,
    width: int = 7,
) -> StateDict:
    r"""Of mmcv and GCNet, in their order."""
    inside = "0.conv" if sub_sample else "conv"
    weights = conv(f"g.{inside}", width, channels, dims)
    weights |= conv("conv_out.conv", channels, width, dims, bias=not with_norm)
    weights |= batch_norm("conv_out.bn", channels) if with_norm else {}
    if pairwise != "gaussian":
        weights |= conv("theta.conv", width, channels, dims)
        weights |= conv(f"phi.{inside}", width, channels, dims)
    if pairwise == "concatenation":
        weights |= conv("concat_project.conv", 1, 2 * width, bias=False)
    return weights


def run_non_local(
    weights: StateDict,
    x: Tensor,
    pairwise: str,
    scale: bool | str = True,
    pool_at: str | None = None,
    eps: float = 1e-5,
) -> Tensor:
    def pooled(y: Tensor) -> Tensor:
        y = y.view(*y.shape[:2], *x.shape[2:])
        if x.dim() == 3:
            return max_pool1d(y, 2)
        if x.dim() == 4:
            return max_pool2d(y, 2).flatten(2)
        return max_pool3d(y, (1, 2, 2)).flatten(2)

    nodes = x.flatten(2)
    senders = pooled(nodes) if pool_at == "input" else nodes
    inside = "0.conv" if "g.0.conv.weight" in weights else "conv"
    theta, phi, g = nodes, senders, apply_conv(weights, f"g.{inside}", senders)
    if pairwise != "gaussian":
        theta = apply_conv(weights, "theta.conv", nodes)
        phi = apply_conv(weights, f"phi.{inside}", senders)
    if pool_at == "projected":
        phi, g = pooled(phi), pooled(g)
    out = torch.zeros(x.size(0), g.size(1), nodes.size(2)).double()
    for b, i in product(range(x.size(0)), range(nodes.size(2))):
        share = torch.einsum("c,cm->m", theta[b, :, i], phi[b])
        if pairwise == "concatenation":
            repeated = theta[b, :, i, None].expand(-1, phi.size(2))
            weight = weights["concat_project.conv.weight"].flatten()
            share = torch.einsum("c,cm->m", weight, torch.cat([repeated, phi[b]])).relu()
        if pairwise == "embedded_gaussian" and scale is not False:
            share = share * g.size(1) ** (0.5 if scale == "gcnet" else -0.5)
        share = share.softmax(0) if "gaussian" in pairwise else share / phi.size(2)
        out[b, :, i] = g[b] @ share
    out = apply_conv(weights, "conv_out.conv", out)
    if "conv_out.bn.weight" in weights:
        out = apply_batch_norm(weights, "conv_out.bn", out, eps)
    return (nodes + out).view(x.shape)
