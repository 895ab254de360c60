r"""What holds for every block; test_any_nodes.py has what holds on any nodes."""

import copy
import pickle

import pytest
import torch
from properties import (
    assert_all_equal,
    assert_equal,
    assert_graphs_independent,
    assert_nan_stays,
    assert_precise,
)
from samples import BATCHES, BLOCKS, CHANNELS, block, nodes

from latentgraph.functional import Ragged
from latentgraph.nn import OnGrid

every_block = pytest.mark.parametrize("name", BLOCKS)


@pytest.mark.parametrize("name", ["latent_gnn_symmetric", "global_context"])
def test_independent_of_other_graphs_among_many(name) -> None:
    assert_graphs_independent(block(name), *nodes(BATCHES["many"]))


@every_block
@pytest.mark.parametrize("chunk_size", [None, 3])
def test_graphs_of_one_size_may_be_stacked(name, chunk_size) -> None:
    made = block(name)
    made.chunk_size = chunk_size
    x, batch, batch_size = nodes((7, 7, 7), in_order=True)
    stacked = made(x.view(3, 7, -1))
    assert_equal(stacked.flatten(0, 1), made(x, batch, batch_size))


@every_block
@pytest.mark.parametrize("chunk_size", [None, 2])
def test_gradients_and_their_gradients(name, chunk_size) -> None:
    made = block(name, channels=5)
    made.chunk_size = chunk_size
    x, batch, batch_size = nodes((2, 0, 3), channels=5)
    graphs = Ragged(batch, batch_size)
    parameters = dict(made.named_parameters())

    def function(x, *values):
        given = dict(zip(parameters, values, strict=True))
        return torch.func.functional_call(made, given, (x, graphs))

    leaves = (x.requires_grad_(), *parameters.values())
    assert torch.autograd.gradcheck(function, leaves, fast_mode=True)
    if chunk_size is not None:
        assert torch.autograd.gradgradcheck(function, leaves, fast_mode=True)


@every_block
def test_gradients_of_many_outputs_at_once_and_by_torch_func(name) -> None:
    made = block(name)
    x = nodes((7,)).x.requires_grad_()
    directions = torch.randn(3, *x.shape, dtype=x.dtype)
    one_by_one = torch.stack([torch.autograd.grad(made(x), x, d)[0] for d in directions])
    assert_equal(torch.autograd.grad(made(x), x, directions, is_grads_batched=True)[0], one_by_one)
    _, pulled = torch.func.vjp(made, x.detach())
    assert_equal(torch.func.vmap(pulled)(directions)[0], one_by_one)
    _, pushed = torch.func.jvp(made, (x.detach(),), (directions[0],))
    assert_equal((pushed * directions[1]).sum(), (one_by_one[1] * directions[0]).sum())


@every_block
@pytest.mark.parametrize("frozen", [False, True])
def test_parameters_may_be_given_for_one_call(name, frozen) -> None:
    made = block(name).requires_grad_(not frozen)
    x, batch, batch_size = nodes()
    other = {key: value.detach() + 0.1 for key, value in made.named_parameters()}
    leaves = [value.requires_grad_() for value in other.values()]
    results = []
    for made.chunk_size in (100, 3):
        out = torch.func.functional_call(made, other, (x, batch, batch_size))
        gradients = torch.autograd.grad(out.square().sum(), leaves)
        results.append([out, *gradients])
    assert_all_equal(*results)


@every_block
@pytest.mark.parametrize("sizes", [(), (0, 0), (1,), (0, 1, 0), (2,)], ids=str)
@pytest.mark.parametrize("chunk_size", [None, 1])
def test_few_nodes_or_none(name, sizes, chunk_size) -> None:
    made = block(name)
    made.chunk_size = chunk_size
    x, batch, batch_size = nodes(sizes)
    x.requires_grad_()
    given = [(batch, batch_size)]
    given += [(None, None)] if len(sizes) == 1 or not len(x) else []
    given += [(batch, None)] if len(x) else []
    for arguments in given:
        out = made(x, *arguments)
        assert out.shape == x.shape
        assert out.isfinite().all()
        out.sum().backward()
        for leaf in (x, *made.parameters()):
            assert leaf.grad is None or leaf.grad.isfinite().all()
    assert made(torch.empty(0, 7, CHANNELS).double()).shape == (0, 7, CHANNELS)
    assert made(torch.empty(3, 0, CHANNELS).double()).shape == (3, 0, CHANNELS)


@every_block
def test_a_larger_batch_size_and_a_shared_ragged_change_nothing(name) -> None:
    made = block(name)
    x, batch, batch_size = nodes()
    out = made(x, batch, batch_size)
    ragged = Ragged(batch, batch_size + 2)
    for arguments in ((batch,), (batch, batch_size + 2), (ragged,), (ragged, batch_size + 2)):
        assert_equal(made(x, *arguments), out)


@every_block
@pytest.mark.parametrize(
    ("sizes", "chunk_size"),
    [(BATCHES["ragged"], None), (BATCHES["ragged"], 3), (BATCHES["many"], None)],
    ids=["ragged", "ragged in chunks", "many"],
)
def test_nan_stays_in_its_own_graph(name, sizes, chunk_size) -> None:
    made = block(name)
    made.chunk_size = chunk_size
    assert_nan_stays(made, *nodes(sizes))


@every_block
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_precision(name, dtype) -> None:
    assert_precise(block(name), *nodes(), dtype)


@every_block
@pytest.mark.parametrize("chunk_size", [None, 3])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("x_dtype", [torch.float32, None], ids=["float32", "half"])
def test_autocast(name, dtype, x_dtype, chunk_size) -> None:
    made = block(name)
    x, batch, batch_size = nodes()
    x = x.to(dtype).to(x_dtype or dtype)
    expected = made(x.double(), batch, batch_size)
    made = copy.deepcopy(made).float()
    made.chunk_size = chunk_size
    with torch.autocast("cpu", dtype):
        out = made(x.requires_grad_(), batch, batch_size)
    assert out.dtype == x.dtype
    assert_equal(out, expected, 2e-2 if dtype == torch.bfloat16 else 5e-3)
    out.float().square().sum().backward()
    for leaf in (x, *made.parameters()):
        assert leaf.grad is not None
        assert leaf.grad.dtype == leaf.dtype
        assert leaf.grad.isfinite().all()


@every_block
@pytest.mark.parametrize("sizes", [(17, 19, 17), (1, 2) * 31], ids=["few", "many"])
def test_backward_inside_autocast(name, sizes) -> None:
    made = block(name).float()
    x, batch, batch_size = nodes(sizes, dtype=torch.float32)
    x.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = made(x, batch, batch_size).square().sum()
        (inside,) = torch.autograd.grad(loss, x, retain_graph=True)
    (outside,) = torch.autograd.grad(loss, x)
    assert_equal(inside, outside, 2e-2)


@every_block
def test_without_gradients_and_without_those_of_the_parameters(name) -> None:
    made = block(name)
    x, batch, batch_size = nodes()
    expected = made(x, batch, batch_size)
    made.chunk_size = 3
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            out = made(x, batch, batch_size)
        assert not out.requires_grad
        assert_equal(out, expected)
    made.requires_grad_(False)
    x.requires_grad_()
    gradients = []
    for made.chunk_size in (3, 100):
        gradients += torch.autograd.grad(made(x, batch, batch_size).square().sum(), x)
    assert_equal(*gradients)


@every_block
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda x, b, n: (x[:, :5], b, n), ValueError, r"x of shape \(N, 23\) or .* got \(22, 5\)"),
        (lambda x, b, n: (x[0], None, None), ValueError, r"x of shape .* got \(23,\)"),
        (lambda x, b, n: (x.double(), b, n), TypeError, "x of torch.float32, .* got torch.float64"),
        (lambda x, b, n: (x.long(), b, n), TypeError, "x of torch.float32, .* got torch.int64"),
        (lambda x, b, n: (x, b[:-1], n), ValueError, "each of the 22 nodes, got 21"),
        (lambda x, b, n: (x, b.int(), n), TypeError, "int64 tensor, got torch.int32"),
        (lambda x, b, n: (x, b.float(), n), TypeError, "int64 tensor, got torch.float32"),
        (lambda x, b, n: (x, b.tolist(), n), TypeError, "int64 tensor, got list"),
        (lambda x, b, n: (x, b, 4), ValueError, "entries from 0 to 3, got 0 to 4"),
        (lambda x, b, n: (x, b - 1, n), ValueError, "entries from 0 to 5, got -1 to 3"),
        (lambda x, b, n: (x, None, n), ValueError, "batch_size=6, got batch=None"),
        (lambda x, b, n: (x, Ragged(b, n), 5), ValueError, "batch_size=6 as in the Ragged, got 5"),
    ],
)
def test_bad_input_is_refused(name, change, error, message) -> None:
    with pytest.raises(error, match=message):
        BLOCKS[name](CHANNELS)(*change(*nodes(dtype=torch.float32)))


@every_block
@pytest.mark.parametrize("arguments", [(torch.zeros(7).long(), None), (None, 3)], ids=str)
def test_a_batch_beside_graphs_of_one_size_is_refused(name, arguments) -> None:
    with pytest.raises(ValueError, match="expected"):
        block(name)(torch.randn(2, 7, CHANNELS).double(), *arguments)


@every_block
def test_device_and_dtype_are_those_of_every_parameter(name) -> None:
    made = BLOCKS[name](CHANNELS, device="meta", dtype=torch.float64)
    assert all(p.is_meta and p.dtype == torch.float64 for p in made.parameters())
    made.to_empty(device="cpu").reset_parameters()
    x, batch, batch_size = nodes()
    assert made(x, batch, batch_size).isfinite().all()


@every_block
def test_state_moves_by_state_dict_copy_and_pickle(name) -> None:
    made, sample = block(name), nodes()
    made(*sample)
    out = made(*sample)
    loaded = BLOCKS[name](CHANNELS).double()
    assert loaded.load_state_dict(made.state_dict()) == ([], [])
    for other in (loaded, copy.deepcopy(made), pickle.loads(pickle.dumps(made))):  # noqa: S301
        assert torch.equal(other(*sample), out)
        assert all(
            torch.equal(a, b)
            for a, b in zip(other.state_dict().values(), made.state_dict().values(), strict=True)
        )
        with torch.no_grad():
            next(other.parameters()).add_(1)
        assert not torch.equal(next(other.parameters()), next(made.parameters()))


@every_block
def test_reset_parameters_starts_every_parameter_anew(name) -> None:
    made, other = BLOCKS[name](CHANNELS), BLOCKS[name](CHANNELS)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.fill_(torch.nan)
    made.reset_parameters()
    again = {key: value.clone() for key, value in made.state_dict().items()}
    made.reset_parameters()
    for key, value in made.state_dict().items():
        constant = torch.equal(other.state_dict()[key], BLOCKS[name](CHANNELS).state_dict()[key])
        assert torch.equal(value, again[key]) == constant, key
        assert torch.equal(value, other.state_dict()[key]) == constant, key


@every_block
def test_repr_is_one_line_with_the_sizes(name) -> None:
    made = BLOCKS[name](CHANNELS)
    assert repr(made).startswith(f"{type(made).__name__}({CHANNELS}")
    assert "\n" not in repr(made)
    assert repr(made) in repr(OnGrid(made))


def test_blocks_share_the_read_of_a_ragged() -> None:
    x, batch, batch_size = nodes()
    ragged = Ragged(batch, batch_size)
    blocks = [block(name) for name in BLOCKS]
    shared, alone = x, x
    for made in blocks:
        shared, alone = made(shared, ragged), made(alone, batch, batch_size)
    assert_all_equal([shared], [alone])
