r"""State dicts as other code names and shapes them, and its layers from their formulas alone.

Maps are (B, C, n), their positions in one row.
"""

import torch
from torch import Tensor

StateDict = dict[str, Tensor]


def conv(
    name: str, out: int, channels: int, dims: int = 2, bias: bool = True, size: int = 1
) -> StateDict:
    scale = (channels * size**dims) ** -0.5
    found = {f"{name}.weight": scale * torch.randn(out, channels, *[size] * dims).double()}
    return found | ({f"{name}.bias": 0.4 * torch.randn(out).double()} if bias else {})


def norm(name: str, *shape: int) -> StateDict:
    r"""The affine map of a LayerNorm."""
    return {f"{name}.{leaf}": 0.1 + torch.randn(shape).double() for leaf in ("weight", "bias")}


def batch_norm(name: str, channels: int) -> StateDict:
    return {
        **norm(name, channels),
        f"{name}.running_mean": 0.3 * torch.randn(channels).double(),
        f"{name}.running_var": 0.5 + torch.rand(channels).double(),
        f"{name}.num_batches_tracked": torch.tensor(17),
    }


def context_branch(names: list[str], channels: int, hidden: int, *ones: int) -> StateDict:
    r"""Map, norm and map of one branch of a context block."""
    first, between, last = names
    weights = conv(first, hidden, channels) | norm(between, hidden, *ones)
    return weights | conv(last, channels, hidden)


def apply_conv(weights: StateDict, name: str, x: Tensor) -> Tensor:
    out = torch.einsum("oc,bcn->bon", weights[f"{name}.weight"].flatten(1), x)
    bias = weights.get(f"{name}.bias")
    return out if bias is None else out + bias[None, :, None]


def apply_batch_norm(weights: StateDict, name: str, x: Tensor, eps: float = 1e-5) -> Tensor:
    gain, shift, mean, var = (
        weights[f"{name}.{leaf}"].view(1, -1, *[1] * (x.dim() - 2))
        for leaf in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / (var + eps).sqrt() * gain + shift


def context(weights: StateDict, names: list[str], x: Tensor, eps: float) -> Tensor:
    r"""The vector of one branch, (B, C, 1): ``names`` are those of pooling, map, norm and map."""
    score, first, layer_norm, last = names
    n = x.size(2)
    share = x.new_full((x.size(0), 1, n), 1 / n)
    if f"{score}.weight" in weights:
        share = apply_conv(weights, score, x).exp()
        share = share / share.sum(2, keepdim=True)
    hidden = apply_conv(weights, first, (x * share).sum(2, keepdim=True))
    mean, var = hidden.mean(1, keepdim=True), hidden.var(1, unbiased=False, keepdim=True)
    gain, shift = (weights[f"{layer_norm}.{leaf}"].view(1, -1, 1) for leaf in ("weight", "bias"))
    return apply_conv(weights, last, ((hidden - mean) / (var + eps).sqrt() * gain + shift).relu())


def under(prefix: str, weights: StateDict) -> StateDict:
    return {f"{prefix}.{key}": value for key, value in weights.items()}
