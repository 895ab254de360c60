r"""What the layers inside a module tell about its output, and what an example shows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch_geometric.nn import MessagePassing

from latentgraph.plug.context import Context, Layout, check_output

_WIDTHS = ("out_channels", "out_features", "num_features", "num_channels", "embedding_dim")


def channels_inside(module: nn.Module) -> int | None:
    r"""Channels that the last layer inside puts out, of those that have a number of them."""
    found = (_channels(layer) for layer in _from_the_last(module))
    return next((channels for channels in found if channels is not None), None)


def layout_inside(module: nn.Module) -> Layout | None:
    r"""The layout that all layers inside agree on, unless the module's own type tells."""
    own = _layout(module)
    found = {own} if own else {_layout(layer) for layer in _from_the_last(module)} - {None}
    if "nodes" in found:
        return "nodes"
    return found.pop() if len(found) == 1 else None


def _from_the_last(module: nn.Module) -> Iterator[nn.Module]:
    yield module
    for child in reversed(list(module.children())):
        if not isinstance(child, Context):
            yield from _from_the_last(child)


def _channels(layer: nn.Module) -> int | None:
    for name in (*_WIDTHS, "in_channels") if _is_norm(layer) else _WIDTHS:
        width = getattr(layer, name, None)
        if isinstance(width, int) and width > 0:
            concatenated = getattr(layer, "concat", None) is True  # PyG's attention layers
            return width * int(getattr(layer, "heads", 1)) if concatenated else width
    if isinstance(layer, nn.LayerNorm | nn.RMSNorm):
        return layer.normalized_shape[0] if len(layer.normalized_shape) == 1 else None
    return cast(Tensor, layer.weight).numel() if _is_norm(layer) else None


def _layout(layer: nn.Module) -> Layout | None:
    kind = type(layer)
    if isinstance(layer, MessagePassing) or kind.__module__.startswith("torch_geometric."):
        return "nodes"
    on_maps = isinstance(layer, _ConvNd | _NormBase | nn.GroupNorm)
    if on_maps or re.search("[123]d$", kind.__name__):
        return "grid"
    on_tokens = isinstance(layer, nn.Linear | nn.Embedding | nn.LayerNorm | nn.RMSNorm)
    return "tokens" if on_tokens or _is_norm(layer) else None


def _is_norm(layer: nn.Module) -> bool:
    r"""Frozen batch norms and the RMS norms of language models say no more than this."""
    weight = getattr(layer, "weight", None)
    return "Norm" in type(layer).__name__ and isinstance(weight, Tensor) and weight.dim() == 1


def shapes_in_example(
    model: nn.Module, modules: Mapping[str, nn.Module], example: Any
) -> dict[str, tuple[int, ...]]:
    r"""Shapes that the modules put out in one run, which leaves the model as it was.

    Args:
        model: run in evaluation mode; flags, buffers and random numbers are restored.
        modules: those of interest, by name.
        example: the only argument, a tuple of arguments or a dictionary of keyword arguments.

    Raises:
        TypeError: a module returns no tensor.
        ValueError: a module is not run.
    """
    outputs: dict[str, Any] = {}

    def keep(name: str) -> Any:
        return lambda module, args, output: outputs.__setitem__(name, output)

    flags = {module: module.training for module in model.modules()}
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in flags
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    hooks = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    args = example if isinstance(example, tuple) else (example,)
    devices = {t.device for t in (*model.parameters(), *model.buffers()) if t.is_cuda}
    try:
        with torch.no_grad(), torch.random.fork_rng(devices):
            for module in flags:
                module.training = False
            if isinstance(example, Mapping):
                model(**example)
            else:
                model(*args)
    finally:
        for hook in hooks:
            hook.remove()
        with torch.no_grad():
            for module, name, buffer, before in buffers:
                module._buffers[name] = buffer.copy_(before)
        for module, flag in flags.items():
            module.training = flag
    for name in modules:
        if name not in outputs:
            raise ValueError(f"expected an example that runs {name!r}, which it does not")
        check_output(outputs[name], name)
    return {name: tuple(output.shape) for name, output in outputs.items()}
