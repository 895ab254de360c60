r"""The layers among those of PyG."""

import pytest
import torch
from properties import assert_equal
from samples import BLOCKS, CHANNELS, SIZES, block, nodes
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch_geometric.data import Data
from torch_geometric.explain import Explainer, GNNExplainer
from torch_geometric.loader import DataLoader, NeighborLoader, NodeLoader
from torch_geometric.nn import GCNConv, MessagePassing, Sequential, summary
from torch_geometric.sampler import BaseSampler, NodeSamplerInput, SamplerOutput
from torch_geometric.typing import WITH_PYG_LIB, WITH_TORCH_SPARSE
from torch_geometric.utils import k_hop_subgraph, to_dense_batch

from latentgraph.nn import (
    GlobalContext,
    LatentAggregation,
    LatentToLatentConv,
    LatentToVisibleConv,
    NonLocal,
    OnGrid,
    VisibleToLatentConv,
)
from latentgraph.out_of_core import stream_chunks

EVERY = (*BLOCKS, "non_local")


def made(name: str) -> nn.Module:
    return NonLocal(CHANNELS).double() if name == "non_local" else block(name)


def model(name: str) -> nn.Module:
    return Sequential(
        "x, edge_index, batch, batch_size",
        [
            (GCNConv(CHANNELS, CHANNELS).double(), "x, edge_index -> x"),
            nn.ReLU(),
            (made(name), "x, batch, batch_size -> x"),
        ],
    )


def graph(size: int) -> Data:
    edge_index = torch.randint(max(size, 1), (2, 2 * size))
    return Data(x=torch.randn(size, CHANNELS).double(), edge_index=edge_index)


@pytest.mark.parametrize("name", EVERY)
def test_block_in_a_sequential_on_batches_of_a_loader(name) -> None:
    network = model(name)
    graphs = [graph(size) for size in SIZES]
    (batch,) = DataLoader(graphs, batch_size=len(graphs))
    out = network(batch.x, batch.edge_index, batch.batch, batch.batch_size)
    for alone, rows in zip(graphs, out.split(SIZES), strict=True):
        assert_equal(rows, network(alone.x, alone.edge_index, None, None))


COMPILED = [
    "latent_gnn",  # the others take seconds each
    *(pytest.param(name, marks=pytest.mark.slow) for name in EVERY if name != "latent_gnn"),
]


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_in_a_sequential(name) -> None:
    network = model(name)
    (batch,) = DataLoader([graph(7), graph(3)], batch_size=2)
    arguments = (batch.x, batch.edge_index, batch.batch, 2)
    torch._dynamo.reset()
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    assert_equal(compiled(*arguments), network(*arguments))


class WholeNeighborhoods(BaseSampler):
    r"""All nodes within two steps: what ``NeighborLoader`` samples, without compiled packages."""

    def __init__(self, data: Data) -> None:
        self.data = data

    def sample_from_nodes(self, index: NodeSamplerInput, **options: object) -> SamplerOutput:
        around, _, _, _ = k_hop_subgraph(index.node, 2, self.data.edge_index)
        rest = around[~torch.isin(around, index.node)]
        node = torch.cat([index.node, rest])  # seed nodes come first
        place = torch.full((self.data.num_nodes,), -1)
        place[node] = torch.arange(len(node))
        row, col = place[self.data.edge_index]
        (edge,) = ((row >= 0) & (col >= 0)).nonzero(as_tuple=True)
        metadata = (index.input_id, index.time)
        return SamplerOutput(node, row[edge], col[edge], edge, metadata=metadata)

    def sample_from_edges(self, *arguments: object, **options: object) -> SamplerOutput:
        raise NotImplementedError


def whole_neighborhoods(data: Data) -> NodeLoader:
    return NodeLoader(data, WholeNeighborhoods(data), batch_size=5, shuffle=True)


def neighbors(data: Data) -> NeighborLoader:
    return NeighborLoader(data, [-1, -1], batch_size=5, shuffle=True)


LOADERS = [
    whole_neighborhoods,
    pytest.param(
        neighbors,
        marks=pytest.mark.skipif(
            not (WITH_PYG_LIB or WITH_TORCH_SPARSE), reason="needs pyg-lib or torch-sparse"
        ),
    ),
]


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("load", LOADERS)
def test_block_on_what_a_neighbor_loader_samples(load, name) -> None:
    data, network = graph(23), model(name)
    seeds = []
    for part in load(data):
        out = network(part.x, part.edge_index, None, None)[: part.batch_size]
        (grad,) = torch.autograd.grad(out.sum(), network[0].lin.weight)
        assert out.isfinite().all()
        assert grad.isfinite().all()
        assert torch.equal(part.x, data.x[part.n_id])
        seeds += part.n_id[: part.batch_size].tolist()
    assert sorted(seeds) == list(range(23))


@pytest.mark.parametrize("load", LOADERS)
def test_a_neighbor_loader_streams_the_nodes_of_a_graph(load) -> None:
    data, context = graph(23), made("latent_gnn")
    out = stream_chunks(context, load(data), torch.empty(23, CHANNELS).double(), progress=False)
    assert_equal(out, context(data.x))


class ThroughLatents(nn.Module):
    r"""Visible nodes that hear each other through latent nodes, on explicit edges alone."""

    def __init__(self, num_latents: int) -> None:
        super().__init__()
        self.num_latents = num_latents
        self.send, self.receive = VisibleToLatentConv(), LatentToVisibleConv()

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        z = self.send(x, edge_index, num_latents=self.num_latents)
        return self.receive(z, edge_index.flip(0), num_nodes=x.size(0))


def test_layers_in_a_sequential_on_batches_of_a_loader() -> None:
    network = Sequential(
        "x, none, weight, batch, batch_size",
        [
            (VisibleToLatentConv(), "x, none, weight, batch, batch_size -> z"),
            (LatentToLatentConv(), "z, none, none, none, batch_size -> z"),
            (LatentToVisibleConv(), "z, none, weight, batch, batch_size -> x"),
        ],
    )
    graphs = [
        Data(x=torch.randn(n, 5).double(), weight=torch.rand(n, 3).double()) for n in (7, 2, 11)
    ]
    (batch,) = DataLoader(graphs, batch_size=3)
    out = network(batch.x, None, batch.weight, batch.batch, batch.batch_size)
    for alone, rows in zip(graphs, out.split([7, 2, 11]), strict=True):
        z = alone.weight.mT @ alone.x
        near = normalize(z)
        assert_equal(rows, alone.weight @ (near @ near.mT).softmax(1) @ z)


def edge_mask(network: nn.Module, x: Tensor, edge_index: Tensor, node: int) -> Tensor:
    explainer = Explainer(
        network,
        GNNExplainer(epochs=7),
        explanation_type="model",
        edge_mask_type="object",
        model_config={"mode": "regression", "task_level": "node", "return_type": "raw"},
    )
    return explainer(x, edge_index, index=node).edge_mask


def test_an_explanation_names_the_edges_to_the_latent_node_that_is_heard() -> None:
    latent = torch.tensor([0, 2, 0, 1, 2, 2, 0])
    edge_index = torch.stack([torch.arange(7), latent])
    mask = edge_mask(ThroughLatents(3), torch.rand(7, 5), edge_index, node=4)
    assert torch.equal(mask > 0, latent == 2)


def test_an_explanation_names_the_latent_nodes_that_a_latent_node_hears() -> None:
    edge_index = torch.tensor([[0, 1, 2, 0], [1, 1, 0, 2]])
    mask = edge_mask(LatentToLatentConv(), torch.rand(3, 5), edge_index, node=1)
    assert (mask > 0).tolist() == [True, True, False, False]


@pytest.mark.parametrize("name", EVERY)
def test_a_summary_counts_the_parameters_of_a_block(name) -> None:
    network, data = model(name), graph(7)
    (row,) = [
        line
        for line in summary(network, data.x, data.edge_index, None, None).splitlines()
        if f"(module_2){type(network[2]).__name__} " in line
    ]
    shape = f"[7, {CHANNELS}]"
    count = sum(parameter.numel() for parameter in network[2].parameters())
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1].startswith(shape)
    assert cells[2:] == [shape, f"{count:,}"]


@pytest.mark.parametrize(
    ("layer", "arguments"),
    [
        (VisibleToLatentConv(), (torch.ones(7, 5), None, torch.ones(7, 3))),
        (LatentToLatentConv(), (torch.ones(3, 5),)),
        (LatentToVisibleConv(), (torch.ones(3, 5), None, torch.ones(7, 3))),
        (OnGrid(GlobalContext(5, ratio=0.5)), (torch.ones(2, 5, 3, 7),)),
        (LatentAggregation(5, 3), (torch.ones(7, 5),)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_summary_shows_every_layer(layer, arguments) -> None:
    out = layer(*arguments)
    row = summary(layer, *arguments).splitlines()[3]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    is_learned = any(True for _ in layer.parameters())
    assert cells[0] == type(layer).__name__
    assert cells[2] == str(list(out.shape))
    assert cells[3] == (f"{sum(p.numel() for p in layer.parameters()):,}" if is_learned else "--")


def test_layers_are_message_passing_and_can_be_explained() -> None:
    for layer in (VisibleToLatentConv(), LatentToLatentConv(), LatentToVisibleConv()):
        assert isinstance(layer, MessagePassing)
        assert not list(layer.parameters())
        assert repr(layer) == f"{type(layer).__name__}()"

    conv, heard = VisibleToLatentConv(), []
    conv.register_message_forward_hook(lambda module, inputs, output: heard.append(output))
    conv(torch.ones(3, 5), torch.tensor([[0, 2], [1, 0]]), torch.tensor([2.0, 3.0]), num_latents=2)
    assert torch.equal(heard[0], torch.tensor([[2.0], [3.0]]).expand(2, 5))


def test_visible_to_latent_equals_a_padded_product() -> None:
    x, batch, batch_size = nodes(SIZES, in_order=True)
    weight = torch.randn(len(x), 5, dtype=torch.float64)
    padded_x, _ = to_dense_batch(x, batch, batch_size=batch_size)
    padded_weight, _ = to_dense_batch(weight, batch, batch_size=batch_size)
    out = VisibleToLatentConv()(x, None, weight, batch, batch_size)
    assert_equal(out, (padded_weight.mT @ padded_x).flatten(0, 1))
