r"""Blocks on the nodes of several graphs, in networks whose layers are not told which."""

import copy
import pickle
from threading import Thread

import pytest
import torch
from networks import CHANGE, GraphNet
from properties import assert_equal
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GCN, GCNConv, Sequential

from latentgraph.plug import insert

# Dynamo instantiates the autograd functions that it meets, and torch warns that nobody should.
pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")


class PointNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(7, 11)

    def forward(self, x: Tensor, batch: Tensor | None, batch_size: int | None = None) -> Tensor:
        return self.linear(x).relu()


STEPS = [(GCNConv(7, 11), "x, edge_index -> x")]


def points(num_nodes: int = 5, num_graphs: int = 2) -> tuple[Tensor, Tensor]:
    return torch.randn(num_nodes, 7), torch.arange(num_nodes) % num_graphs


def alone(model: nn.Module, x: Tensor, batch: Tensor) -> Tensor:
    r"""Each graph in a call of its own."""
    out = x.new_empty(len(x), 11)
    for graph in batch.unique():
        out[batch == graph] = model(x[batch == graph], None)
    return out


def test_graphs_of_a_batch_are_told_apart() -> None:
    model = GraphNet().eval()
    x, edge_index = torch.randn(13, 7), torch.tensor([[0, 1, 5, 12], [1, 0, 6, 11]])
    batch = torch.tensor([0] * 5 + [1] * 7 + [2])
    out = model(x, edge_index, batch)
    for at in ("conv", "mlp", "mlp.1", "norm"):
        handle = insert(model, at, CHANGE)
        together = model(x, edge_index, batch)
        assert_equal(model(x, edge_index, batch=batch), together)
        inside = (edge_index < 5).all(0)
        assert_equal(model(x[:5], edge_index[:, inside]), together[:1])
        assert not torch.equal(together, out)
        handle.remove()
        assert torch.equal(model(x, edge_index, batch), out)
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_the_batch_of_a_network_on_data_is_told() -> None:
    class OnData(GraphNet):
        def forward(self, data: Data) -> Tensor:
            return super().forward(data.x, data.edge_index, data.batch)

    graphs = [Data(x=torch.randn(n, 7), edge_index=torch.tensor([[0], [1]])) for n in (5, 3)]
    model = OnData().eval()
    insert(model, "mlp", CHANGE, layout="nodes")
    together = model(Batch.from_data_list(graphs))
    assert_equal(together, torch.cat([model(graph) for graph in graphs]))


@pytest.mark.parametrize(
    ("make", "at"),
    [
        (lambda: GCN(7, 11, 2), "convs.0"),
        (
            lambda: Sequential("x, edge_index, batch", [(GCNConv(7, 11), "x, edge_index -> x")]),
            "*0",
        ),
    ],
    ids=["GCN", "Sequential"],
)
def test_networks_of_pyg(make, at) -> None:
    model, (x, batch) = make().eval(), points(7, 3)
    edge_index = torch.empty(2, 0, dtype=torch.int64)
    without = model(x, edge_index, batch=batch)
    insert(model, at, CHANGE)
    out = model(x, edge_index, batch=batch)
    assert not torch.equal(out, without)
    assert_equal(out, alone(lambda x, batch: model(x, edge_index, batch=batch), x, batch))


def test_the_innermost_network_with_blocks_tells() -> None:
    class Outer(PointNet):
        def __init__(self) -> None:
            super().__init__()
            self.inner = PointNet()

        def forward(self, x: Tensor, batch: Tensor | None) -> Tensor:
            return torch.cat([self.inner(x, None), self.linear(x).relu()], 1)

    model, (x, batch) = Outer().eval(), points()
    insert(model, "linear", CHANGE)
    insert(model.inner, "linear", CHANGE)
    one_graph, two_graphs = model(x, batch).split(11, 1)
    assert_equal(one_graph, model.inner(x, None))
    expected = alone(lambda x, batch: model(x, batch)[:, 11:], x, batch)
    assert_equal(two_graphs, expected)


def test_copies_tell_their_own_blocks() -> None:
    model, (x, batch) = PointNet().eval(), points()
    insert(model, "linear", CHANGE)
    out = model(x, batch)
    assert_equal(out, alone(model, x, batch))
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):  # noqa: S301
        assert torch.equal(twin(x, batch=batch), out)


def test_threads_tell_their_own_calls() -> None:
    model, wrong = PointNet().eval(), []
    insert(model, "linear", CHANGE)

    def work(num_graphs: int) -> None:
        x, batch = points(5, num_graphs)
        out = model(x, batch)
        wrong.extend(i for i in range(53) if not torch.equal(model(x, batch), out))

    threads = [Thread(target=work, args=(num_graphs,)) for num_graphs in (1, 2, 3, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("before", ["no call", "a call", "a failed call"])
def test_a_part_of_the_network_is_refused_alone(before) -> None:
    model, (x, batch) = PointNet().eval(), points()
    handle = insert(model, "linear", CHANGE)
    if before == "a call":
        model(x, batch)
    if before == "a failed call":
        with pytest.raises(ValueError, match="batch"):
            model(x, batch[:3])
    with pytest.raises(RuntimeError, match="block at 'linear' to run in a call of the network"):
        model.linear(x)
    handle.remove()
    assert model.linear(x).shape == (5, 11)


def test_a_checkpoint_that_runs_a_part_again_is_refused() -> None:
    class Checkpointed(PointNet):
        def forward(self, x: Tensor, batch: Tensor | None) -> Tensor:
            return checkpoint(self.linear, x, use_reentrant=False)

    model, (x, batch) = Checkpointed(), points()
    insert(model, "linear", CHANGE)
    with pytest.raises(RuntimeError, match="got a call of a part of the network"):
        model(x, batch).sum().backward()


@pytest.mark.parametrize(
    "way",
    [
        "the network",
        pytest.param("a function that calls it", marks=pytest.mark.slow),
        pytest.param("in place", marks=pytest.mark.slow),
    ],
)
def test_compiled_in_two_graphs_for_all_sizes(way) -> None:
    torch.compiler.reset()
    model, count = PointNet().eval(), 0

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> object:
        nonlocal count
        count += 1
        return graph.forward

    insert(model, "linear", CHANGE)
    compiled = copy.deepcopy(model)
    if way == "in place":
        compiled.compile(backend=backend, fullgraph=True)
    else:
        called = compiled if way == "the network" else lambda *args: model(*args)
        compiled = torch.compile(called, backend=backend, fullgraph=True)
    for num_nodes in (5, 7, 11, 13):
        x, batch = points(num_nodes)
        assert_equal(compiled(x, batch, 2), alone(model, x, batch))
    assert count == 2


def test_exported_with_any_number_of_nodes() -> None:
    model = PointNet().eval()
    insert(model, "linear", CHANGE)
    nodes = {0: torch.export.Dim("nodes", min=2)}
    program = torch.export.export(model, (*points(), 2), dynamic_shapes=(nodes, nodes, None))
    x, batch = points(11)
    assert_equal(program.module()(x, batch, 2), alone(model, x, batch))
