import pytest
import torch
from samples import BLOCKS, SIZES, nodes, randomized
from torch import Tensor, nn
from torch.nn.functional import normalize

from latentgraph.inspection import affinities, dense_affinities, latent_of_nodes, record
from latentgraph.nn import LatentGNN, NonLocal, OnGrid
from latentgraph.nn.one_node import OneNodeBlock

PAIRWISE = ("embedded_gaussian", "gaussian", "dot_product", "concatenation")
DENSE = {name: lambda c, name=name: NonLocal(c, pairwise=name) for name in PAIRWISE}
CHANNELS = 23


def every_other(x: Tensor, batch: Tensor | None) -> tuple[Tensor, Tensor | None]:
    return x[::2], None if batch is None else batch[::2]


def output_by(block: nn.Module, x: Tensor, sent: Tensor, dense: list[Tensor]) -> Tensor:
    r"""What the block's formula makes of the N x N affinities, which are all that differs."""
    if isinstance(block, NonLocal):
        return x + block.out(dense[0] @ block.g(sent))
    if isinstance(block, OneNodeBlock):
        pooled = dense[0] @ x
        gated = x if block.mul is None else x * block.mul(pooled).sigmoid()
        return gated if block.add is None else gated + block.add(pooled)
    assert isinstance(block, LatentGNN)
    q = normalize(block.visible(x))
    received = [a @ q for a in dense]
    for m, kernel in enumerate(block.kernels):
        if kernel.conv is not None:
            received[m] = kernel.conv(received[m]).relu()
    return x + block.gamma * block.up(torch.cat(received, 1))


@pytest.mark.parametrize("name", [*BLOCKS, *DENSE])
def test_dense_affinities_give_the_output_of_the_block(name) -> None:
    block = randomized({**BLOCKS, **DENSE}[name](CHANNELS))
    x, batch, batch_size = nodes()
    [call] = record(block, x, batch, batch_size)
    for graph, size in enumerate(SIZES):
        if size == 0:
            continue
        own = batch == graph
        dense = dense_affinities(call, graph)
        assert all(a.shape == (size, size) for a in dense)
        expected = output_by(block, x[own], x[own], dense)
        torch.testing.assert_close(call.output[own], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_dense_affinities_of_fewer_senders(pairwise) -> None:
    x, batch, batch_size = nodes((7, 5))
    block = randomized(NonLocal(CHANNELS, pairwise=pairwise, pool=every_other))
    [call] = record(block, x, batch, batch_size)
    for graph in range(2):
        own, sent = batch == graph, x[::2][batch[::2] == graph]
        [dense] = dense_affinities(call, graph)
        assert dense.shape == (int(own.sum()), len(sent))
        expected = output_by(block, x[own], sent, [dense])
        torch.testing.assert_close(call.output[own], expected, rtol=1e-10, atol=1e-10)


def test_dense_affinities_of_pooled_maps() -> None:
    block = randomized(NonLocal(3, reduction=1))
    maps = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    [call] = record(OnGrid(block, pool=2), maps)
    [dense] = dense_affinities(call, 1)
    sent = nn.functional.max_pool2d(maps[1:], 2)[0].flatten(1).T
    expected = output_by(block, maps[1].flatten(1).T, sent, [dense])
    torch.testing.assert_close(call.output[1], expected, rtol=1e-10, atol=1e-10)


def test_affinities_of_all_graphs_are_those_of_the_three_layers() -> None:
    x, batch, batch_size = nodes()
    block = randomized(LatentGNN(CHANNELS, latent_dims=(5, 3), reduction=2))
    [call] = record(block, x, batch, batch_size)
    _, own = block(x, batch, batch_size, return_affinity=True)
    for d, (p, f, s), affinity in zip((5, 3), affinities(call), own, strict=True):
        assert p.shape == s.shape == (len(x), batch_size * d)
        columns = batch.unsqueeze(1) * d + torch.arange(d)
        torch.testing.assert_close(p.to_dense().gather(1, columns), affinity.visible_to_latent)
        torch.testing.assert_close(s.to_dense().gather(1, columns), affinity.latent_to_visible)
        assert p.to_dense().count_nonzero() == affinity.visible_to_latent.count_nonzero()
        q = normalize(block.visible(x))
        latent = f.to_dense() @ p.to_dense().T @ q
        torch.testing.assert_close(latent.view_as(affinity.latent), affinity.latent)


def test_one_node_and_one_graph() -> None:
    block = randomized(NonLocal(3, reduction=1))
    [call] = record(block, torch.randn(1, 3, dtype=torch.float64))
    [dense] = dense_affinities(call)
    assert torch.equal(dense, torch.ones(1, 1, dtype=torch.float64))


@pytest.mark.parametrize(("pairwise", "scores"), [("gaussian", False), ("dot_product", True)])
def test_too_many_pairs_are_refused(pairwise, scores) -> None:
    [call] = record(NonLocal(3, 1, pairwise=pairwise), torch.randn(2, 13, 3))
    with pytest.raises(ValueError, match=r"at most 337 pairs .* got 338; .* max_pairs="):
        dense_affinities(call, max_pairs=337)
    with pytest.raises(ValueError, match="at most 337 pairs"):
        affinities(call, max_pairs=337)
    assert dense_affinities(call, 1, max_pairs=338)[0].shape == (13, 13)


def test_a_large_graph_has_latent_affinities_but_no_dense_ones() -> None:
    [call] = record(LatentGNN(3, (2,), reduction=1, norm=None), torch.randn(5_003, 3))
    assert affinities(call)[0].visible_to_latent.shape == (5_003, 2)
    with pytest.raises(ValueError, match=r"at most 16,777,216 pairs .* got 25,030,009"):
        dense_affinities(call)
    ragged = record(NonLocal(3, 1), torch.randn(7, 3), torch.tensor([0, 0, 1, 1, 1, 1, 1]))
    with pytest.raises(ValueError, match=r"at most 28 pairs .* got 29"):
        dense_affinities(ragged[0], max_pairs=28)


def test_a_graph_without_nodes_is_an_error() -> None:
    x, batch, batch_size = nodes()
    [call] = record(NonLocal(CHANNELS).double(), x, batch, batch_size)
    with pytest.raises(ValueError, match="a graph that has nodes, got graph=1"):
        dense_affinities(call, 1)


def test_nodes_belong_to_the_latent_node_they_hear_most_from() -> None:
    x, batch, batch_size = nodes()
    block = randomized(LatentGNN(CHANNELS, latent_dims=(5, 3), reduction=2))
    [call] = record(block, x, batch, batch_size)
    _, own = block(x, batch, batch_size, return_affinity=True)
    for kernel, affinity in enumerate(own):
        read = affinity.latent_to_visible
        expected = torch.where(read.amax(1) > 0, read.argmax(1), -1)
        assert torch.equal(latent_of_nodes(call, kernel), expected)
    with pytest.raises(ValueError, match=r"expected a kernel of LatentGNN.*, got 2"):
        latent_of_nodes(call, 2)


def test_a_node_may_hear_from_no_latent_node() -> None:
    block = LatentGNN(3, (2,), reduction=1, norm=None)
    nn.init.eye_(block.latent.linear.weight)
    block.kernels[0].psi_l2v.linear.weight.data = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    x = torch.tensor([[1.0, 2, 0], [2, 1, 0], [-1, -1, 3]])
    [call] = record(block, x)
    assert latent_of_nodes(call).tolist() == [1, 0, -1]


def test_nodes_of_the_dense_block_are_their_own_latent_nodes() -> None:
    [call] = record(NonLocal(3, 1), torch.randn(5, 3), torch.tensor([1, 0, 1, 1, 0]))
    assert latent_of_nodes(call).tolist() == [0, 0, 1, 2, 1]
