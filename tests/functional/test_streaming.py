r"""The two passes in many chunks, on a block of a user's own."""

import pytest
import torch
from properties import assert_all_equal, assert_equal
from samples import nodes
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from latentgraph import functional as LF
from latentgraph.functional import Chunk, Passes, Ragged, State, stream

C = 5


def attention(score: Tensor, value: Tensor, residual: bool = False) -> Passes:
    r"""out = x + (softmax-weighted mean over the nodes of a graph) W, with a running maximum."""

    def encode(chunk: Chunk) -> State:
        s = chunk.x @ score
        lowest = torch.finfo(s.dtype).min
        if chunk.batch is None:
            shift = s.detach().amax(1)
            weight = (s - shift.unsqueeze(1)).exp()
        else:
            index = chunk.batch.batch.unsqueeze(1)
            shift = s.new_full((chunk.batch.batch_size, 1), lowest)
            shift = shift.scatter_reduce(0, index, s.detach(), "amax")
            weight = (s - shift[index.squeeze(1)]).exp()
        pooled = LF.visible_to_latent(chunk.x, weight, chunk.batch).squeeze(1)
        return State((pooled, LF.sum_nodes(weight, chunk.batch)), shift)

    def update(state: State) -> tuple[Tensor, ...]:
        pooled, total = state.sums
        return (pooled / total.clamp_min(1e-30) @ value,)

    def decode(chunk: Chunk, message: tuple[Tensor, ...]) -> Tensor:
        received = LF.to_nodes(message[0], chunk.batch)
        return received if residual else chunk.x + received

    return Passes(encode, update, decode, (score, value), residual)


def expected_attention(x: Tensor, score: Tensor, value: Tensor, batch: Tensor) -> Tensor:
    out = x.clone()
    for graph in batch.unique().tolist():
        rows = batch == graph
        weight = (x[rows] @ score).softmax(0)
        out[rows] = x[rows] + (weight * x[rows]).sum(0) @ value
    return out


def weights(scale: float = 1.0) -> tuple[Tensor, Tensor]:
    score, value = torch.randn(C, 1).double() * scale, torch.randn(C, C).double()
    return score.requires_grad_(), value.requires_grad_()


def gradients(out: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    grad_out = torch.randn(out.shape, generator=generator, dtype=torch.float64).to(out.dtype)
    return torch.autograd.grad(out, inputs, grad_out)


CHUNK_SIZES = [None, 1, 2, 5, 21, 22, 10**6]


residuals = pytest.mark.parametrize("residual", [False, True], ids=["plain", "residual"])


@pytest.mark.parametrize("chunk_size", CHUNK_SIZES)
@pytest.mark.parametrize("in_order", [True, False], ids=["sorted", "unsorted"])
@residuals
def test_ragged_graphs_in_chunks(chunk_size, in_order, residual) -> None:
    x, batch, batch_size = nodes(channels=C, in_order=in_order)
    leaves = (x.requires_grad_(), *weights())
    out = stream(attention(*leaves[1:], residual), (x,), Ragged(batch, batch_size), chunk_size)
    expected = expected_attention(*leaves, batch)
    assert_equal(out, expected)
    assert_all_equal(gradients(out, *leaves), gradients(expected, *leaves))


@pytest.mark.parametrize("chunk_size", CHUNK_SIZES)
@residuals
def test_graphs_of_one_size_in_chunks(chunk_size, residual) -> None:
    x = torch.randn(3, 7, C, dtype=torch.float64, requires_grad=True)
    leaves = (x, *weights())
    batch = torch.arange(3).repeat_interleave(7)
    passes = attention(*leaves[1:], residual)
    out = stream(passes, (x,), None, chunk_size)
    expected = expected_attention(x.flatten(0, 1), *leaves[1:], batch).view_as(x)
    assert_equal(out, expected)
    assert_all_equal(gradients(out, *leaves), gradients(expected, *leaves))
    one_graph = stream(passes, (x.flatten(0, 1)[:7],), None, chunk_size)
    assert_equal(one_graph, expected[0])


@pytest.mark.parametrize("chunk_size", [None, 2])
@residuals
def test_gradients_and_their_gradients(chunk_size, residual) -> None:
    x, batch, batch_size = nodes((2, 0, 3), channels=C)
    graphs = Ragged(batch, batch_size)

    def function(x: Tensor, score: Tensor, value: Tensor) -> Tensor:
        return stream(attention(score, value, residual), (x,), graphs, chunk_size)

    leaves = (x.requires_grad_(), *weights())
    assert torch.autograd.gradcheck(function, leaves)
    assert torch.autograd.gradgradcheck(function, leaves)


def test_chunks_inside_of_what_is_computed_again() -> None:
    x, batch, batch_size = nodes(channels=C)
    leaves = (x.requires_grad_(), *weights())

    def function(x: Tensor) -> Tensor:
        return stream(attention(*leaves[1:]), (x,), Ragged(batch, batch_size), 2)

    again = checkpoint(function, x, use_reentrant=False)
    assert_all_equal(gradients(again, *leaves), gradients(function(x), *leaves))


@pytest.mark.parametrize("ascending", [True, False])
def test_running_maximum_survives_huge_scores(ascending) -> None:
    x = torch.randn(11, C)
    x[:, 0] = torch.arange(11) * 1000.0 * (1 if ascending else -1)
    score, value = torch.eye(C)[:, :1] * 3, torch.randn(C, C)
    x, score, value = (t.requires_grad_() for t in (x, score, value))
    out = stream(attention(score, value), (x,), None, 2)
    leaves = [t.detach().double().requires_grad_() for t in (x, score, value)]
    expected = expected_attention(*leaves, torch.zeros(11, dtype=torch.int64))
    assert_equal(out, expected)
    assert_all_equal(gradients(out, x, score, value), gradients(expected, *leaves))


def scaled_mean(scale: Tensor, offset: Tensor, shift: Tensor, listed: list[Tensor]) -> Passes:
    r"""out = x (second input + shift) + (mean of scale x) + offset, over one graph."""

    def encode(chunk: Chunk) -> State:
        x = chunk.x * scale
        return State((LF.sum_nodes(x), LF.sum_nodes(torch.ones_like(x))))

    def update(state: State) -> tuple[Tensor, ...]:
        return (state.sums[0] / state.sums[1] + offset,)

    def decode(chunk: Chunk, message: tuple[Tensor, ...]) -> Tensor:
        return chunk.x * (chunk.inputs[1] + shift) + message[0].unsqueeze(1)

    return Passes(encode, update, decode, tuple(listed))


@pytest.mark.parametrize("lost", [0, 1, 2], ids=["encode", "update", "decode"])
@pytest.mark.parametrize("computed", [False, True], ids=["leaf", "computed"])
def test_a_gradient_that_would_be_lost_is_an_error(lost, computed) -> None:
    x = torch.randn(7, C)
    used = [torch.randn(C, requires_grad=True) for _ in range(3)]
    if computed:
        used[lost] = used[lost] * 2
    listed = [t for i, t in enumerate(used) if i != lost]
    out = stream(scaled_mean(*used, listed), (x, x), None, 3)
    with pytest.raises(RuntimeError, match=r"one of shape \(5,\) that is not"):
        out.sum().backward()


@pytest.mark.parametrize("wanted", range(5), ids=["x", "second", "encode", "update", "decode"])
def test_gradient_of_a_single_tensor(wanted) -> None:
    leaves = [torch.randn(7, C).double(), torch.randn(7, C).double()]
    leaves += [torch.randn(C).double() for _ in range(3)]
    leaves[wanted].requires_grad_()
    x, second, scale, offset, shift = leaves
    out = stream(scaled_mean(*leaves[2:], leaves[2:]), (x, second), None, 3)
    expected = x * (second + shift) + (x * scale).mean(0) + offset
    assert_equal(out, expected)
    assert_all_equal(gradients(out, leaves[wanted]), gradients(expected, leaves[wanted]))


def test_weights_computed_before_the_call_pass_their_gradient_on() -> None:
    x, base = torch.randn(7, C).double(), torch.randn(C).double().requires_grad_()
    used = [base.exp(), base * 2, base.sin()]
    out = stream(scaled_mean(*used, used), (x, x), None, 3)
    expected = x * (x + base.sin()) + (x * base.exp()).mean(0) + base * 2
    assert_all_equal(gradients(out, base), gradients(expected, base))


def test_chunks_are_views_of_at_most_the_chunk_size() -> None:
    x = torch.randn(2, C, 11).mT.requires_grad_()
    seen: list[Tensor] = []

    def encode(chunk: Chunk) -> State:
        seen.append(chunk.x)
        return State((chunk.x.sum(1),))

    def decode(chunk: Chunk, message: tuple[Tensor, ...]) -> Tensor:
        seen.append(chunk.x)
        return chunk.x + message[0].unsqueeze(1)

    out = stream(Passes(encode, lambda state: state.sums, decode), (x,), None, 4)
    forward = len(seen)
    assert forward >= 2 * 6
    out.sum().backward()
    assert len(seen) == 2 * forward
    for chunk in seen:
        assert chunk.shape[:-1].numel() <= 4
        assert chunk.stride()[1:] == x.stride()[1:]
        assert chunk.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
    assert out.stride() == x.stride()


def test_one_chunk_is_not_computed_again() -> None:
    calls = []

    def encode(chunk: Chunk) -> State:
        calls.append(chunk)
        return State((chunk.x.sum(1),))

    passes = Passes(
        encode, lambda state: state.sums, lambda chunk, sums: chunk.x * sums[0].unsqueeze(1)
    )
    stream(passes, (torch.randn(7, C, requires_grad=True),), None, 7).sum().backward()
    assert len(calls) == 1


@pytest.mark.parametrize("chunk_size", [None, 2])
@pytest.mark.parametrize("batch_size", [None, 0, 3])
def test_no_nodes(chunk_size, batch_size) -> None:
    batch = torch.empty(0, dtype=torch.int64)
    graphs = None if batch_size is None else Ragged(batch, batch_size)
    x = torch.empty(0, C, requires_grad=True)
    score, value = (w.detach().float().requires_grad_() for w in weights())
    if batch_size is None:
        passes = scaled_mean(score.view(C), value[0], value[1], [score, value])
        out = stream(passes, (x, x), None, chunk_size)
    else:
        out = stream(attention(score, value), (x,), graphs, chunk_size)
    assert out.shape == (0, C)
    out.sum().backward()
    assert x.grad is not None


def test_gradients_in_chunks_are_those_of_one_chunk_under_autocast() -> None:
    x, score, value = torch.randn(11, C), torch.randn(C, 1), torch.randn(C, C)
    leaves = [t.requires_grad_() for t in (x, score, value)]

    def full_precision(passes: Passes) -> Passes:
        off = torch.autocast("cpu", enabled=False)
        return passes._replace(
            encode=off(passes.encode), update=off(passes.update), decode=off(passes.decode)
        )

    results = []
    for chunk_size in (None, 3):
        with torch.autocast("cpu", torch.bfloat16):
            out = stream(full_precision(attention(score, value)), (x,), None, chunk_size)
        results.append((out, *gradients(out, *leaves)))
    assert_all_equal(*results)


def test_autocast_holds_in_every_chunk_of_both_directions() -> None:
    seen = set()
    weight = torch.randn(C, C, requires_grad=True)

    def encode(chunk: Chunk) -> State:
        y = chunk.x @ weight
        seen.add(y.dtype)
        return State((y.float().sum(1),))

    passes = Passes(encode, lambda s: s.sums, lambda c, m: c.x + m[0].unsqueeze(1), (weight,))
    with torch.autocast("cpu", torch.bfloat16):
        out = stream(passes, (torch.randn(7, C, requires_grad=True),), None, 3)
    out.sum().backward()
    assert seen == {torch.bfloat16}
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_without_gradients(context) -> None:
    x, batch, batch_size = nodes(channels=C)
    score, value = weights()
    with context():
        out = stream(attention(score, value), (x,), Ragged(batch, batch_size), 3)
        assert_equal(out, expected_attention(x, score, value, batch))
    assert not out.requires_grad
