r"""The simplified non-local block: attention that is the same for every query."""

from __future__ import annotations

import torch

from latentgraph.nn.one_node import OneNodeBlock, Transform


class SimplifiedNonLocal(OneNodeBlock):
    r"""The non-local block with one attention map for all queries.

    `GCNet: Non-local Networks Meet Squeeze-Excitation Networks and Beyond
    <https://arxiv.org/abs/1904.11492>`_ (ICCV Workshops 2019), section 3.2

    .. math:: out_i = x_i + W_v \sum_j \frac{e^{w \cdot x_j}}{\sum_m e^{w \cdot x_m}} x_j

    :math:`w` is ``score``, :math:`W_v` is ``add.last`` and starts at zero: the block starts as the
    identity. Multiply-adds for N nodes in B graphs: :math:`2 N C + B C^2`.

    Args:
        channels: C, size of a node's features.
        chunk_size: nodes taken at once; None chooses from the sizes, a number forces.
        device: where the parameters live.
        dtype: dtype of the parameters.

    Raises:
        TypeError: ``channels`` is no int.
        ValueError: ``channels`` is below 1.
    """

    def __init__(
        self,
        channels: int,
        chunk_size: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        add = Transform(channels, device=device, dtype=dtype)
        super().__init__(channels, "attention", add, None, chunk_size, device, dtype)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.channels})"
