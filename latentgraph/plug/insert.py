r"""Insert a block behind modules of a network."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from fnmatch import fnmatchcase
from inspect import signature
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from latentgraph.nn import OnGrid
from latentgraph.plug.context import SHAPES, Context, Layout, check_shape
from latentgraph.plug.graphs import TellGraphs, forget_graphs
from latentgraph.plug.inserted import Inserted
from latentgraph.plug.layers import channels_inside, layout_inside, shapes_in_example

_AXES: dict[Layout, int] = {"grid": 1, "tokens": -1}


class _Place(NamedTuple):
    module: nn.Module
    channels: int
    layout: Layout


def insert(
    model: nn.Module,
    at: str,
    block: Callable[[int], nn.Module],
    channels: int | None = None,
    layout: Layout | Literal["auto"] = "auto",
    example: Any = None,
) -> Inserted:
    r"""Run a block on the output of modules of a network.

    ``insert(resnet, "layer[234].*.bn3", lambda c: GlobalContext(c))`` is the network of the GCNet
    paper. The block becomes the child ``context`` of the module: keys of the network's own state
    dict stay as they are, those of the block start with ``<at>.context.``. Weights of the network
    load before, or after with ``strict=False``, when only the keys of the block are missing.

    On nodes, every graph gets its own context if the network's ``forward`` takes ``batch`` (not as
    its first argument; ``batch_size`` is passed on too) or a PyG ``Data``; otherwise the nodes of a
    call are one graph. Only a call of the network itself tells the graphs: a part of it that is
    called alone raises, and so does one that a checkpoint runs again in the backward pass.

    Args:
        model: the network, changed in place.
        at: name of a module, or a pattern of names: between two dots ``*``, ``?`` and ``[...]``
            stand for characters as in file names.
        block: makes the block from a number of channels, once for each place. It follows the
            module to its device and dtype.
        channels: those of the output; by default what ``example`` shows, or else what the last
            layer inside the module says that has them. If that layer has others, give ``example``
            as well.
        layout: ``"grid"`` for (B, C, \*spatial), ``"tokens"`` for (B, \*n, C), ``"nodes"`` for
            (N, C); ``"auto"`` goes by the types of the layers inside, and by ``example``.
        example: input to run the network on once: its only argument, a tuple of arguments or a
            dictionary of keyword arguments. The run leaves the network as it was.

    Returns:
        What takes the blocks out again.

    Raises:
        ValueError: no module has the name, one has a context already, or channels or layout cannot
            be told or do not fit.
        TypeError: ``model`` is no module, ``at`` no name, ``block`` makes no module, or a module
            does not return one tensor.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"expected model as a Module, got {type(model).__name__}")
    if not isinstance(at, str):
        raise TypeError(f"expected at as the name of a module or a pattern of names, got {at!r}")
    if layout not in ("auto", *SHAPES):
        raise ValueError(f"expected layout from {('auto', *SHAPES)}, got {layout!r}")
    modules = _find(model, at)
    shapes = {} if example is None else shapes_in_example(model, modules, example)
    tell_graphs = TellGraphs(list(signature(model.forward).parameters))
    places = {
        name: _settle(name, module, channels, layout, shapes.get(name), tell_graphs.has_batch)
        for name, module in modules.items()
    }
    contexts = {name: _make(name, place, block, model) for name, place in places.items()}

    for name, context in contexts.items():
        modules[name].add_module("context", context)
    hooks = []
    if any(place.layout == "nodes" for place in places.values()):
        hooks = [
            model.register_forward_pre_hook(tell_graphs, prepend=True, with_kwargs=True),
            model.register_forward_hook(forget_graphs, always_call=True),
        ]
    return Inserted(model, list(places), hooks)


def _find(model: nn.Module, at: str) -> dict[str, nn.Module]:
    r"""Modules of the name or pattern that can take a block."""
    inserted = {m for c in model.modules() if isinstance(c, Context) for m in c.modules()}
    named = {
        name: module
        for name, module in model.named_modules(remove_duplicate=False)
        if name and module not in inserted
    }
    pattern = at.split(".")
    found: dict[nn.Module, str] = {}
    for name, module in named.items():
        parts = name.split(".")
        if len(parts) == len(pattern) and all(map(fnmatchcase, parts, pattern)):
            found.setdefault(module, name)
    if not found:
        near = get_close_matches(at, named, n=3, cutoff=0.3) or list(named)[:3]
        raise ValueError(f"expected the name of a module, got {at!r}; near are {', '.join(near)}")
    for module, name in found.items():
        if isinstance(module, nn.MultiheadAttention | nn.RNNBase):
            raise TypeError(
                f"expected a module that returns a Tensor at {name!r}, which is a "
                f"{type(module).__name__} and returns a tuple"
            )
        if isinstance(module, torch.jit.ScriptModule):
            raise TypeError(
                f"expected a module in Python at {name!r}, got one that torch.jit has compiled"
            )
        if isinstance(module, nn.ModuleList | nn.ModuleDict):
            raise ValueError(
                f"expected a module that is called at {name!r}, which is a "
                f"{type(module).__name__} of others"
            )
        if hasattr(module, "context"):
            raise ValueError(f"expected a module without 'context' at {name!r}, which has one")
    return {name: module for module, name in found.items()}


def _settle(
    name: str,
    module: nn.Module,
    channels: int | None,
    layout: Layout | Literal["auto"],
    shape: tuple[int, ...] | None,
    on_nodes: bool,
) -> _Place:
    r"""Channels and layout of a module's output, from all that is known."""
    inside = channels_inside(module)
    contradict = None not in (channels, inside) and channels != inside
    if contradict and next(module.children(), None) is None:
        raise ValueError(f"expected channels={inside} at {name!r}, got {channels}")
    if contradict and shape is None:
        raise ValueError(
            f"expected channels={inside} at {name!r}, those of its last layer, got {channels}; "
            "give example= if the module makes others of them"
        )
    known = inside if channels is None else channels
    if layout == "auto":
        fits = [kind for kind, axis in _AXES.items() if shape and shape[axis] == known]
        if on_nodes and (shape is None or len(shape) == 2):
            settled: Layout | None = "nodes"
        elif len(shape or ()) > 2 and len(fits) == 1:
            settled = fits[0]
        else:
            settled = layout_inside(module)
    else:
        settled = layout
    if settled is None:
        raise ValueError(
            f"expected layers inside {name!r} that agree on a layout, found none or several; "
            "give layout= or example="
        )
    if channels is None and shape:
        known = shape[_AXES.get(settled, -1)]
    if known is None:
        raise ValueError(
            f"expected a layer that has channels inside {name!r}, a {type(module).__name__}, "
            "found none; give channels= or example="
        )
    if shape is not None:
        check_shape(shape, name, known, settled)
    return _Place(module, known, settled)


def _make(name: str, place: _Place, block: Callable[[int], nn.Module], model: nn.Module) -> Context:
    r"""The block for a place, on the module's device and in its dtype."""
    made = block(place.channels)
    if not isinstance(made, nn.Module):
        raise TypeError(f"expected block to make a Module, got {type(made).__name__}")
    inner = made.block if isinstance(made, OnGrid) else made
    if getattr(inner, "channels", place.channels) != place.channels:
        raise ValueError(
            f"expected a block of {place.channels} channels at {name!r}, got {inner.channels}"
        )
    if isinstance(made, OnGrid) and place.layout != "grid":
        raise ValueError(f"expected a block on {place.layout} at {name!r}, got OnGrid")
    # A plain Sequential runs its children; one with a forward of its own may do more.
    hooked = not isinstance(place.module, nn.Sequential)
    hooked = hooked or type(place.module).forward is not nn.Sequential.forward
    context = Context(made, name, place.channels, place.layout, hooked)
    tensors = (*place.module.parameters(), *model.parameters(), *model.buffers())
    like = next((t for t in tensors if t.is_floating_point()), None)
    if like is not None:
        context.to(like.device, like.dtype)
    return context.train(place.module.training)
