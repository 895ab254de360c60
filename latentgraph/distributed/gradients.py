r"""Gradients of parameters, after the backward pass of sharded nodes."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from latentgraph.distributed.checks import check_group


def sum_gradients(
    parameters: nn.Module | Iterable[Tensor], group: dist.ProcessGroup | None = None
) -> None:
    r"""Add up the gradients of the ranks that hold the nodes, in one message for each dtype.

    Each rank has the gradient of its share of the loss; the gradient of the loss is their sum, not
    their mean. Where nodes are sharded over one dimension of a device mesh and batches lie along
    another, ``DistributedDataParallel`` averages over that one alone, if it is given its group, and
    this sums over the first:

    .. code-block:: python

        mesh = init_device_mesh("cuda", (2, 4), mesh_dim_names=("data", "nodes"))
        model = DistributedDataParallel(model, process_group=mesh["data"].get_group())
        with sharded_nodes(mesh["nodes"].get_group()):
            loss = share_of_loss(model(x, batch, batch_size))
        loss.backward()
        sum_gradients(model, mesh["nodes"].get_group())

    Args:
        parameters: a module or its parameters, the same on all ranks. One without a gradient gets
            one if another rank has one.
        group: ranks that hold the nodes; None for all.

    Raises:
        RuntimeError: there is no process group.
        TypeError: one parameter in place of several, or a sparse gradient.
        ValueError: this rank is not in ``group``.
    """
    if isinstance(parameters, Tensor):
        raise TypeError("expected a module or its parameters, got one tensor: put it in a list")
    check_group(group, "sum_gradients")
    if isinstance(parameters, nn.Module):
        parameters = parameters.parameters()
    alike: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for parameter in parameters:
        if parameter.grad is not None and parameter.grad.layout != torch.strided:
            raise TypeError(
                f"expected dense gradients, got one of {parameter.grad.layout}, of a parameter of "
                f"shape {tuple(parameter.shape)}"
            )
        if parameter.requires_grad:
            alike.setdefault((parameter.dtype, parameter.device), []).append(parameter)
    for tensors in alike.values():
        _sum_alike(tensors, group)


def _sum_alike(parameters: list[Tensor], group: dist.ProcessGroup | None) -> None:
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    found = torch.tensor([float(p.grad is not None) for p in parameters])
    message = torch.cat([found.to(grads[0]), *(g.reshape(-1) for g in grads)])
    dist.all_reduce(message, group=group)
    found, *sums = message.split([len(parameters), *(g.numel() for g in grads)])
    for parameter, anyone, total in zip(parameters, found.tolist(), sums, strict=True):
        if anyone:
            total = total.view_as(parameter)
            parameter.grad = (
                total.clone() if parameter.grad is None else parameter.grad.copy_(total)
            )
