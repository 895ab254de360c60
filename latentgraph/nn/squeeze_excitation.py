r"""Squeeze-and-excitation: a gate on the channels, the same for every node of a graph."""

from __future__ import annotations

import torch

from latentgraph.nn.one_node import OneNodeBlock, Transform, inner_width


class SqueezeExcitation(OneNodeBlock):
    r"""Channels reweighted by the mean over the nodes of a graph.

    `Squeeze-and-Excitation Networks <https://arxiv.org/abs/1709.01507>`_ (CVPR 2018)

    .. math:: out_i = x_i \cdot \sigma(W_2\, relu(W_1 \tfrac{1}{N} \textstyle\sum_j x_j))

    :math:`W_1` is ``mul.first``, :math:`W_2` is ``mul.last`` and starts at zero: the block starts
    as x / 2. Multiply-adds for N nodes in B graphs and an inner width of c:
    :math:`N C + 2 B C c`.

    Args:
        channels: C, size of a node's features.
        ratio: inner width over C; it is :math:`\lfloor C \cdot ratio \rfloor`.
        chunk_size: nodes taken at once; None chooses from the sizes, a number forces.
        device: where the parameters live.
        dtype: dtype of the parameters.

    Raises:
        ValueError: ``ratio`` is not finite, or the inner width is below 1.
    """

    def __init__(
        self,
        channels: int,
        ratio: float = 1 / 16,
        chunk_size: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        mul = Transform(channels, inner_width(channels, ratio), device=device, dtype=dtype)
        super().__init__(channels, "mean", None, mul, chunk_size, device, dtype)
        self.ratio = ratio

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.channels}, ratio={self.ratio})"
