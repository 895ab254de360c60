r"""What a kernel of LatentGNN owns."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from latentgraph.nn.linear_norm import LinearNorm, Norm


class Kernel(nn.Module):
    r"""One of the kernels: what makes its affinities, and its graph convolution."""

    def __init__(
        self,
        channels: int,
        affinity_channels: int,
        num_latents: int,
        symmetric: bool,
        graph_conv: bool,
        norm: Norm | None,
        **factory: Any,
    ) -> None:
        super().__init__()
        width = channels + affinity_channels
        self.psi_v2l = LinearNorm(width, num_latents, norm, **factory)
        self.psi_l2v = None if symmetric else LinearNorm(width, num_latents, norm, **factory)
        self.conv = LinearNorm(channels, channels, norm, **factory) if graph_conv else None

    @torch.no_grad()
    def start_as_windows(self, affinity_channels: int) -> None:
        r"""Scores :math:`2 c \cdot p - \|p\|^2`, highest at a place c of each latent node."""
        places = torch.randn_like(self.psi_v2l.linear.weight[:, -affinity_channels:-1])
        for psi in (self.psi_v2l, self.psi_l2v):
            if psi is not None:
                psi.linear.weight[:, -affinity_channels:-1] = 2 * places
                psi.linear.weight[:, -1] = -1
                if psi.norm is not None:
                    nn.init.constant_(psi.norm.bias, -1)
