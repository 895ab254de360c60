r"""Arguments have PyG's names and PyG's order, wherever PyG has one."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch_geometric.loader
import torch_geometric.nn
import torch_geometric.utils
from public_names import CALLABLES, parameters
from torch import Tensor
from torch_geometric.nn import Aggregation
from torch_geometric.nn.models.basic_gnn import BasicGNN

# PyG's name, and what others say.
OTHERS = {
    "x": "features feature feats feat node_features node_feats h",
    "pos": "position positions xyz coords coordinates",
    "edge_index": "edge_list edges_index adj adjacency adj_t",
    "edge_weight": "edge_weights weights adj_weight",
    "edge_attr": "edge_features edge_feats",
    "batch": "batch_index batch_idx batch_vector graph_index graph_ids graph_id",
    "batch_size": "num_graphs n_graphs num_batches bs",
    "num_nodes": "n_nodes nodes num_points n_points num_vertices",
    "dim_size": "size_dim out_size num_segments",
    "ptr": "indptr offsets cu_seqlens splits",
    "in_channels": "channels_in in_features in_dim dim_in input_dim c_in input_channels",
    "out_channels": "channels_out out_features out_dim dim_out output_dim c_out output_channels",
    "channels": "num_channels n_channels num_features dims embed_dim hidden",
    "num_layers": "n_layers depth",
    "heads": "num_heads n_heads",
    "concat": "concatenate cat",
    "aggr": "aggregator",
    "norm": "normalization norm_layer",
    "act": "activation act_layer",
    "dropout": "drop drop_rate dropout_rate",
    "bias": "use_bias",
    "eps": "epsilon",
    "num_classes": "n_classes classes",
    "num_workers": "workers n_workers jobs n_jobs processes",
    "transform": "transforms",
}
OURS = {other: name for name, others in OTHERS.items() for other in others.split()}


def theirs() -> set[str]:
    r"""Names of all arguments of what PyG exports for models."""
    found: set[str] = set()
    for module in (torch_geometric.nn, torch_geometric.utils, torch_geometric.loader):
        for value in vars(module).values():
            for call in (value, getattr(value, "forward", None)):
                if inspect.isfunction(call) or inspect.isclass(call):
                    found.update(inspect.signature(call).parameters)
    return found


def out_of_order(value: Callable[..., Any], model: Callable[..., Any]) -> bool:
    order = list(parameters(model))
    places = [order.index(own) for own in parameters(value) if own in order]
    return places != sorted(places)


def foreign(value: Callable[..., Any]) -> list[str]:
    r"""Arguments for which PyG has another name, or another order."""
    named = [f"{own}, which is {OURS[own]}" for own in parameters(value) if own in OURS]
    models = (BasicGNN.forward, Aggregation.forward)
    return named + [m.__qualname__ for m in models if out_of_order(value, m)]


def test_the_names_to_use_are_those_of_pyg() -> None:
    assert set(OTHERS) - theirs() == set()


@pytest.mark.parametrize("name", sorted(CALLABLES))
def test_arguments_are_named_as_in_pyg(name) -> None:
    assert foreign(CALLABLES[name].value) == []


def test_other_names_and_orders_are_found() -> None:
    def block(x: Tensor, batch: Tensor, edge_index: Tensor, num_graphs: int) -> None: ...

    assert foreign(block) == ["num_graphs, which is batch_size", "BasicGNN.forward"]
