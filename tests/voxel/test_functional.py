import pytest
import torch
from properties import assert_all_equal, assert_equal
from torch import Tensor
from torch.nn import functional as F
from torch_geometric.nn import RGCNConv
from voxels import full_grid, random_voxels

from latentgraph.voxel import VoxelGraph, coarsen, neighbor_graph, voxel_conv

IN, OUT = 5, 3


def graph(kind: str, block_size: int | None = 17, number: int = 131) -> VoxelGraph:
    coord, batch = random_voxels(number)
    if kind in ("down", "up"):
        found: VoxelGraph = getattr(coarsen(coord, batch, block_size), kind)
        return found
    return neighbor_graph(coord, batch, int(kind), block_size)


def arguments(
    graph: VoxelGraph, dtype: torch.dtype = torch.float64, widths: tuple[int, int] = (IN, OUT)
) -> tuple[Tensor, Tensor]:
    x = torch.randn(graph.num_sources, widths[0]).to(dtype).requires_grad_()
    weight = torch.randn(graph.num_relations, *widths).to(dtype).requires_grad_()
    return x, weight


@pytest.mark.parametrize("kind", ["1", "3", "5", "down", "up"])
def test_equals_pyg_on_the_same_graph(kind: str) -> None:
    g = graph(kind)
    x, weight = arguments(g)
    reference = RGCNConv(
        (IN, IN), OUT, g.num_relations, aggr="add", root_weight=False, bias=False
    ).double()
    reference.weight.data.copy_(weight.data)
    nothing = torch.zeros(g.num_targets, IN, dtype=torch.float64)
    expected = reference((x, nothing), g.edge_index, g.edge_type)
    actual = voxel_conv(x, weight, g)
    assert_equal(actual, expected)
    grad = torch.randn_like(expected)
    assert_all_equal(
        torch.autograd.grad(actual, [x, weight], grad),
        torch.autograd.grad(expected, [x, reference.weight], grad),
    )


def test_equals_the_dense_convolutions_on_a_full_grid() -> None:
    side = (6, 4, 8)
    coord = full_grid(side)
    image = torch.randn(1, IN, *side, dtype=torch.float64)
    nodes = image[0].flatten(1).T
    weight = torch.randn(5**3, IN, OUT, dtype=torch.float64)
    dense = weight.view(5, 5, 5, IN, OUT).permute(4, 3, 0, 1, 2)
    expected = F.conv3d(image, dense, padding=2)[0].flatten(1).T
    assert_equal(voxel_conv(nodes, weight, neighbor_graph(coord, kernel_size=5)), expected)

    coarse = coarsen(coord)
    weight = torch.randn(2**3, IN, OUT, dtype=torch.float64)
    dense = weight.view(2, 2, 2, IN, OUT).permute(4, 3, 0, 1, 2)
    strided = F.conv3d(image, dense, stride=2)
    assert_equal(voxel_conv(nodes, weight, coarse.down), strided[0].flatten(1).T)
    weight = torch.randn(2**3, OUT, IN, dtype=torch.float64)
    dense = weight.view(2, 2, 2, OUT, IN).permute(3, 4, 0, 1, 2)
    inverse = F.conv_transpose3d(strided, dense, stride=2)[0].flatten(1).T
    assert_equal(voxel_conv(strided[0].flatten(1).T, weight, coarse.up), inverse)


@pytest.mark.parametrize("kind", ["3", "down", "up"])
def test_first_and_second_derivatives(kind: str) -> None:
    g = graph(kind, block_size=5, number=17)
    x, weight = arguments(g, widths=(1, 2))
    assert len(g.edges.sizes) > 1
    assert torch.autograd.gradcheck(lambda *a: voxel_conv(*a, g), (x, weight))
    assert torch.autograd.gradgradcheck(lambda *a: voxel_conv(*a, g), (x, weight))


@pytest.mark.parametrize("needed", [0, 1])
def test_gradient_of_one_argument_alone(needed: int) -> None:
    g = graph("3")
    both = arguments(g)
    grad = torch.randn(g.num_targets, OUT, dtype=torch.float64)
    expected = torch.autograd.grad(voxel_conv(*both, g), both, grad)[needed]
    both[1 - needed].requires_grad_(False)
    (actual,) = torch.autograd.grad(voxel_conv(*both, g), both[needed], grad)
    assert torch.equal(actual, expected)


@pytest.mark.parametrize("kind", ["3", "down", "up"])
def test_blocks_change_nothing(kind: str) -> None:
    results = []
    for block_size in (1, 17, None):
        torch.manual_seed(0)
        g = graph(kind, block_size)
        x, weight = arguments(g)
        out = voxel_conv(x, weight, g)
        results.append([out, *torch.autograd.grad(out.square().sum(), [x, weight])])
    assert_all_equal(results[1], results[0])
    assert_all_equal(results[2], results[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_other_dtypes_equal_float64(dtype: torch.dtype) -> None:
    g = graph("5", number=331)
    x, weight = arguments(g, dtype)
    grad = torch.randn(g.num_targets, OUT).to(dtype)
    out = voxel_conv(x, weight, g)
    assert out.dtype == dtype
    wide = [a.detach().double().requires_grad_() for a in (x, weight)]
    expected = voxel_conv(*wide, g)
    assert_equal(out, expected)
    assert_all_equal(
        torch.autograd.grad(out, [x, weight], grad),
        torch.autograd.grad(expected, wide, grad.double()),
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_is_the_function_of_cast_arguments(dtype: torch.dtype) -> None:
    g = graph("3")
    x, weight = arguments(g, torch.float32)
    grad = torch.randn(g.num_targets, OUT).to(dtype)
    with torch.autocast("cpu", dtype=dtype):
        out = voxel_conv(x, weight, g)
        inside = torch.autograd.grad(out, [x, weight], grad, retain_graph=True)
    outside = torch.autograd.grad(out, [x, weight], grad)
    cast = [a.detach().to(dtype).requires_grad_() for a in (x, weight)]
    expected = voxel_conv(*cast, g)
    assert torch.equal(out, expected)
    assert out.dtype == dtype
    for found in (inside, outside):
        assert [a.dtype for a in found] == [torch.float32, torch.float32]
        assert_all_equal(found, torch.autograd.grad(expected, cast, grad, retain_graph=True))


def test_autocast_leaves_float64_alone_and_does_not_reach_the_backward_pass() -> None:
    g = graph("3")
    x, weight = arguments(g)
    expected = voxel_conv(x, weight, g)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(voxel_conv(x, weight, g), expected)

    x, weight = arguments(g, torch.float32)
    out = voxel_conv(x, weight, g)
    grad = torch.randn_like(out)
    outside = torch.autograd.grad(out, [x, weight], grad, retain_graph=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = torch.autograd.grad(out, [x, weight], grad)
    assert all(torch.equal(a, b) for a, b in zip(inside, outside, strict=True))


def test_keeps_its_arguments_alone_for_the_backward_pass() -> None:
    g = graph("3")
    x, weight = arguments(g)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        voxel_conv(x, weight, g)
    assert {t.data_ptr() for t in kept} == {x.data_ptr(), weight.data_ptr()}


def test_any_memory_layout() -> None:
    g = graph("3")
    x, weight = arguments(g)
    x, weight = x.detach(), weight.detach()
    other = voxel_conv(x.T.contiguous().T, weight.mT.contiguous().mT, g)
    assert_equal(other, voxel_conv(x, weight, g))


def test_no_voxels() -> None:
    empty = torch.zeros(0, 3, dtype=torch.int64)
    for g in (neighbor_graph(empty), coarsen(empty).down, coarsen(empty).up):
        x, weight = arguments(g)
        out = voxel_conv(x, weight, g)
        assert out.shape == (0, OUT)
        _, grad = torch.autograd.grad(out.sum(), [x, weight])
        assert not grad.any()


@pytest.mark.parametrize(
    ("x", "weight", "error", "message"),
    [
        ((29, IN), (26, IN, OUT), ValueError, r"weight of shape \(27, in_channels, out_channels\)"),
        ((29, IN), (27, IN), ValueError, r"weight of shape .* got \(27, 5\)"),
        ((29, IN + 2), (27, IN, OUT), ValueError, r"x of shape \(29, 5\), got \(29, 7\)"),
        ((28, IN), (27, IN, OUT), ValueError, r"x of shape \(29, 5\), got \(28, 5\)"),
        ((1, 29, IN), (27, IN, OUT), ValueError, r"x of shape \(29, 5\), got \(1, 29, 5\)"),
    ],
)
def test_bad_shapes(
    x: tuple[int, ...], weight: tuple[int, ...], error: type[Exception], message: str
) -> None:
    g = neighbor_graph(full_grid((29, 1, 1)))
    with pytest.raises(error, match=message):
        voxel_conv(torch.randn(x), torch.randn(weight), g)


def test_bad_dtype() -> None:
    g = neighbor_graph(full_grid((29, 1, 1)))
    with pytest.raises(TypeError, match=r"x of torch.float32, like the weight, got torch.float64"):
        voxel_conv(torch.randn(29, IN).double(), torch.randn(27, IN, OUT), g)
