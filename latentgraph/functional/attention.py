r"""Softmax attention between all nodes of a graph, without their N x N weights in memory.

.. math:: y_i = \sum_j softmax_j(s\, q_i \cdot k_j)\, v_j

The forward pass is torch's ``scaled_dot_product_attention``. Its own backward pass can neither be
differentiated again nor be compiled graph by graph, so the gradient is written out here, for blocks
of rows that are computed once more.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from latentgraph.functional.checks import check_no_tangents
from latentgraph.functional.pairs import Plans, each_graph, plans
from latentgraph.functional.precision import full_precision
from latentgraph.functional.ragged import Ragged
from latentgraph.functional.tracing import is_traced

BLOCK_ELEMENTS = 2**21  # attention weights held at once in the backward pass


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    batch: Ragged | None = None,
    key_batch: Ragged | None = None,
) -> Tensor:
    r"""Every query averages the values of its graph.

    Args:
        query: (N, k), or (B, n, k) for graphs of one size.
        key: (M, k) or (B, m, k), same dtype.
        value: (M, c) or (B, m, c), same dtype.
        scale: s, a factor of the scores.
        batch: the graph of each query; None for one graph or for (B, n, k).
        key_batch: the graph of each key and value.

    Returns:
        (N, c) or (B, n, c). A graph without keys has zeros.
    """
    if batch is None and query.dim() == 2:
        stacked = attention(query.unsqueeze(0), key.unsqueeze(0), value.unsqueeze(0), scale)
        return stacked.squeeze(0)
    needs_grad = query.requires_grad or key.requires_grad or value.requires_grad
    if batch is None and (is_traced(value) or not (needs_grad and torch.is_grad_enabled())):
        return _attend(query, key, value, scale)
    check_no_tangents(query, key, value)
    result: Tensor = _attention(query, key, value, scale, *plans(batch, key_batch))
    return result


def _attend(q: Tensor, k: Tensor, v: Tensor, scale: float, padding: Tensor | None = None) -> Tensor:
    r"""(g, n, c), by flash attention, which on the CPU wants values as wide as the keys."""
    flash = v.device.type == "cpu" and not is_traced(v) and torch.backends.cuda.flash_sdp_enabled()
    missing = max(0, k.size(-1) - v.size(-1)) if flash else 0
    mask = None if padding is None else ~padding[:, None, None, :]
    query, key, value = (t.contiguous().unsqueeze(1) for t in (q, k, F.pad(v, (0, missing))))
    with full_precision(q):
        y = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
    return y.squeeze(1)[..., : v.size(-1)]


@torch.library.custom_op("latentgraph::attention", mutates_args=())
def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    batch: Tensor | None,
    key_batch: Tensor | None,
    batch_size: int,
    plan: list[Tensor],
    key_plan: list[Tensor],
) -> Tensor:
    out = value.new_zeros(*query.shape[:-1], value.size(-1))
    for queries, keys in each_graph((batch, key_batch, batch_size, plan, key_plan)):
        q, k, v = queries.take(query), keys.take(key), keys.take(value)
        queries.add_to(out, _attend(q, k, v, scale, keys.padding))
    return out


@torch.library.custom_op("latentgraph::attention_gradients", mutates_args=())
def _attention_gradients(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    batch: Tensor | None,
    key_batch: Tensor | None,
    batch_size: int,
    plan: list[Tensor],
    key_plan: list[Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    membership = (batch, key_batch, batch_size, plan, key_plan)
    return _gradients(grad, query, key, value, scale, membership, BLOCK_ELEMENTS)


def _gradients(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    membership: Plans,
    block_elements: int | None,
) -> tuple[Tensor, Tensor, Tensor]:
    grad_query, grad_key, grad_value = (torch.zeros_like(t) for t in (query, key, value))
    for queries, keys in each_graph(membership):
        q, k, v = queries.take(query), keys.take(key), keys.take(value)
        above = queries.take(grad, zero_padding=True)
        rows = q.size(1)
        if block_elements is not None:
            rows = max(1, block_elements // max(1, k.size(0) * k.size(1)))
        of_q = []
        for q_rows, above_rows in zip(q.split(rows, 1), above.split(rows, 1), strict=True):
            of_rows, of_k, of_v = _gradients_of_rows(above_rows, q_rows, k, v, scale, keys.padding)
            of_q.append(of_rows)
            keys.add_to(grad_key, of_k)
            keys.add_to(grad_value, of_v)
        queries.add_to(grad_query, torch.cat(of_q, 1))
    return grad_query, grad_key, grad_value


def _gradients_of_rows(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, scale: float, padding: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    with full_precision(q):
        score = q @ k.mT * scale
        if padding is not None:
            score = score.masked_fill(padding.unsqueeze(1), -torch.inf)
        weight = score.softmax(-1)
        of_weight = grad @ v.mT
        of_score = scale * weight * (of_weight - (weight * of_weight).sum(-1, keepdim=True))
        return of_score @ k, of_score.mT @ q, weight.mT @ grad


@_attention.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, *_: Any) -> Tensor:
    return value.new_empty(*query.shape[:-1], value.size(-1))


@_attention_gradients.register_fake
def _(grad: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: Any) -> tuple[Tensor, ...]:
    return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    *tensors, ctx.scale, ctx.batch, ctx.key_batch, ctx.batch_size, ctx.plan, ctx.key_plan = inputs
    ctx.save_for_backward(*tensors)


def _membership(ctx: Any) -> Plans:
    return ctx.batch, ctx.key_batch, ctx.batch_size, ctx.plan, ctx.key_plan


def _no_gradients(ctx: Any) -> tuple[Any, ...]:
    return None, None, None, None, [None for _ in ctx.plan], [None for _ in ctx.key_plan]


def _attention_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    tensors = ctx.saved_tensors
    return (
        *_attention_gradients(grad, *tensors, ctx.scale, *_membership(ctx)),
        *_no_gradients(ctx),
    )


def _attention_gradients_backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        # Views, since one saved tensor may be another or be computed from it.
        grad, query, key, value = tensors = [t.view_as(t) for t in ctx.saved_tensors]
        wanted = [t for t in tensors if t.requires_grad]
        first = _gradients(grad, query, key, value, ctx.scale, _membership(ctx), None)
        found = iter(torch.autograd.grad(first, wanted, grads, create_graph=again))
    second = [next(found) if t.requires_grad else None for t in tensors]
    return *second, *_no_gradients(ctx)


_attention.register_autograd(_attention_backward, setup_context=_keep)
_attention_gradients.register_autograd(_attention_gradients_backward, setup_context=_keep)


@register_flop_formula(torch.ops.latentgraph.attention, get_raw=True)
def _(query: Tensor, key: Tensor, value: Tensor, scale: float, *plans: Any, **_: Any) -> int:
    return 2 * _num_pairs(query, key, *plans) * (key.size(-1) + value.size(-1))


@register_flop_formula(torch.ops.latentgraph.attention_gradients, get_raw=True)
def _(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, scale: float, *plans: Any, **_: Any
) -> int:
    return 2 * _num_pairs(query, key, *plans) * (3 * key.size(-1) + 2 * value.size(-1))


def _num_pairs(
    query: Tensor, key: Tensor, batch: Tensor | None, key_batch: Tensor | None, size: int, *_: Any
) -> int:
    if batch is None:
        return query.shape[:-1].numel() * key.size(-2)
    queries = torch.bincount(batch, minlength=size)
    keys = queries if key_batch is None else torch.bincount(key_batch, minlength=size)
    return int(queries @ keys)
