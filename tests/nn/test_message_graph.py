import pytest
import references
import torch
from properties import assert_all_equal, assert_equal
from reference_non_local import non_local
from samples import BATCHES, BLOCKS, CHANNELS, block, nodes, randomized
from torch import Tensor
from torch_geometric.data import HeteroData

from latentgraph.functional import Ragged
from latentgraph.nn import (
    LatentGNN,
    LatentToLatentConv,
    LatentToVisibleConv,
    NonLocal,
    VisibleToLatentConv,
)

PAIRWISE = ("embedded_gaussian", "gaussian", "dot_product", "concatenation")
LATENT_GNN = [name for name in BLOCKS if name.startswith("latent_gnn")]
ONE_NODE = [name for name in BLOCKS if not name.startswith("latent_gnn")]

every_batch = pytest.mark.parametrize("sizes", BATCHES)


def received(graph: HeteroData, m: int = 0, senders: str = "visible") -> Tensor:
    r"""What the three layers give on the edges of kernel m."""
    latents, num_nodes = f"latent_{m}", graph["visible"].num_nodes
    steps = [(senders, latents), (latents, latents), (latents, "visible")]
    sent, mixed, back = (
        [graph[a, "to", b][k] for k in ("edge_index", "edge_weight")] for a, b in steps
    )
    z = VisibleToLatentConv()(graph[senders].x, *sent, num_latents=graph[latents].num_nodes)
    return LatentToVisibleConv()(LatentToLatentConv()(z, *mixed), *back, num_nodes=num_nodes)


def within_graphs(graph: HeteroData) -> bool:
    r"""Whether every edge stays in its graph."""
    return all(
        torch.equal(graph[a].batch[index[0]], graph[b].batch[index[1]])
        for (a, _, b), index in graph.edge_index_dict.items()
    )


@every_batch
@pytest.mark.parametrize("mixing", ["cosine", "residual", "none"])
@pytest.mark.parametrize("name", LATENT_GNN)
def test_the_three_layers_give_what_each_kernel_sends_back(name, mixing, sizes) -> None:
    made, (x, batch, batch_size) = block(name), nodes(BATCHES[sizes])
    made.mixing = mixing
    graph = made.message_graph(x, batch, batch_size)
    assert graph.validate(raise_on_error=True)
    assert graph.node_types == ["visible", *(f"latent_{m}" for m in range(len(made.kernels)))]
    assert torch.equal(graph["visible"].batch, batch)
    assert within_graphs(graph)
    if len(x) == 0:
        assert received(graph).shape == (0, CHANNELS // made.reduction)
        return
    for m, (_, S, Z) in enumerate(references.latent_gnn(made, x, batch, batch_size).kernels):
        assert graph[f"latent_{m}"].num_nodes == batch_size * made.latent_dims[m]
        assert_equal(received(graph, m), (S.unsqueeze(1) @ Z[batch]).squeeze(1))


@every_batch
@pytest.mark.parametrize("name", ONE_NODE)
def test_the_three_layers_give_the_pooled_features(name, sizes) -> None:
    made, (x, batch, batch_size) = block(name), nodes(BATCHES[sizes])
    graph = made.message_graph(x, batch, batch_size)
    assert graph.validate(raise_on_error=True)
    assert graph.node_types == ["visible", "latent_0"]
    assert graph["latent_0"].num_nodes == batch_size
    assert within_graphs(graph)
    expected = torch.zeros_like(x)
    for b in batch.unique():
        rows = batch == b
        weight = torch.ones(int(rows.sum()), 1, dtype=x.dtype) / rows.sum()
        if made.score is not None:
            weight = (x[rows] @ made.score.weight.T + made.score.bias).softmax(0)
        expected[rows] = (weight * x[rows]).sum(0)
    assert_equal(received(graph), expected)


@every_batch
@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_the_three_layers_give_what_a_non_local_node_receives(pairwise, sizes) -> None:
    made = randomized(NonLocal(CHANNELS, pairwise=pairwise))
    x, batch, batch_size = nodes(BATCHES[sizes])
    graph = made.message_graph(x, batch, batch_size)
    assert graph.validate(raise_on_error=True)
    assert graph.node_types == ["visible", "latent_0"]
    assert within_graphs(graph)
    assert_equal(received(graph), non_local(made, x, batch, batch_size).received)


@pytest.mark.parametrize("pairwise", PAIRWISE)
@pytest.mark.parametrize("pool_at", ["input", "projected"])
def test_sub_sampled_senders_are_nodes_of_their_own(pool_at, pairwise) -> None:
    def pool(x: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
        return x[::2], batch[::2]

    made = randomized(NonLocal(CHANNELS, pairwise=pairwise, pool=pool, pool_at=pool_at))
    x, batch, batch_size = nodes()
    graph = made.message_graph(x, batch, batch_size)
    assert graph.validate(raise_on_error=True)
    assert graph["pooled"].num_nodes == (len(x) + 1) // 2
    assert torch.equal(graph["visible"].x, x)
    expected = non_local(made, x, batch, batch_size, *pool(x, batch)).received
    assert_equal(received(graph, senders="pooled"), expected)


@pytest.mark.parametrize("name", [*BLOCKS, "non_local"])
def test_one_graph_and_stacked_graphs(name) -> None:
    made = block(name) if name in BLOCKS else randomized(NonLocal(CHANNELS))
    x = torch.randn(3, 7, CHANNELS, dtype=torch.float64)
    batch = torch.arange(3).repeat_interleave(7)
    expected = received(made.message_graph(x.flatten(0, 1), Ragged(batch)))
    assert_equal(received(made.message_graph(x)), expected)
    assert_equal(received(made.message_graph(x[1])), expected[7:14])


def test_gradients_go_through_the_edge_weights() -> None:
    made, (x, batch, batch_size) = block("latent_gnn"), nodes()
    leaves = (x.requires_grad_(), made.latent.linear.weight, made.kernels[0].psi_v2l.linear.weight)
    (kernel,) = references.latent_gnn(made, x, batch, batch_size).kernels
    expected = (kernel.S.unsqueeze(1) @ kernel.Z[batch]).squeeze(1)
    grad = torch.randn_like(expected)
    graphs = (received(made.message_graph(x, batch, batch_size)), expected)
    assert_all_equal(*(torch.autograd.grad(v, leaves, grad) for v in graphs))


def test_an_edge_is_there_where_its_weight_is_not_zero() -> None:
    made, (x, batch, batch_size) = block("latent_gnn"), nodes()
    graph = made.message_graph(x, batch, batch_size)
    _, (affinity,) = made(x, batch, batch_size, return_affinity=True)
    for (source, target), dense in (
        (("visible", "latent_0"), affinity.visible_to_latent),
        (("latent_0", "visible"), affinity.latent_to_visible),
    ):
        edges = graph[source, "to", target]
        assert edges.num_edges == dense.count_nonzero() < dense.numel()
        ends = dict(zip((source, target), edges.edge_index, strict=True))
        node, latent = ends["visible"], ends["latent_0"]
        assert torch.equal(batch[node], latent // 5)
        assert_equal(edges.edge_weight, dense[node, latent % 5])


def test_features_that_only_the_affinities_see() -> None:
    made = randomized(LatentGNN(CHANNELS, (5,), reduction=2, affinity_channels=2))
    x, batch, batch_size = nodes()
    affinity_x = torch.randn(len(x), 2, dtype=torch.float64)
    graph = made.message_graph(x, batch, batch_size, affinity_x)
    (kernel,) = references.latent_gnn(made, x, batch, batch_size, affinity_x).kernels
    assert_equal(received(graph), (kernel.S.unsqueeze(1) @ kernel.Z[batch]).squeeze(1))
    with pytest.raises(ValueError, match="expected affinity_x"):
        made.message_graph(x, batch, batch_size)


@pytest.mark.parametrize("name", BLOCKS)
def test_bad_input_is_refused(name) -> None:
    made, (x, batch, batch_size) = block(name), nodes()
    for layer in (made, randomized(NonLocal(CHANNELS))):
        with pytest.raises(ValueError, match=rf"\(N, {CHANNELS}\)"):
            layer.message_graph(x[:, 1:], batch, batch_size)
        with pytest.raises(ValueError, match="one entry for each"):
            layer.message_graph(x, batch[1:], batch_size)
        with pytest.raises(TypeError, match=r"expected x of torch\.float64"):
            layer.message_graph(x.float(), batch, batch_size)
