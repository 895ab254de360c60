import pytest
import torch
from properties import assert_all_equal, assert_equal
from torch import Tensor

from latentgraph import functional as LF
from latentgraph.functional import Ragged
from latentgraph.functional.bipartite import sum_squares

D, C = 3, 5

# Graph sizes for each way in which the products are taken, and what lies between.
SIZES = {
    "few": (7, 0, 2, 1, 11),
    "one": (13,),
    "equal": (7, 7, 7),
    "equal_of_one": (1, 1, 1),
    "many": tuple((i * i) % 7 for i in range(211)),
    "many_alike": (4, 5) * 31,
    "many_equal": (3,) * 211,
    "many_and_a_large_one": (*(1 + i % 3 for i in range(210)), 401),
    "large": (521, 3, 3, 0, 523),
    "a_run_between_others": (2, *(7,) * 79, 3, 2, 0, 521),
    "all_empty": (0, 0),
    "none": (),
}


WIDTHS = [(D, C), (1, C), (D, 1), (1, 1)]  # of latent nodes and of features; one is special


def operands(sizes, in_order: bool, d: int = D, c: int = C) -> tuple[Tensor, ...]:
    batch = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes, dtype=torch.int64))
    if not in_order:
        batch = batch[torch.randperm(len(batch))]
    shapes = (len(batch), c), (len(batch), d), (len(sizes), d, c)
    x, weight, z = (torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes)
    return x, weight, z, batch


def loop(x: Tensor, weight: Tensor, z: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
    r"""Both products, node by node."""
    to_latent = torch.zeros_like(z).index_add(0, batch, weight.unsqueeze(2) * x.unsqueeze(1))
    return to_latent, (weight.unsqueeze(2) * z[batch]).sum(1)


@pytest.mark.parametrize("in_order", [True, False], ids=["sorted", "unsorted"])
@pytest.mark.parametrize("widths", WIDTHS, ids=str)
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_both_products_equal_a_loop(sizes, widths, in_order) -> None:
    x, weight, z, batch = operands(sizes, in_order, *widths)
    ragged = Ragged(batch, len(sizes))
    expected = loop(x, weight, z, batch)
    actual = LF.visible_to_latent(x, weight, ragged), LF.latent_to_visible(z, weight, ragged)
    assert_all_equal(actual, expected)
    for a, b in zip(actual, expected, strict=True):
        grad = torch.randn_like(a)
        wanted = [t for t in (x, weight, z) if t is not (z if a is actual[0] else x)]
        gradients = (torch.autograd.grad(y, wanted, grad, create_graph=True) for y in (a, b))
        assert_all_equal(*gradients)


@pytest.mark.parametrize("sizes", [(2, 0, 1), (0, 1, 2) * 71], ids=["few", "many"])
@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_gradients_of_gradients(sizes, widths) -> None:
    x, weight, z, batch = operands(sizes, False, *widths)
    ragged = Ragged(batch, len(sizes))
    fast = len(sizes) > 3
    for function, features in ((LF.visible_to_latent, x), (LF.latent_to_visible, z)):
        arguments = (features, weight)
        check = lambda *t, f=function: f(*t, ragged)  # noqa: E731
        assert torch.autograd.gradcheck(check, arguments, fast_mode=fast)
        assert torch.autograd.gradgradcheck(check, arguments, fast_mode=fast)


def test_graphs_of_one_size_and_a_single_graph_need_no_batch() -> None:
    x, weight, z, batch = operands(SIZES["equal"], in_order=True)
    expected = loop(x, weight, z, batch)
    stacked = LF.visible_to_latent(x.view(3, 7, C), weight.view(3, 7, D))
    assert_equal(stacked, expected[0])
    assert_equal(LF.latent_to_visible(z, weight.view(3, 7, D)).flatten(0, 1), expected[1])
    assert_equal(LF.visible_to_latent(x, weight), (weight.T @ x).unsqueeze(0))
    assert_equal(LF.latent_to_visible(z[:1], weight), weight @ z[0])


@pytest.mark.parametrize("sizes", [SIZES["few"], SIZES["large"]], ids=["few", "large"])
def test_sum_nodes_and_to_nodes(sizes) -> None:
    x, _, _, batch = operands(sizes, in_order=False)
    ragged = Ragged(batch, 5)
    total = LF.sum_nodes(x, ragged)
    assert_equal(total, x.new_zeros(5, C).index_add(0, batch, x))
    assert_equal(LF.sum_nodes(x[:, :0], ragged), total[:, :0])
    numbers = LF.sum_nodes(torch.ones(len(x), 1, dtype=torch.int64), ragged)
    assert numbers.flatten().tolist() == list(sizes)
    assert_equal(LF.to_nodes(total, ragged), total[batch])
    assert_equal(LF.sum_nodes(x), x.sum(0, keepdim=True))
    assert_equal(LF.to_nodes(total) + x.new_zeros(5, 2, C), total.unsqueeze(1).expand(5, 2, C))


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("in_order", [True, False])
def test_sum_squares(name, in_order) -> None:
    _, weight, z, batch = operands(SIZES[name], in_order)
    found = sum_squares(weight, Ragged(batch, len(z)))
    assert_equal(found, weight.new_zeros(found.shape).index_add(0, batch, weight.square()))
    gradient = torch.randn_like(found)
    (of_weight,) = torch.autograd.grad(found, weight, gradient)
    assert_equal(of_weight, 2 * weight * gradient[batch])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("width", [1, C])
def test_sums_of_many_nodes_are_not_rounded_on_the_way(width, dtype) -> None:
    rows = (2048 * torch.rand(521, width)).to(dtype)
    x = torch.cat([rows, -rows, torch.ones_like(rows)])  # on the way more than float16 holds
    ragged, ones = Ragged(torch.zeros(len(x), dtype=torch.int64), 2), torch.ones(len(x), 1)
    expected = x.double().sum(0)
    assert_equal(LF.sum_nodes(x, ragged)[0], expected)
    assert_equal(LF.visible_to_latent(x, ones.to(dtype), ragged)[0, 0], expected)


@pytest.mark.parametrize("widths", WIDTHS, ids=str)
@pytest.mark.parametrize("layout", ["one graph", "stacked", "ragged"])
def test_messages_of_many_nodes_keep_six_digits(layout, widths) -> None:
    d, c = widths
    x, weight = torch.rand(2 * 50_021, c), torch.rand(2 * 50_021, d)
    if layout == "one graph":
        assert_equal(LF.visible_to_latent(x, weight)[0], weight.double().T @ x.double(), 1e-6)
        return
    by_graph = [t.unflatten(0, (2, -1)) for t in (x, weight)]
    given = (x, weight, torch.arange(2).repeat_interleave(50_021))
    z = LF.visible_to_latent(*(by_graph if layout == "stacked" else given))
    assert_equal(z, by_graph[1].double().mT @ by_graph[0].double(), 1e-6)


@pytest.mark.parametrize("in_order", [True, False], ids=["sorted", "unsorted"])
@pytest.mark.parametrize("widths", WIDTHS, ids=str)
@pytest.mark.parametrize("name", ["few", "many", "large", "many_equal"])
def test_nan_stays_in_its_own_graph(name, widths, in_order) -> None:
    x, weight, z, batch = operands(SIZES[name], in_order, *widths)
    spoilt = 4
    ragged, own = Ragged(batch, len(z)), batch == spoilt
    with torch.no_grad():
        x[own], weight[own], z[spoilt] = torch.nan, torch.nan, torch.nan
    to_latent, to_visible = (
        LF.visible_to_latent(x, weight, ragged),
        LF.latent_to_visible(z, weight, ragged),
    )
    gradients = torch.autograd.grad((to_latent.sum(), to_visible.sum()), (x, weight, z))
    for rows in (to_visible, *gradients[:2]):
        assert rows[~own].isfinite().all()
    for latents in (to_latent, gradients[2]):
        assert latents.isnan().any(2).any(1).nonzero().flatten().tolist() == [spoilt]


def test_one_spoilt_node_does_not_reach_the_padding_of_others() -> None:
    sizes = tuple(1 + i % 4 for i in range(211))
    x, weight, _, batch = operands(sizes, in_order=True)
    with torch.no_grad():
        x[-1], weight[-1] = torch.inf, torch.nan
    out = LF.visible_to_latent(x, weight, Ragged(batch))
    assert out[:-1].isfinite().all()


@pytest.mark.parametrize("sizes", [SIZES["few"], SIZES["many"]], ids=["few", "many"])
@pytest.mark.parametrize("batched", [True, False])
def test_products_stay_in_full_precision_under_autocast(sizes, batched) -> None:
    x, weight, z, batch = (t.detach() for t in operands(sizes, in_order=False))
    ragged = Ragged(batch, len(z)) if batched else None
    x, weight, z = x.float(), weight.float(), z.float() if batched else z[:1].float()
    expected = LF.visible_to_latent(x, weight, ragged), LF.latent_to_visible(z, weight, ragged)
    with torch.autocast("cpu", torch.bfloat16):
        actual = LF.visible_to_latent(x, weight, ragged), LF.latent_to_visible(z, weight, ragged)
    assert [t.dtype for t in actual] == [torch.float32] * 2
    assert_all_equal(actual, expected)


@pytest.mark.parametrize("planned", [True, False], ids=["planned", "unplanned"])
@pytest.mark.parametrize("widths", [(D, C), (1, C)], ids=str)
@pytest.mark.parametrize("name", ["few", "equal", "many", "large"])
def test_operators_keep_the_contract_of_torch_library(name, widths, planned) -> None:
    x, weight, z, batch = operands(SIZES[name], name == "equal", *widths)
    ragged = Ragged(batch, len(z))
    plan = (ragged.plan if widths[0] > 1 else ragged.pieces) if planned else []
    operators = torch.ops.latentgraph
    torch.library.opcheck(operators.visible_to_latent, (weight, x, batch, len(z), plan))
    torch.library.opcheck(operators.latent_to_visible, (weight, z, batch, len(z), plan))
    plan = ragged.plan if planned else []
    torch.library.opcheck(operators.sum_squares, (weight, batch, len(z), plan))


@pytest.mark.parametrize(("num_nodes", "num_graphs"), [(53, 3), (61, 29)])
def test_the_backward_pass_inside_autocast_is_that_outside(num_nodes, num_graphs) -> None:
    batch = torch.randint(num_graphs, (num_nodes,))
    leaves = [torch.randn(num_nodes, 7, requires_grad=True) for _ in range(2)]

    def gradients() -> tuple[torch.Tensor, ...]:
        weight, x = leaves
        with torch.autocast("cpu", enabled=False):
            z = LF.visible_to_latent(x, weight, Ragged(batch, num_graphs))
            y = LF.latent_to_visible(z, weight, Ragged(batch, num_graphs))
        return torch.autograd.grad(y.square().sum(), leaves)

    outside = gradients()
    with torch.autocast("cpu", torch.bfloat16):
        inside = gradients()
    for actual, expected in zip(inside, outside, strict=True):
        assert torch.equal(actual, expected)
