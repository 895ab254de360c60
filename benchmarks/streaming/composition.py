r"""LatentGNN as its authors composed it, and what it computes in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.streaming.cases import Case


class Composition(nn.Module):
    r"""The formulas one after the other on feature maps, channel-first, by 1x1 convolutions.

    Args:
        case: sizes.
        norm: makes the norm of a number of channels, of maps (B, channels, H, W); by default batch
            norm.
    """

    def __init__(self, case: Case, norm: Callable[[int], nn.Module] | None = None) -> None:
        super().__init__()
        width = case.channels // case.reduction
        norm = norm or BatchNorm

        def linear_norm(in_channels: int, out_channels: int) -> nn.Sequential:
            conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
            return nn.Sequential(conv, norm(out_channels))

        self.visible = linear_norm(case.channels, width)
        self.latent = linear_norm(case.channels, width)
        self.psi_v2l = nn.ModuleList(linear_norm(width, d) for d in case.latent_dims)
        self.psi_l2v = nn.ModuleList(linear_norm(width, d) for d in case.latent_dims)
        self.up = linear_norm(width * len(case.latent_dims), case.channels)
        self.gamma = nn.Parameter(torch.full((1,), 0.7))

    def forward(self, x: Tensor) -> Tensor:
        r"""(B, C, H, W) to the same."""
        q = F.normalize(self.visible(x), dim=1)
        k = F.normalize(self.latent(x), dim=1)
        received = []
        for psi_v2l, psi_l2v in zip(self.psi_v2l, self.psi_l2v, strict=True):
            p = F.normalize(psi_v2l(q).relu_().flatten(2), dim=2)
            s = F.normalize(psi_l2v(k).relu_().flatten(2), dim=1)
            z = self.mix(p @ q.flatten(2).mT)
            received.append((z.mT @ s).view_as(q))
        up = self.up(received[0] if len(received) == 1 else torch.cat(received, 1))
        return x + up * self.gamma

    @staticmethod
    def mix(z: Tensor) -> Tensor:
        r"""Latent to latent, (B, d, c): the softmax of cosine similarities."""
        direction = F.normalize(z, dim=2)
        mixed: Tensor = (direction @ direction.mT).softmax(2) @ z
        return mixed

    def exact(self, x: Tensor, rows: int = 65_536) -> Iterator[Tensor]:
        r"""The same for the nodes (N, C) of one graph in float64, some rows after the other."""
        assert self.gamma.dtype == torch.float64

        def chunks() -> Iterator[Tensor]:
            for part in x.split(rows):
                yield part.double().T.unsqueeze(0).unsqueeze(3)

        sums = [0.0] * len(self.psi_v2l)
        squares = [0.0] * len(self.psi_v2l)
        for chunk in chunks():
            q = F.normalize(self.visible(chunk), dim=1)
            for i, psi in enumerate(self.psi_v2l):
                p = psi(q).relu().flatten(2)
                sums[i] = sums[i] + p @ q.flatten(2).mT
                squares[i] = squares[i] + (p * p).sum(2, keepdim=True)
        latents = [
            self.mix(z / s.sqrt().clamp_min(1e-12)) for z, s in zip(sums, squares, strict=True)
        ]
        for chunk in chunks():
            k = F.normalize(self.latent(chunk), dim=1)
            received = [
                (z.mT @ F.normalize(psi(k).relu().flatten(2), dim=1)).unsqueeze(3)
                for z, psi in zip(latents, self.psi_l2v, strict=True)
            ]
            out = chunk + self.up(torch.cat(received, 1)) * self.gamma
            yield out.squeeze(3).squeeze(0).T


class BatchNorm(nn.BatchNorm2d):
    r"""Batch norm of maps whose gradient is right for a batch of one as well.

    On the CPU, torch 2.13 reads a channels-last gradient wrongly if its only sample has a stride
    other than its size, which no result depends on otherwise.
    """

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        if out.requires_grad and out.size(0) == 1:
            out.register_hook(lambda g: g.as_strided(g.shape, (g.numel(), *g.stride()[1:])))
        return out


class ChannelLayerNorm(nn.LayerNorm):
    r"""Layer norm over the channels of maps (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


def random_running_statistics(module: nn.Module) -> None:
    r"""Batch norms as after some training."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean, std=0.1)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.1)
