r"""The layers among those of PyG."""

import pytest
import torch
from properties import assert_equal
from samples import BLOCKS, CHANNELS, SIZES, block, nodes
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GCNConv, MessagePassing, Sequential
from torch_geometric.utils import to_dense_batch

from latentgraph.nn import LatentToLatentConv, LatentToVisibleConv, VisibleToLatentConv


@pytest.mark.parametrize("name", BLOCKS)
def test_block_in_a_sequential_on_batches_of_a_loader(name) -> None:
    made, conv = block(name), GCNConv(CHANNELS, CHANNELS).double()
    model = Sequential(
        "x, edge_index, batch, batch_size",
        [
            (conv, "x, edge_index -> x"),
            torch.nn.ReLU(),
            (made, "x, batch, batch_size -> x"),
        ],
    )
    graphs = []
    for size in SIZES:
        edge_index = torch.randint(max(size, 1), (2, 2 * size))
        graphs.append(Data(x=torch.randn(size, CHANNELS).double(), edge_index=edge_index))
    (batch,) = DataLoader(graphs, batch_size=len(graphs))
    out = model(batch.x, batch.edge_index, batch.batch, batch.batch_size)
    for graph, rows in zip(graphs, out.split(SIZES), strict=True):
        alone = model(graph.x, graph.edge_index, None, None)
        assert_equal(rows, alone)


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
