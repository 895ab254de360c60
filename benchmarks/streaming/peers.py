r"""Layers of other libraries that give every node the context of its graph."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import AttentionalAggregation, GPSConv
from torch_geometric.nn.aggr.utils import InducedSetAttentionBlock
from torch_geometric.nn.attention import PerformerAttention, SGFormerAttention
from torch_geometric.utils import to_dense_batch

from benchmarks.streaming.cases import Case


class Dense(nn.Module):
    r"""A layer of padded graphs, (B, n, C) and a mask, on nodes."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, batch: Tensor | None) -> Tensor:
        if batch is None:
            out: Tensor = self.layer(x.unsqueeze(0)).squeeze(0)
            return out
        dense, mask = to_dense_batch(x, batch)
        return self.layer(dense, mask)[mask]


def performer(case: Case) -> nn.Module:
    return Dense(PerformerAttention(case.channels, heads=1))


def sgformer(case: Case) -> nn.Module:
    return Dense(SGFormerAttention(case.channels, heads=1))


def induced_set_attention(case: Case) -> nn.Module:
    return Dense(InducedSetAttentionBlock(case.channels, num_induced_points=sum(case.latent_dims)))


class gps(nn.Module):  # noqa: N801
    r"""GPSConv without a local layer: its global attention, norms and MLP."""

    def __init__(self, attention: str, case: Case) -> None:
        super().__init__()
        self.conv = GPSConv(case.channels, conv=None, heads=1, attn_type=attention)

    def forward(self, x: Tensor, batch: Tensor | None) -> Tensor:
        out: Tensor = self.conv(x, None, batch)
        return out


class ScaledDotProduct(nn.Module):
    r"""Dense attention over as few channels as LatentGNN has inside."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        width = case.channels // case.reduction
        self.down = nn.Linear(case.channels, 3 * width, bias=False)
        self.up = nn.Linear(width, case.channels, bias=False)

    def forward(self, x: Tensor, batch: Tensor | None) -> Tensor:
        if batch is not None:
            raise NotImplementedError("one graph only")
        q, k, v = self.down(x)[None, None].chunk(3, -1)
        return x + self.up(F.scaled_dot_product_attention(q, k, v)[0, 0])


class Products(nn.Module):
    r"""The products of LatentGNN's forward pass and nothing else, all nodes at once."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        width = case.channels // case.reduction

        def weight(rows: int, columns: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(rows, columns) / rows**0.5)

        self.visible, self.latent = weight(case.channels, width), weight(case.channels, width)
        self.psi_v2l = nn.ParameterList(weight(width, d) for d in case.latent_dims)
        self.psi_l2v = nn.ParameterList(weight(width, d) for d in case.latent_dims)
        self.up = weight(width * len(case.latent_dims), case.channels)

    def forward(self, x: Tensor, batch: Tensor | None) -> Tensor:
        if batch is not None:
            raise NotImplementedError("one graph only")
        q, k = x @ self.visible, x @ self.latent
        received = []
        for psi_v2l, psi_l2v in zip(self.psi_v2l, self.psi_l2v, strict=True):
            p, s = q @ psi_v2l, k @ psi_l2v
            received.append(s @ (p.T @ q))
        return (received[0] if len(received) == 1 else torch.cat(received, 1)) @ self.up


class Copy(nn.Module):
    r"""One read and one write of x, into new memory as every layer writes."""

    def __init__(self, case: Case) -> None:
        super().__init__()

    def forward(self, x: Tensor, batch: Tensor | None) -> Tensor:
        return x.clone()


def _bottleneck(channels: int) -> nn.Sequential:
    hidden = channels // 16
    return nn.Sequential(
        nn.Linear(channels, hidden), nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, channels)
    )


class AggregatedContext(nn.Module):
    r"""PyG's attention pooling, the MLP of the context block, and its result added to all nodes."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.num_graphs = len(case.sizes)
        self.pool = AttentionalAggregation(nn.Linear(case.channels, 1))
        self.mlp = _bottleneck(case.channels)

    def forward(self, x: Tensor, batch: Tensor | None) -> Tensor:
        if batch is None:
            index = torch.zeros(x.size(0), dtype=torch.int64)
            return x + self.mlp(self.pool(x, index, dim_size=1))
        return x + self.mlp(self.pool(x, batch, dim_size=self.num_graphs))[batch]


class MapContext(nn.Module):
    r"""The context block as mmcv computes it: softmax of a 1x1 convolution, a product of
    (1, C, n) with (1, n, 1) for each sample, 1x1 convolutions on what comes out."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        channels = case.channels
        hidden = channels // 16
        self.mask = nn.Conv2d(channels, 1, 1)
        self.add = nn.Sequential(
            nn.Conv2d(channels, hidden, 1),
            nn.LayerNorm([hidden, 1, 1]),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        attention = self.mask(x).flatten(2).softmax(2)
        pooled = x.flatten(2).unsqueeze(1) @ attention.unsqueeze(3)
        return x + self.add(pooled.view(x.size(0), -1, 1, 1))
