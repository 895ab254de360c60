r"""The LatentGNN block: a few latent nodes for every visible node to talk through."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from latentgraph import functional as LF
from latentgraph.functional import Chunk, Passes, Ragged, State, stream
from latentgraph.functional.affinity import (
    inverse_length,
    inverse_norm,
    largest_of_rows,
    over_lengths,
    sum_squares_over_nodes,
)
from latentgraph.functional.linear import linear
from latentgraph.functional.passes import Message
from latentgraph.functional.precision import full_precision
from latentgraph.functional.shards import sum_over_shards
from latentgraph.functional.spans import auto_chunk_size
from latentgraph.nn.checks import check_all_nodes, check_nodes, graphs_of
from latentgraph.nn.latent_to_latent import LatentToLatentConv
from latentgraph.nn.latent_to_visible import LatentToVisibleConv
from latentgraph.nn.linear_norm import LinearNorm, Norm, RowFunction
from latentgraph.nn.message_graph import Weights, graph_of_kernels
from latentgraph.nn.position_features import moved_features
from latentgraph.nn.visible_to_latent import VisibleToLatentConv


class Affinity(NamedTuple):
    r"""How one kernel passed messages.

    Attributes:
        visible_to_latent: (N, d) or (B, n, d), :math:`P`, normalized.
        latent_to_visible: same shape, :math:`S`, normalized.
        latent: (B, d, c), :math:`Z'`, the latent features that were sent back.
    """

    visible_to_latent: Tensor
    latent_to_visible: Tensor
    latent: Tensor


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
                       applied to the latent nodes, as it is if :math:`D C < D c + M c C`
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
        steps = _Steps(self)
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
        steps = _Steps(self)
        q, kernels = steps.kernels(inputs, graphs)
        return graph_of_kernels(q, graphs, [Weights(p, steps.mixing(z), s) for p, s, z in kernels])

    def passes(self) -> Passes:
        r"""The block as its two passes, for :func:`latentgraph.functional.stream`."""
        return _Steps(self).passes()

    def _chunk_size_of(self, x: Tensor, steps: _Steps) -> int | None:
        if steps.needs_all_nodes:
            return None
        if self.chunk_size is not None:
            return self.chunk_size
        needs_grad = torch.is_grad_enabled() and (x.requires_grad or self.gamma.requires_grad)
        return auto_chunk_size(x, needs_grad)

    def _checked_affinity_x(self, x: Tensor, affinity_x: Tensor | None) -> tuple[Tensor, ...]:
        if affinity_x is None and self.affinity_channels == 0:
            return ()
        if affinity_x is not None and not isinstance(affinity_x, Tensor):
            raise TypeError(f"expected affinity_x as a tensor, got {type(affinity_x).__name__}")
        expected = (*x.shape[:-1], self.affinity_channels)
        if affinity_x is None or tuple(affinity_x.shape) != expected:
            got = None if affinity_x is None else tuple(affinity_x.shape)
            raise ValueError(f"expected affinity_x of shape {expected}, got {got}")
        return (affinity_x,)

    def __repr__(self) -> str:
        options = "" if self.top_k is None else f", top_k={self.top_k}"
        options += ", windows=True" if self.windows else ""
        options += "" if self.votes is None else ", votes=True"
        return (
            f"{type(self).__name__}({self.channels}, latent_dims={self.latent_dims}, "
            f"reduction={self.reduction}, mode={self.mode!r}, mixing={self.mixing!r}{options})"
        )


class _Steps:
    r"""The three steps of one call, on weights that were folded once."""

    def __init__(self, block: LatentGNN) -> None:
        self.block = block
        kernels = [kernel for kernel in block.kernels if isinstance(kernel, Kernel)]
        self.visible = block.visible.rows()
        self.latent = self.visible if block.latent is None else block.latent.rows()
        self.psi_v2l = [kernel.psi_v2l.rows() for kernel in kernels]
        self.psi_l2v = [
            shared if kernel.psi_l2v is None else kernel.psi_l2v.rows()
            for kernel, shared in zip(kernels, self.psi_v2l, strict=True)
        ]
        self.convs = [kernel.conv.rows() for kernel in kernels if kernel.conv is not None]
        self.up = block.up.rows(scale=block.gamma)
        learned = block.log_temperature
        self.temperature = float(block.temperature) if learned is None else learned.exp()
        d, c, channels = sum(block.latent_dims), self.visible.out_channels, block.channels
        unfolded = d * c + len(kernels) * c * channels
        modules = [m for m in block.modules() if isinstance(m, LinearNorm)]
        self.needs_all_nodes = any(m.needs_all_rows for m in modules)
        self.sent: tuple[Tensor, list[Tensor]] | None = None
        self.was_read: list[Tensor] | None = None
        self.up_folds = not self.convs and d * channels < unfolded

    def passes(self) -> Passes:
        functions = [self.visible, self.latent, *self.psi_v2l, *self.psi_l2v, *self.convs, self.up]
        weights = {id(w): w for function in functions for w in function.weights}
        if isinstance(self.temperature, Tensor):
            weights[id(self.temperature)] = self.temperature
        if self.block.votes is not None:
            weights[id(self.block.votes.weight)] = self.block.votes.weight
        listed = tuple(weights.values())
        return Passes(self.encode, self.update, self.decode, listed, self.block.residual)

    def encode(self, chunk: Chunk) -> State:
        r"""Visible to latent: :math:`P^\top q`, and what normalizes P over the nodes."""
        q, weights = self.send(chunk)
        with full_precision(q):
            sums = [self.visible_to_latent(q, p, chunk) for p in weights]
            if self.block.mode == "asymmetric":
                sums += [sum_squares_over_nodes(p, chunk.batch) for p in weights]
        return State(tuple(sums))

    def update(self, state: State) -> Message:
        r"""Latent to latent: :math:`Z' = F Z`, and the way up where that is cheaper here."""
        with full_precision(state.sums[0]):
            latents = [self.mix(z) for z in self.normalized(state)]
            if not self.up_folds:
                return tuple(latents)
            ways_up = self.up.weight.split(self.visible.out_channels, dim=1)
            return tuple(z @ w.T.to(z.dtype) for z, w in zip(latents, ways_up, strict=True))

    def decode(self, chunk: Chunk, message: Message) -> Tensor:
        r"""Latent to visible: :math:`S Z'`, and the way up."""
        x = chunk.x
        with full_precision(x):
            received = [
                self.latent_to_visible(z, s, chunk)
                for s, z in zip(self.read(chunk), message, strict=True)
            ]
        if self.up_folds:
            return self.up.follow(sum(received[1:], received[0]))
        if self.convs:
            pairs = zip(self.convs, received, strict=True)
            received = [conv(v.to(x.dtype)).relu() for conv, v in pairs]
        together = received[0] if len(received) == 1 else torch.cat(received, -1)
        return self.up(together.to(x.dtype))

    def send(self, chunk: Chunk) -> tuple[Tensor, list[Tensor]]:
        r"""q and, for each kernel, P; where asymmetric not yet normalized over the nodes."""
        if self.sent is not None:
            return self.sent
        q = LF.l2(self.visible(chunk.x))
        with full_precision(q):
            seen = self.beside(q, chunk)
            weights = [self.scores(psi, seen) for psi in self.psi_v2l]
            if self.block.mode == "symmetric":
                weights = [LF.l2(p) for p in weights]
            if self.needs_all_nodes:
                self.sent = q, weights  # batch norm counts its statistics once
            return q, weights

    def read(self, chunk: Chunk) -> list[Tensor]:
        r"""For each kernel S, not yet normalized over the latent nodes."""
        if self.block.mode == "symmetric" and self.sent is not None:
            return self.sent[1]
        if self.was_read is not None:
            return self.was_read
        k = LF.l2(self.latent(chunk.x))
        with full_precision(k):
            seen = self.beside(k, chunk)
            weights = [self.scores(psi, seen) for psi in self.psi_l2v]
        if self.needs_all_nodes:
            self.was_read = weights
        return weights

    def beside(self, q: Tensor, chunk: Chunk) -> Tensor:
        r"""q and the further features that the affinities see."""
        if len(chunk.inputs) == 1:
            return q
        further, votes = chunk.inputs[1], self.block.votes
        if votes is not None:
            further = moved_features(further, linear(chunk.x, votes.weight))
        return torch.cat([q, further.to(q.dtype)], -1)

    def scores(self, psi: RowFunction, seen: Tensor) -> Tensor:
        r"""Edge weights of one kernel, not yet normalized."""
        raw, k = psi(seen), self.block.top_k
        return (raw if k is None else largest_of_rows(raw, k)).relu()

    def visible_to_latent(self, q: Tensor, p: Tensor, chunk: Chunk) -> Tensor:
        r"""(B, d, c)."""
        z: Tensor = self.block.visible_to_latent(q, None, p, chunk.batch)
        return z.view(chunk.graphs.stop - chunk.graphs.start, p.size(-1), q.size(-1))

    def latent_to_visible(self, z: Tensor, s: Tensor, chunk: Chunk) -> Tensor:
        r"""(..., c); the norm of a row of S stands on the sum, where a row is shorter."""
        v: Tensor = self.block.latent_to_visible(z.flatten(0, 1), None, s, chunk.batch)
        return v * inverse_length(s, -1)

    def normalized(self, state: State) -> tuple[Tensor, ...]:
        r"""For each kernel Z; the node norms of P stand on its d rows."""
        if self.block.mode == "symmetric":
            return state.sums
        half = len(state.sums) // 2
        pairs = zip(state.sums[:half], state.sums[half:], strict=True)
        return tuple(z * inverse_norm(squares).unsqueeze(2) for z, squares in pairs)

    def mix(self, z: Tensor) -> Tensor:
        r""":math:`Z'`, (B, d, c)."""
        if self.block.mixing == "none":
            return z
        mixed: Tensor = self.block.latent_to_latent(
            z.flatten(0, 1), batch_size=z.size(0), temperature=self.temperature
        )
        return mixed.view_as(z) + z if self.block.mixing == "residual" else mixed.view_as(z)

    def mixing(self, z: Tensor) -> Tensor:
        r"""F, (B, d, d), such that :math:`Z' = F Z`."""
        kept = torch.eye(z.size(1), dtype=z.dtype, device=z.device).expand(z.size(0), -1, -1)
        if self.block.mixing == "none":
            return kept
        with full_precision(z):
            mixed = LF.cosine_softmax(z, self.temperature)
        return mixed + kept if self.block.mixing == "residual" else mixed

    def affinities(self, inputs: tuple[Tensor, ...], batch: Ragged | None) -> list[Affinity]:
        r"""What the three steps used, all nodes at once."""
        shape = (*inputs[0].shape[:-1], -1)
        _, kernels = self.kernels(inputs, batch)
        return [Affinity(p.view(shape), s.view(shape), self.mix(z)) for p, s, z in kernels]

    def kernels(
        self, inputs: tuple[Tensor, ...], batch: Ragged | None
    ) -> tuple[Tensor, Iterable[tuple[Tensor, Tensor, Tensor]]]:
        r"""q, and for each kernel P, S and Z, all nodes at once."""
        flat = batch is None and inputs[0].dim() == 2
        inputs = tuple(t.unsqueeze(0) for t in inputs) if flat else inputs
        num_graphs = inputs[0].size(0) if batch is None else batch.batch_size
        chunk = Chunk(inputs, batch, slice(0, num_graphs))
        q, sent = self.send(chunk)
        state = State(sum_over_shards(*self.encode(chunk).sums))
        if self.block.mode == "asymmetric":
            squares = state.sums[len(sent) :]
            sent = [over_lengths(p, s, batch) for p, s in zip(sent, squares, strict=True)]
        read = [LF.l2(s) for s in self.read(chunk)]
        return q, zip(sent, read, self.normalized(state), strict=True)
