r"""The three steps of LatentGNN, as its two passes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from latentgraph import functional as LF
from latentgraph.functional import Chunk, Passes, Ragged, State
from latentgraph.functional.affinity import (
    inverse_norm,
    largest_of_rows,
    over_length_of,
    over_lengths,
    sum_squares_over_nodes,
)
from latentgraph.functional.linear import laid_out_as, linear
from latentgraph.functional.passes import Message
from latentgraph.functional.precision import full_precision, is_float16
from latentgraph.functional.shards import sum_over_shards
from latentgraph.nn.latent_kernel import Kernel
from latentgraph.nn.linear_norm import LinearNorm, RowFunction
from latentgraph.nn.position_features import moved_features

if TYPE_CHECKING:
    from latentgraph.nn.latent_gnn import LatentGNN


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


class LatentSteps:
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
        # A product for each graph takes up to twice as long as one of all nodes with a weight.
        self.up_folds = not self.convs and 2 * d * channels < unfolded

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
        if self.block.mode == "symmetric" and is_float16(x):
            # V is a sum over all nodes here, which may be more than float16 can hold.
            with full_precision(x):
                return self.way_up(received, x)
        return self.way_up([v.to(x.dtype) for v in received], x)

    def way_up(self, received: list[Tensor], x: Tensor) -> Tensor:
        r"""The graph convolutions of V, and W_up, in the dtype of V."""
        if self.convs:
            pairs = zip(self.convs, received, strict=True)
            received = [conv(v).relu().to(v.dtype) for conv, v in pairs]
        together = received[0] if len(received) == 1 else torch.cat(received, -1)
        return self.up(together if self.up.gives_rows(x) else laid_out_as(x, together))

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
        return (raw if k is None else largest_of_rows(raw, k)).relu_()

    def visible_to_latent(self, q: Tensor, p: Tensor, chunk: Chunk) -> Tensor:
        r"""(B, d, c)."""
        z: Tensor = self.block.visible_to_latent(q, None, p, chunk.batch)
        return z.view(chunk.graphs.stop - chunk.graphs.start, p.size(-1), q.size(-1))

    def latent_to_visible(self, z: Tensor, s: Tensor, chunk: Chunk) -> Tensor:
        r"""(..., c); the norm of a row of S stands on the sum, where a row is shorter."""
        v: Tensor = self.block.latent_to_visible(z.flatten(0, 1), None, s, chunk.batch)
        return over_length_of(v, s)

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
        nodes = inputs[0].shape[:-1]
        _, kernels = self.kernels(inputs, batch)
        return [
            Affinity(p.view(*nodes, p.size(-1)), s.view(*nodes, s.size(-1)), self.mix(z))
            for p, s, z in kernels
        ]

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
