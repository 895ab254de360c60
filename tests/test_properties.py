r"""Each property holds for a right layer and catches a wrong one."""

import pytest
import torch
from hypothesis import Phase, find, settings
from properties import (
    assert_all_equal,
    assert_chunk_size_free,
    assert_equal,
    assert_finite,
    assert_formula,
    assert_graphs_independent,
    assert_nan_stays,
    assert_order_of_graphs_free,
    assert_permutation_equivariant,
    assert_precise,
    assert_same_bits,
    assert_sharding_free,
    run,
)
from samples import LARGER, SIZES, Nodes, nodes
from strategies import graphs
from torch import Tensor, nn

from latentgraph.distributed import sum_over_shards


class GraphMean(nn.Module):
    r"""Right: the mean over the nodes of a graph, mapped, to each of its nodes, in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(5, 5, bias=False, dtype=torch.float64)
        self.chunk_size: int | None = None

    def forward(
        self, x: Tensor, batch: Tensor | None = None, batch_size: int | None = None
    ) -> Tensor:
        batch = torch.zeros(len(x), dtype=torch.int64) if batch is None else batch
        rows = self.rows(x.double(), batch, int(batch_size or 1))
        return (rows @ self.weight().double()).to(x.dtype)

    def weight(self) -> Tensor:
        return self.linear.weight

    def rows(self, x: Tensor, batch: Tensor, batch_size: int) -> Tensor:
        sums, counts = self.sums(x, batch, batch_size)
        return (sums / counts.clamp_min(1).unsqueeze(1))[batch]

    def sums(self, x: Tensor, batch: Tensor, batch_size: int) -> tuple[Tensor, ...]:
        return sum_over_shards(*self.own_sums(x, batch, batch_size))

    def own_sums(self, x: Tensor, batch: Tensor, batch_size: int) -> tuple[Tensor, ...]:
        counts = batch.bincount(minlength=batch_size).to(x.dtype)
        return x.new_zeros(batch_size, 5).index_add(0, batch, x), counts


class FirstNode(GraphMean):
    r"""Wrong: the first node stands for its graph."""

    def rows(self, x: Tensor, batch: Tensor, batch_size: int) -> Tensor:
        return x[(batch.unsqueeze(1) == batch).int().argmax(1)]


class SortedOnly(GraphMean):
    r"""Wrong: takes the nodes of a graph to lie side by side."""

    def rows(self, x: Tensor, batch: Tensor, batch_size: int) -> Tensor:
        return super().rows(x, batch.sort().values, batch_size)


class CountsPadding(GraphMean):
    r"""Wrong: divides by the size of the largest graph, as padded attention does."""

    def rows(self, x: Tensor, batch: Tensor, batch_size: int) -> Tensor:
        counts = batch.bincount(minlength=batch_size)
        return super().rows(x, batch, batch_size) * (counts / counts.max())[batch].unsqueeze(1)


class LeaksGradient(GraphMean):
    r"""Wrong: right rows, but their gradient is that of the whole batch."""

    def rows(self, x: Tensor, batch: Tensor, batch_size: int) -> Tensor:
        everything = x.sum() if len(x) else x.new_zeros(())
        return super().rows(x, batch, batch_size) + (everything - everything.detach())


class KnowsItsNumber(GraphMean):
    r"""Wrong: adds the number of the graph."""

    def rows(self, x: Tensor, batch: Tensor, batch_size: int) -> Tensor:
        return super().rows(x, batch, batch_size) + batch.unsqueeze(1)


class ForgetsChunks(GraphMean):
    r"""Wrong: every chunk has a mean of its own."""

    def rows(self, x: Tensor, batch: Tensor, batch_size: int) -> Tensor:
        size = self.chunk_size or len(x)
        chunks = zip(x.split(size), batch.split(size), strict=True)
        return torch.cat([GraphMean.rows(self, a, b, batch_size) for a, b in chunks])


class ForgetsChunksBackward(ForgetsChunks):
    r"""Wrong: the rows are right, the gradient is that of the single chunks."""

    def rows(self, x: Tensor, batch: Tensor, batch_size: int) -> Tensor:
        value = GraphMean.rows(self, x, batch, batch_size).detach()
        wrong = super().rows(x, batch, batch_size)
        return value + wrong - wrong.detach()


class ForgetsShards(GraphMean):
    r"""Wrong: every rank has a mean of its own."""

    def sums(self, x: Tensor, batch: Tensor, batch_size: int) -> tuple[Tensor, ...]:
        return self.own_sums(x, batch, batch_size)


class ForgetsShardsBackward(GraphMean):
    r"""Wrong: the rows are right, the gradient is that of the rank's own sums."""

    def sums(self, x: Tensor, batch: Tensor, batch_size: int) -> tuple[Tensor, ...]:
        own = self.own_sums(x, batch, batch_size)
        everyone = sum_over_shards(*(t.detach() for t in own))
        return tuple(a + b - b.detach() for a, b in zip(everyone, own, strict=True))


class AddsInHalf(GraphMean):
    r"""Wrong: adds up in the dtype of x."""

    def forward(
        self, x: Tensor, batch: Tensor | None = None, batch_size: int | None = None
    ) -> Tensor:
        return sum(x, start=torch.zeros_like(x[0])).expand_as(x)


class ReturnsFloat(GraphMean):
    r"""Wrong: another dtype than that of x."""

    def forward(
        self, x: Tensor, batch: Tensor | None = None, batch_size: int | None = None
    ) -> Tensor:
        return super().forward(x, batch, batch_size).float()


class DividesByTheLength(GraphMean):
    r"""Wrong: a row of zeros becomes NaN."""

    def rows(self, x: Tensor, batch: Tensor, batch_size: int) -> Tensor:
        return super().rows(x / x.norm(dim=1, keepdim=True), batch, batch_size)


class ClampsTheLength(GraphMean):
    r"""Wrong: a row of zeros stays, its gradient is NaN."""

    def rows(self, x: Tensor, batch: Tensor, batch_size: int) -> Tensor:
        length = x.square().sum(1, keepdim=True).sqrt().clamp_min(1e-12)
        return super().rows(x / length, batch, batch_size)


class DropsNodes(GraphMean):
    r"""Wrong: every call takes other nodes."""

    def rows(self, x: Tensor, batch: Tensor, batch_size: int) -> Tensor:
        return super().rows(x * torch.rand_like(x[:, :1]), batch, batch_size)


class SpreadsNaN(GraphMean):
    r"""Wrong: NaN of one graph is NaN in all."""

    def rows(self, x: Tensor, batch: Tensor, batch_size: int) -> Tensor:
        return super().rows(x, batch, batch_size) + 0 * x.sum()


class SpreadsNaNBackward(GraphMean):
    r"""Wrong: right rows, but NaN of one graph is in the gradients of all."""

    def rows(self, x: Tensor, batch: Tensor, batch_size: int) -> Tensor:
        zero = 0 * x.sum(1, keepdim=True) * x.detach().sum()
        return super().rows(x, batch, batch_size) + zero.nan_to_num()


class HidesNaN(GraphMean):
    r"""Wrong: NaN counts as zero."""

    def rows(self, x: Tensor, batch: Tensor, batch_size: int) -> Tensor:
        return super().rows(x.nan_to_num(), batch, batch_size)


class NoGradientInHalf(GraphMean):
    r"""Wrong: right rows, but in float16 they know nothing of what they come from."""

    def forward(
        self, x: Tensor, batch: Tensor | None = None, batch_size: int | None = None
    ) -> Tensor:
        out = super().forward(x, batch, batch_size)
        return out.detach() + 0 * x if x.dtype == torch.float16 else out


class ForgetsHuge(GraphMean):
    r"""Wrong: huge numbers count as zero."""

    def rows(self, x: Tensor, batch: Tensor, batch_size: int) -> Tensor:
        return super().rows(x.where(x.abs() < 1e5, 0), batch, batch_size)


class LargeGraphs(GraphMean):
    r"""Wrong: for graphs of more than 512 nodes."""

    def rows(self, x: Tensor, batch: Tensor, batch_size: int) -> Tensor:
        large = batch.bincount(minlength=batch_size) > 512
        return super().rows(x, batch, batch_size) * (1 + large.double()[batch].unsqueeze(1))


class ManyGraphs(GraphMean):
    r"""Wrong: for more than 60 graphs."""

    def rows(self, x: Tensor, batch: Tensor, batch_size: int) -> Tensor:
        return super().rows(x, batch, batch_size) * (2 if batch_size > 60 else 1)


class NoGradientOfX(GraphMean):
    r"""Wrong: right rows, without a gradient of x."""

    def rows(self, x: Tensor, batch: Tensor, batch_size: int) -> Tensor:
        return super().rows(x.detach(), batch, batch_size)


class NoGradientOfAParameter(GraphMean):
    r"""Wrong: right rows, without a gradient of the weight."""

    def weight(self) -> Tensor:
        return self.linear.weight.detach()


def graph_mean(layer: nn.Module, x: Tensor, batch: Tensor, batch_size: int) -> Tensor:
    together = (batch.unsqueeze(1) == batch).double()
    return together / together.sum(1, keepdim=True) @ x @ layer.linear.weight


def assert_graph_mean(layer: nn.Module, x: Tensor, batch: Tensor, batch_size: int) -> None:
    assert_formula(layer, graph_mean, x, batch, batch_size)


def assert_graph_mean_of_huge(layer: nn.Module, x: Tensor, batch: Tensor, batch_size: int) -> None:
    assert_formula(layer, graph_mean, 1e6 * x, batch, batch_size)


def assert_finite_with_zeros(layer: nn.Module, x: Tensor, batch: Tensor, batch_size: int) -> None:
    assert_finite(layer, torch.cat([0 * x[:1], x[1:]]), batch, batch_size)


def assert_precise_in_half(layer: nn.Module, x: Tensor, batch: Tensor, batch_size: int) -> None:
    assert_precise(layer, (x + 1).repeat(97, 1), batch.repeat(97), batch_size, torch.float16)


PROPERTIES_AND_WRONG_LAYERS = [
    (assert_permutation_equivariant, FirstNode),
    (assert_permutation_equivariant, SortedOnly),
    (assert_graphs_independent, CountsPadding),
    (assert_graphs_independent, LeaksGradient),
    (assert_graphs_independent, SortedOnly),
    (assert_order_of_graphs_free, KnowsItsNumber),
    (assert_nan_stays, SpreadsNaN),
    (assert_nan_stays, SpreadsNaNBackward),
    (assert_nan_stays, HidesNaN),
    (assert_graph_mean, NoGradientOfX),
    (assert_graph_mean, NoGradientOfAParameter),
    (assert_graph_mean, LargeGraphs),
    (assert_graph_mean, ManyGraphs),
    (assert_graph_mean_of_huge, ForgetsHuge),
    (assert_chunk_size_free, ForgetsChunks),
    (assert_chunk_size_free, ForgetsChunksBackward),
    (assert_sharding_free, ForgetsShards),
    (assert_sharding_free, ForgetsShardsBackward),
    (assert_precise_in_half, AddsInHalf),
    (assert_precise_in_half, ReturnsFloat),
    (assert_precise_in_half, NoGradientInHalf),
    (assert_finite, ReturnsFloat),
    (assert_finite_with_zeros, DividesByTheLength),
    (assert_finite_with_zeros, ClampsTheLength),
    (assert_same_bits, DropsNodes),
]


@pytest.mark.parametrize(("assert_property", "wrong"), PROPERTIES_AND_WRONG_LAYERS)
def test_property_holds_for_the_right_layer_only(assert_property, wrong) -> None:
    samples = [nodes(sizes, channels=5) for sizes in (SIZES, *LARGER)]

    def assert_for_all(layer: nn.Module) -> None:
        for sample in samples:
            assert_property(layer, *sample)

    assert_for_all(GraphMean())
    with pytest.raises(AssertionError):
        assert_for_all(wrong())


@pytest.mark.parametrize(("assert_property", "wrong"), PROPERTIES_AND_WRONG_LAYERS)
def test_drawn_nodes_find_the_wrong_layer(assert_property, wrong) -> None:
    def is_found(sample: Nodes) -> bool:
        if len(sample.x) == 0:
            return False
        try:
            assert_property(wrong(), *sample)
        except AssertionError:
            assert_property(GraphMean(), *sample)
            return True
        return False

    searched = settings(phases=[Phase.generate], max_examples=1_000)  # it ends at the first
    find(graphs(channels=5), is_found, settings=searched)


def test_equal_is_relative_to_the_largest_value_and_sees_the_shape() -> None:
    expected = torch.tensor([1000.0, 0.0])
    assert_equal(expected + 0.009, expected)
    for wrong in (expected + 0.011, expected.view(2, 1), expected * torch.nan):
        with pytest.raises(AssertionError):
            assert_equal(wrong, expected)
    with pytest.raises(AssertionError, match="tensor 1 of 2"):
        assert_all_equal([expected, expected + 1], [expected, expected])


def test_run_gives_the_gradients_of_x_and_of_the_parameters() -> None:
    layer, x = nn.Linear(3, 2, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    grad_out = torch.randn(5, 2, dtype=torch.float64)
    out, grad_x, grads = run(lambda x, *_: layer(x), x, None, None, grad_out)
    assert_all_equal([out, grad_x], [layer(x), grad_out @ layer.weight])
    assert grads == []
