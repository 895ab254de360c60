import pytest
import torch
from properties import assert_all_equal, assert_equal
from references import one_node
from samples import CHANNELS, nodes, randomized

from latentgraph.nn import GlobalContext, SimplifiedNonLocal, SqueezeExcitation

BLOCKS = {
    **{
        f"{pool} {'-'.join(fuse)}": GlobalContext(CHANNELS, ratio=1 / 4, pool=pool, fuse=fuse)
        for pool in ("attention", "mean")
        for fuse in (("add",), ("mul",), ("add", "mul"))
    },
    "large eps": GlobalContext(CHANNELS, ratio=1 / 4, fuse=("add", "mul"), eps=1e-1),
    "simplified non-local": SimplifiedNonLocal(CHANNELS),
    "squeeze-excitation": SqueezeExcitation(CHANNELS, ratio=1 / 4),
}


@pytest.mark.parametrize("chunk_size", [None, 3])
@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_equals_the_formulas(block, chunk_size) -> None:
    block.chunk_size = chunk_size
    randomized(block)
    x, batch, batch_size = nodes()
    leaves = (x.requires_grad_(), *block.parameters())
    out, expected = block(x, batch, batch_size), one_node(block, x, batch, batch_size)
    assert_equal(out, expected)
    grad_out = torch.randn_like(x)
    assert_all_equal(
        torch.autograd.grad(out, leaves, grad_out),
        # The bias of a score moves all scores alike, and no softmax sees that.
        torch.autograd.grad(expected, leaves, grad_out, materialize_grads=True),
    )


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_starts_as_the_identity_or_with_a_gate_as_half_of_x(block) -> None:
    block.float().reset_parameters()
    x, batch, batch_size = nodes(dtype=torch.float32)
    assert_equal(block(x, batch, batch_size), x if block.mul is None else x / 2)


@pytest.mark.parametrize("chunk_size", [None, 10**6])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_many_equal_half_precision_scores_pool_to_the_mean(dtype, chunk_size) -> None:
    block = randomized(SimplifiedNonLocal(5, chunk_size=chunk_size), dtype)
    with torch.no_grad():
        block.score.weight.zero_()
        block.add.last.weight.copy_(torch.eye(5))
        block.add.last.bias.zero_()
    x = torch.full((70_000, 5), 0.75, dtype=dtype)
    assert torch.equal(block(x), 2 * x)


def test_huge_scores_pick_their_node_in_any_chunk() -> None:
    block = randomized(SimplifiedNonLocal(3), torch.float32)
    with torch.no_grad():
        block.score.weight.copy_(torch.tensor([[1e30, 0, 0]]))
    x = torch.randn(11, 3)
    expected = x + block.add.last(x[x[:, 0].argmax()])
    for block.chunk_size in (100, 1, 4):
        out = block(x.requires_grad_())
        assert_equal(out, expected)
        assert torch.autograd.grad(out.sum(), x)[0].isfinite().all()


def test_inner_width_is_rounded_down() -> None:
    assert GlobalContext(23, ratio=1 / 4).add.first.out_features == 5
    assert SqueezeExcitation(23, ratio=1 / 16).mul.first.out_features == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GlobalContext(CHANNELS), "inner width of at least 2, got 1 of 23 channels"),
        (lambda: SqueezeExcitation(13), "inner width of at least 1, got 0 of 13 channels"),
        (lambda: GlobalContext(64, pool="max"), "pool 'attention' or 'mean', got 'max'"),
        (lambda: GlobalContext(64, fuse=()), "fuse from 'add' and 'mul', each once, got "),
        (
            lambda: GlobalContext(64, fuse=("add", "div")),
            "fuse from 'add' and 'mul', each once, got ",
        ),
    ],
)
def test_bad_options_are_refused(make, message) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_single_fusion_may_be_given_as_a_name() -> None:
    assert GlobalContext(64, fuse="mul").fuse == ("mul",)


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_repr_names_the_sizes(block) -> None:
    assert repr(block).startswith(f"{type(block).__name__}(23")
