r"""The LatentGNN block: a few latent nodes for every visible node to talk through."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from latentgraph.functional import Passes, Ragged, stream
from latentgraph.functional.checks import check_chunk_size, check_given
from latentgraph.functional.spans import auto_chunk_size
from latentgraph.nn.checks import check_all_nodes, check_nodes, graphs_of
from latentgraph.nn.latent_kernel import Kernel
from latentgraph.nn.latent_steps import Affinity, LatentSteps
from latentgraph.nn.latent_to_latent import LatentToLatentConv
from latentgraph.nn.latent_to_visible import LatentToVisibleConv
from latentgraph.nn.linear_norm import LinearNorm, Norm
from latentgraph.nn.message_graph import Weights, graph_of_kernels
from latentgraph.nn.visible_to_latent import VisibleToLatentConv


class LatentGNN(nn.Module):
    r"""Non-local context through latent nodes, at a cost linear in the number of nodes.

    `LatentGNN: Learning Efficient Non-local Relations for Visual Recognition
    <https://arxiv.org/abs/1905.11634>`_ (ICML 2019)

    With :math:`c = C // s`, :math:`\ell_2` dividing by :math:`\max(\|\cdot\|_2, 10^{-12})` and
    kernels m of :math:`d_m` latent nodes:

    .. math::
        q &= \ell_2^{row}(norm(x W_v)) \qquad k = \ell_2^{row}(norm(x W_l)) \\
        P_m &= \ell_2^{nodes}(relu(norm(q \Theta_{v,m}))) \qquad
        S_m = \ell_2^{latents}(relu(norm(k \Theta_{l,m}))) \\
        Z_m &= P_m^\top q \qquad
        Z'_m = softmax_{row}(\hat Z_m \hat Z_m^\top / \tau)\, Z_m \qquad V_m = S_m Z'_m \\
        out &= x + \gamma\, norm([V_1 \dots V_M] W_{up})

    ==================  ==========================================================
    symbol              here
    ==================  ==========================================================
    :math:`W_v, W_l`    ``visible.linear``, ``latent.linear`` (one, shared, where symmetric)
    :math:`\Theta`      ``kernels[m].psi_v2l.linear``, ``kernels[m].psi_l2v.linear``
    :math:`W_g`         ``kernels[m].conv.linear``, with ``graph_conv``
    :math:`W_{up}`      ``up.linear``
    :math:`d_1 \dots`   ``latent_dims``
    ==================  ==========================================================

    Multiply-adds for N nodes in B graphs, with :math:`D = \sum_m d_m` and a ``affinity_channels``:

    =================  ==================================================================
    step               multiply-adds
    =================  ==================================================================
    q and k            :math:`2 N C c`
    affinities         :math:`2 N (c + a) D`
    visible to latent  :math:`N D c`
    mixing             :math:`2 B c \sum_m d_m^2`, or 0 with ``"none"``
    back and up        :math:`N D c + N M c C`, or :math:`N D C + B D c C` where :math:`W_{up}` is
                       applied to the latent nodes, as it is if :math:`2 D C < D c + M c C`
    ``votes``          :math:`2 N C (a - 1)`
    ``graph_conv``     :math:`N M c^2`; it keeps :math:`W_{up}` on the visible nodes
    =================  ==================================================================

    ``"symmetric"`` computes q and the affinities again on the way back, so that it costs the same;
    only in one chunk with batch norm in training does it keep them, and the first two are halved.

    The paper's networks use batch norm (``norm="batch_norm"``); the default is row by row, so that
    no result depends on what else is in the batch.

    Args:
        channels: C, size of a node's features.
        latent_dims: latent nodes :math:`d_m` of each kernel.
        reduction: s, by which channels are reduced inside.
        mode: ``"asymmetric"`` as above; ``"symmetric"`` has one projection q and
            :math:`P_m = S_m = \ell_2^{latents}(relu(norm(q \Theta_m)))`.
        norm: ``"layer_norm"`` over channels, ``"batch_norm"`` over all nodes of a call, or None.
        graph_conv: adds :math:`V_m \leftarrow relu(norm(V_m W_g))`.
        mixing: ``"cosine"`` as above, ``"residual"`` adds :math:`Z_m` to it, ``"none"`` leaves
            :math:`Z'_m = Z_m`.
        temperature: :math:`\tau`, or ``"learned"``, which starts at 1/8.
        top_k: of the scores of a node, the :math:`norm(q \Theta)` before relu, only so many of the
            largest are kept for each kernel, so that a node sends to and hears from no more latent
            nodes; None keeps all.
        affinity_channels: size of further features that only the affinities see, concatenated to q
            and k before :math:`\Theta` (:func:`position_features` has 4).
        windows: the last ``affinity_channels`` are :func:`position_features`, and each latent node
            starts as a window around a place of its own, drawn from a normal distribution with the
            rms radius of the graph: before the norm its score is
            :math:`2 c \cdot p - \|p\|^2` and what q adds; the shift of the norm starts at -1.
        votes: every node moves by :math:`x W_{vote}`, which starts at 0, before the affinities see
            where it is, so that nodes of one object or room can meet, as in `VoteNet
            <https://arxiv.org/abs/1904.09664>`_ (ICCV 2019). ``affinity_x`` has to be
            :func:`position_features` at their default scale.
        gamma_init: :math:`\gamma` at the start; 0 makes the block the identity.
        residual: whether x is added; without it
            :math:`out = \gamma\, norm([V_1 \dots V_M] W_{up})`.
        chunk_size: nodes taken at once; None chooses from the sizes, a number forces. Batch norm in
            training takes all nodes at once.
        device: where the parameters live.
        dtype: dtype of the parameters.

    Raises:
        ValueError: an option has none of the values above, or an inner width is too small.
        TypeError: ``latent_dims`` is no sequence.
    """

    def __init__(
        self,
        channels: int,
        latent_dims: Sequence[int] = (64,),
        reduction: int = 4,
        mode: Literal["asymmetric", "symmetric"] = "asymmetric",
        norm: Norm | None = "layer_norm",
        graph_conv: bool = False,
        mixing: Literal["cosine", "residual", "none"] = "cosine",
        temperature: float | Literal["learned"] = 1.0,
        top_k: int | None = None,
        affinity_channels: int = 0,
        windows: bool = False,
        votes: bool = False,
        gamma_init: float = 0.0,
        residual: bool = True,
        chunk_size: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if mode not in ("asymmetric", "symmetric"):
            raise ValueError(f"expected mode 'asymmetric' or 'symmetric', got {mode!r}")
        if mixing not in ("cosine", "residual", "none"):
            raise ValueError(f"expected mixing 'cosine', 'residual' or 'none', got {mixing!r}")
        if reduction < 1:
            raise ValueError(f"expected reduction of 1 or more, got {reduction}")
        if affinity_channels < 0:
            raise ValueError(f"expected affinity_channels of 0 or more, got {affinity_channels}")
        if not isinstance(latent_dims, Sequence):
            raise TypeError(f"expected latent_dims as a sequence of numbers, got {latent_dims!r}")
        if not latent_dims:
            raise ValueError("expected latent_dims with at least one kernel, got none")
        fixed = isinstance(temperature, float | int) and temperature > 0
        if temperature != "learned" and not fixed:
            raise ValueError(f"expected temperature above 0 or 'learned', got {temperature!r}")
        if top_k is not None and (type(top_k) is not int or not 1 <= top_k <= max(latent_dims)):
            raise ValueError(
                f"expected top_k from 1 to {max(latent_dims)}, the most latent_dims, got {top_k}"
            )
        if (windows or votes) and affinity_channels < 2:
            raise ValueError(
                "expected affinity_channels of at least 2, positions and a squared radius, with "
                f"windows or votes, got {affinity_channels}"
            )
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        self.channels, self.latent_dims = channels, tuple(latent_dims)
        self.reduction, self.mode, self.mixing = reduction, mode, mixing
        self.affinity_channels, self.gamma_init = affinity_channels, gamma_init
        self.top_k, self.windows = top_k, windows
        self.residual, self.chunk_size = residual, chunk_size
        width = channels // reduction
        symmetric = mode == "symmetric"
        self.visible = LinearNorm(channels, width, norm, **factory)
        self.latent = None if symmetric else LinearNorm(channels, width, norm, **factory)
        self.kernels = nn.ModuleList(
            Kernel(width, affinity_channels, d, symmetric, graph_conv, norm, **factory)
            for d in self.latent_dims
        )
        self.votes: nn.Linear | None = None
        if votes:
            self.votes = nn.Linear(channels, affinity_channels - 1, bias=False, **factory)
        self.up = LinearNorm(width * len(self.latent_dims), channels, norm, **factory)
        self.gamma = nn.Parameter(torch.empty(1, **factory))
        self.log_temperature: nn.Parameter | None = None
        self.temperature = temperature
        if temperature == "learned":
            self.log_temperature = nn.Parameter(torch.empty(1, **factory))
        self.visible_to_latent = VisibleToLatentConv()
        self.latent_to_latent = LatentToLatentConv()
        self.latent_to_visible = LatentToVisibleConv()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""New random weights, :math:`\gamma` at ``gamma_init``."""
        for module in self.modules():
            if isinstance(module, LinearNorm):
                module.reset_parameters()
        for kernel in self.kernels:
            if self.windows and isinstance(kernel, Kernel):
                kernel.start_as_windows(self.affinity_channels)
        if self.votes is not None:
            nn.init.zeros_(self.votes.weight)
        nn.init.constant_(self.gamma, self.gamma_init)
        if self.log_temperature is not None:
            nn.init.constant_(self.log_temperature, math.log(1 / 8))

    def forward(
        self,
        x: Tensor,
        batch: Tensor | Ragged | None = None,
        batch_size: int | None = None,
        affinity_x: Tensor | None = None,
        return_affinity: bool = False,
    ) -> Tensor | tuple[Tensor, list[Affinity]]:
        r"""Add context to every node.

        Args:
            x: (N, C) node features, or (B, n, C) for graphs of one size, in any strides.
            batch: (N,) the graph of each node, in any order; None for one graph.
            batch_size: number of graphs B; by default the largest entry of ``batch`` plus one.
            affinity_x: (N, ``affinity_channels``) or (B, n, ...), seen by the affinities alone.
            return_affinity: also return how each kernel passed messages.

        Returns:
            The shape, dtype and memory format of ``x``; with ``return_affinity`` also a list of
            :class:`Affinity`.

        Raises:
            ValueError: shapes do not fit.
            TypeError: the dtype is not that of the parameters, outside autocast, or an input is no
                tensor.
        """
        check_nodes(x, self.channels, self.gamma.dtype)
        graphs = graphs_of(x, batch, batch_size)
        inputs = (x, *self._checked_affinity_x(x, affinity_x))
        steps = LatentSteps(self)
        out = stream(steps.passes(), inputs, graphs, self._chunk_size_of(x, steps))
        return (out, steps.affinities(inputs, graphs)) if return_affinity else out

    def message_graph(
        self,
        x: Tensor,
        batch: Tensor | Ragged | None = None,
        batch_size: int | None = None,
        affinity_x: Tensor | None = None,
    ) -> HeteroData:
        r"""The graph that the block passes messages on, for PyG's tools.

        Node types are ``visible``, whose ``x`` is q, and ``latent_0`` to ``latent_{M-1}``, one for
        each kernel, flat as the three layers take them; both have ``batch``. Edge types
        ``("visible", "to", "latent_m")``, ``("latent_m", "to", "latent_m")`` and
        ``("latent_m", "to", "visible")`` have ``edge_index`` and ``edge_weight``, the weights of
        :math:`P_m`, F and :math:`S_m` that are not zero, in float32 or wider. The three layers on
        these edges give :math:`V_m = S_m Z'_m`.

        Args:
            x: as the block takes it.
            batch: as the block takes it.
            batch_size: as the block takes it.
            affinity_x: as the block takes it.

        Returns:
            The graph, whose tensors are part of autograd's.
        """
        check_all_nodes(f"{type(self).__name__}.message_graph")
        check_nodes(x, self.channels, self.gamma.dtype)
        graphs = graphs_of(x, batch, batch_size)
        inputs = (x, *self._checked_affinity_x(x, affinity_x))
        steps = LatentSteps(self)
        q, kernels = steps.kernels(inputs, graphs)
        return graph_of_kernels(q, graphs, [Weights(p, steps.mixing(z), s) for p, s, z in kernels])

    def passes(self) -> Passes:
        r"""The block as its two passes, for :func:`latentgraph.functional.stream`.

        They are of the weights of now: what is kept of them does not follow when these change.
        """
        return LatentSteps(self).passes()

    def _chunk_size_of(self, x: Tensor, steps: LatentSteps) -> int | None:
        check_chunk_size(self.chunk_size)
        if steps.needs_all_nodes:
            return None
        if self.chunk_size is not None:
            return self.chunk_size
        needs_grad = torch.is_grad_enabled() and (x.requires_grad or self.gamma.requires_grad)
        return auto_chunk_size(x, needs_grad)

    def _checked_affinity_x(self, x: Tensor, affinity_x: Tensor | None) -> tuple[Tensor, ...]:
        if affinity_x is None and self.affinity_channels == 0:
            return ()
        check_given(affinity_x=affinity_x)
        expected = (*x.shape[:-1], self.affinity_channels)
        if affinity_x is None or tuple(affinity_x.shape) != expected:
            got = None if affinity_x is None else tuple(affinity_x.shape)
            raise ValueError(f"expected affinity_x of shape {expected}, got {got}")
        if not affinity_x.is_floating_point():
            raise TypeError(
                f"expected affinity_x of a floating-point dtype, got {affinity_x.dtype}"
            )
        return (affinity_x,)

    def __repr__(self) -> str:
        options = "" if self.top_k is None else f", top_k={self.top_k}"
        options += ", windows=True" if self.windows else ""
        options += "" if self.votes is None else ", votes=True"
        return (
            f"{type(self).__name__}({self.channels}, latent_dims={self.latent_dims}, "
            f"reduction={self.reduction}, mode={self.mode!r}, mixing={self.mixing!r}{options})"
        )
