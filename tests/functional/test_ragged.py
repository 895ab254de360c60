import pytest
import torch

from latentgraph.functional import Ragged
from latentgraph.functional.ragged import LARGE, LARGE_ON_CPU


def test_ragged_describes_its_nodes() -> None:
    ragged = Ragged(torch.tensor([3, 0, 3, 1]), batch_size=5)
    assert repr(ragged) == "Ragged(num_nodes=4, batch_size=5)"
    assert ragged.sizes.tolist() == [1, 1, 0, 2, 0]
    assert not ragged.is_sorted
    assert ragged.order is not None
    assert ragged.order.tolist() == [1, 3, 0, 2]


def test_sorted_nodes_need_no_order() -> None:
    ragged = Ragged(torch.tensor([0, 0, 2]))
    assert ragged.is_sorted
    assert ragged.order is None
    assert ragged.batch_size == 3


def test_graphs_of_one_size_that_follow_one_another_are_multiplied_where_they_lie() -> None:
    sizes = torch.tensor([521, *(7,) * 79, 3, 523, 0, 3])
    ptr, order, runs, graphs, index = Ragged(torch.arange(84).repeat_interleave(sizes)).plan
    assert ptr.diff().tolist() == sizes.tolist()
    assert order.numel() == 0
    assert sorted(runs.tolist()) == [[0, 0], [1, 79], [81, 81]]
    assert graphs.tolist() == [80, 83]
    assert index.tolist() == [[1074, 1075, 1076], [1600, 1601, 1602]]


@pytest.mark.parametrize(("large", "most_nodes"), [(LARGE_ON_CPU, 173), (LARGE, 701)])
def test_each_graph_is_multiplied_once_with_others_alike(monkeypatch, large, most_nodes) -> None:
    monkeypatch.setattr("latentgraph.functional.ragged.LARGE_ON_CPU", large)  # as on other devices
    sizes = torch.randint(0, most_nodes, (331,))
    sizes[17:29] = 11
    batch = torch.arange(331).repeat_interleave(sizes)
    _, _, runs, *buckets = Ragged(batch[torch.randperm(len(batch))], 331).plan
    seen = [graph for first, last in runs.tolist() for graph in range(first, last + 1)]
    for graphs, index in zip(buckets[::2], buckets[1::2], strict=True):
        smallest, largest = sizes[graphs].aminmax()
        assert smallest > 0
        assert largest <= min(1.5 * smallest, large)
        assert index.shape == (len(graphs), largest)
        seen += graphs.tolist()
    assert len(buckets) >= 2 * 8
    assert sorted(seen) == sizes.nonzero().squeeze(1).tolist()


def test_no_piece_is_long_or_of_two_graphs() -> None:
    sizes = torch.tensor([3, 0, 263, 128])
    order, bounds, ptr = Ragged(torch.arange(4).repeat_interleave(sizes)).pieces
    assert order.tolist() == list(range(394))
    assert bounds.tolist() == [0, 3, 3, 128, 256, 266, 384, 394]
    assert bounds[ptr].tolist() == [0, 3, 3, 266, 394]


@pytest.mark.parametrize("batch_size", [None, 0, 3])
def test_no_nodes(batch_size) -> None:
    ragged = Ragged(torch.empty(0, dtype=torch.int64), batch_size)
    assert ragged.batch_size == (batch_size or 0)
    assert ragged.sizes.tolist() == [0] * (batch_size or 0)
    assert ragged.plan[2].shape == (0, 2)
    assert len(ragged.plan) == 3
    assert ragged.pieces[1].tolist() == [0] * ((batch_size or 0) + 1)


def test_of_hands_a_ragged_through_and_makes_one_of_a_tensor() -> None:
    ragged = Ragged(torch.tensor([0, 1]))
    assert Ragged.of(ragged, 2, num_nodes=2) is ragged
    made = Ragged.of(torch.tensor([0, 1]), num_nodes=2)
    assert made is not None
    assert made.batch_size == 2
    assert Ragged.of(None) is Ragged.of(None, 1) is None


@pytest.mark.parametrize(
    ("batch", "batch_size", "error", "message"),
    [
        (torch.tensor([0.0, 1.0]), None, TypeError, "int64 tensor, got torch.float32"),
        (torch.tensor([0, 1], dtype=torch.int32), None, TypeError, "got torch.int32"),
        ([0, 1], None, TypeError, "int64 tensor, got list"),
        (torch.zeros(2, 1, dtype=torch.int64), None, ValueError, r"shape \(N,\), got \(2, 1\)"),
        (torch.tensor([0, -1]), None, ValueError, "got -1 to 0"),
        (torch.tensor([0, -1]), 2, ValueError, "from 0 to 1, got -1 to 0"),
        (torch.tensor([0, 4, 1]), 3, ValueError, "from 0 to 2, got 0 to 4"),
        (torch.tensor([0]), 0, ValueError, "got 0 to 0"),
        (torch.tensor([0]), -1, ValueError, "batch_size of 0 or more, got -1"),
        (torch.tensor([0]), 2.0, TypeError, "batch_size as an int or None, got float"),
        (torch.tensor([0]), True, TypeError, "batch_size as an int or None, got bool"),
    ],
)
def test_bad_batch_is_refused(batch, batch_size, error, message) -> None:
    with pytest.raises(error, match=message):
        Ragged(batch, batch_size)


@pytest.mark.parametrize(
    ("batch", "batch_size", "message"),
    [
        (torch.tensor([0, 0, 1]), None, "each of the 2 nodes, got 3"),
        (Ragged(torch.tensor([0, 0, 1])), None, "each of the 2 nodes, got 3"),
        (Ragged(torch.tensor([0, 1])), 3, "batch_size=2 as in the Ragged, got 3"),
        (None, 2, "batch with batch_size=2, got batch=None"),
    ],
)
def test_batch_that_does_not_fit_the_nodes_is_refused(batch, batch_size, message) -> None:
    with pytest.raises(ValueError, match=message):
        Ragged.of(batch, batch_size, num_nodes=2)
