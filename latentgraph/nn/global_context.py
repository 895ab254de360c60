r"""The Global Context block: one global pooling node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from latentgraph.nn.one_node import OneNodeBlock, Pool, Transform, inner_width


class GlobalContext(OneNodeBlock):
    r"""Context from a single global pooling node, the same for every node of a graph.

    `GCNet: Non-local Networks Meet Squeeze-Excitation Networks and Beyond
    <https://arxiv.org/abs/1904.11492>`_ (ICCV Workshops 2019)

    .. math:: g = \sum_j \frac{e^{w \cdot x_j}}{\sum_m e^{w \cdot x_m}} x_j \qquad
        out_i = x_i + W_2\, relu(LN(W_1 g))

    =============================  =====================================
    symbol                         here
    =============================  =====================================
    :math:`w` (:math:`W_k`)        ``score``
    :math:`W_1, LN, W_2`           ``add.first``, ``add.norm``, ``add.last``
    ratio :math:`1/r`              ``ratio``
    =============================  =====================================

    Multiply-adds for N nodes in B graphs and an inner width of c: :math:`2 N C`, with
    ``pool="mean"`` :math:`N C`, and :math:`2 B C c` for each of ``fuse``.

    The last map starts at zero: with "add" the block starts as the identity, with "mul" as x / 2.

    Args:
        channels: C, size of a node's features.
        ratio: inner width over C; it is :math:`\lfloor C \cdot ratio \rfloor`.
        pool: ``"attention"``, a softmax over the nodes of the graph, or ``"mean"``.
        fuse: of ``"add"`` and ``"mul"``; ``"mul"`` multiplies by a sigmoid, and comes first.
        eps: of the LayerNorm.
        chunk_size: nodes taken at once; None chooses from the sizes, a number forces.
        device: where the parameters live.
        dtype: dtype of the parameters.

    Raises:
        ValueError: an option has none of the values above, ``ratio`` is not finite, or the inner
            width is below 2.
    """

    def __init__(
        self,
        channels: int,
        ratio: float = 1 / 16,
        pool: Pool = "attention",
        fuse: Sequence[str] = ("add",),
        eps: float = 1e-5,
        chunk_size: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        fuse = (fuse,) if isinstance(fuse, str) else tuple(fuse)
        if not fuse or not set(fuse) <= {"add", "mul"} or len(set(fuse)) < len(fuse):
            raise ValueError(f"expected fuse from 'add' and 'mul', each once, got {fuse!r}")
        hidden = inner_width(channels, ratio)
        options: dict[str, Any] = {"norm": True, "eps": eps, **factory}
        add = Transform(channels, hidden, **options) if "add" in fuse else None
        mul = Transform(channels, hidden, **options) if "mul" in fuse else None
        super().__init__(channels, pool, add, mul, chunk_size, **factory)
        self.ratio, self.fuse, self.eps = ratio, fuse, eps

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.channels}, ratio={self.ratio}, pool={self.pool!r}, "
            f"fuse={self.fuse}, eps={self.eps})"
        )
