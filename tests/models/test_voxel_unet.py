import copy
import pickle
from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
from properties import assert_all_equal, assert_equal, assert_same_bits
from torch import Tensor, nn

from latentgraph.functional import Ragged
from latentgraph.models import VoxelUNet
from latentgraph.nn import GlobalContext, LatentGNN, position_features
from latentgraph.voxel import VoxelLevels, coarsen

IN, OUT = 5, 7
SIZES = (61, 0, 83, 17)


class MeanPooling(nn.Module):
    r"""Adds the mean of its graph to every node; remembers what it was called with."""

    def __init__(self, channels: int, affinity_channels: int = 0) -> None:
        super().__init__()
        self.channels, self.affinity_channels = channels, affinity_channels
        self.calls: list[tuple[Tensor, Ragged | None, dict[str, Any]]] = []

    def forward(self, x: Tensor, batch: Ragged | None = None, **options: Any) -> Tensor:
        assert x.size(1) == self.channels
        self.calls.append((x.detach(), batch, options))
        if batch is None:
            return x + x.mean(0)
        total = x.new_zeros(batch.batch_size, x.size(1)).index_add(0, batch.batch, x)
        return x + (total / batch.sizes.clamp(1).unsqueeze(1))[batch.batch]


def scenes(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    r"""Features, coordinates and batch of several scenes, mixed up; one of them is empty."""
    places = [torch.randperm(7**3)[:size] for size in SIZES]
    place = torch.cat(places)
    coord = torch.stack([place // 49, place // 7 % 7, place % 7], dim=1)
    batch = torch.arange(len(SIZES)).repeat_interleave(torch.tensor(SIZES))
    order = torch.randperm(len(batch))
    return torch.randn(len(batch), IN).to(dtype), coord[order], batch[order]


def network(**options: Any) -> VoxelUNet:
    r"""A network in float64 whose norms have seen some data."""
    model = VoxelUNet(IN, OUT, **{"channels": (3, 11, 13), **options}).double()
    model(*scenes(), batch_size=len(SIZES))
    return model.eval()


def test_sparse_unet_34c_has_its_parameters() -> None:
    model = VoxelUNet.spunet34c(6, 20)
    assert sum(p.numel() for p in model.parameters()) == 39_157_844
    assert model.stem.conv.kernel_size == 5
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d)]
    assert {norm.eps for norm in norms} == {1e-3}


def test_sparse_unet_34c_runs_with_context_in_its_decoder() -> None:
    coord = torch.tensor(list(product(range(17), range(17), range(2))))
    context = partial(LatentGNN, latent_dims=(5,))
    model = VoxelUNet.spunet34c(6, 20, context=context, context_levels=(0, 2, -1))
    assert [model.context[i].channels for i in ("0", "2", "4")] == [96, 128, 256]
    out = model(torch.randn(len(coord), 6), coord)
    assert out.shape == (len(coord), 20)
    out.square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"channels": (11,)},
        {"residual": True, "blocks": (0, 2, 1), "decoder_channels": (5, 7), "decoder_blocks": 2},
        {"kernel_size": 1, "stem_kernel_size": 5, "norm": lambda channels: nn.Identity()},
        {"context": partial(GlobalContext, ratio=1 / 2)},
        {"context": partial(LatentGNN, latent_dims=(5,), reduction=1), "context_levels": (0, 1, 2)},
    ],
)
def test_scenes_see_neither_each_other_nor_their_order(options: dict[str, Any]) -> None:
    model = network(**options)
    for block in model.context.values():
        for parameter in block.parameters():
            nn.init.normal_(parameter)
    x, coord, batch = scenes()
    together = model(x, coord, batch, len(SIZES))
    assert together.shape == (len(x), OUT)
    for scene in range(len(SIZES)):
        mine = batch == scene
        assert_equal(model(x[mine], coord[mine]), together[mine])
    order = torch.randperm(len(x))
    assert_equal(model(x[order], coord[order], batch[order]), together[order])


def test_place_of_a_scene_does_not_matter_where_cells_stay_whole() -> None:
    model = network()
    x, coord, batch = scenes()
    assert_equal(model(x, coord + 4 * 1237, batch), model(x, coord, batch))


@pytest.mark.parametrize("residual", [False, True])
def test_gradients_reach_everything(residual: bool) -> None:
    model = network(residual=residual, context=MeanPooling, context_levels=(0, 1, 2)).train()
    x, coord, batch = scenes()
    x.requires_grad_()
    model(x, coord, batch).square().sum().backward()
    grads = [x.grad, *(p.grad for p in model.parameters())]
    assert all(grad is not None and grad.isfinite().all() and grad.any() for grad in grads)


@pytest.mark.parametrize("context", [None, MeanPooling])
def test_graphs_found_ahead(context: Any) -> None:
    model = network(stem_kernel_size=5, context=context)
    x, coord, batch = scenes()
    expected = model(x, coord, batch, len(SIZES))
    for given in (batch, Ragged(batch, len(SIZES))):
        levels = pickle.loads(pickle.dumps(model.levels(coord, given, len(SIZES))))  # noqa: S301
        assert_equal(model(x, levels), expected)
    assert_equal(model(x, coord, Ragged(batch, len(SIZES))), expected)


def test_context_block_is_called_with_the_graphs_of_its_level() -> None:
    x, coord, batch = scenes()
    model = network(context=MeanPooling, context_levels=(-1, 0))
    bottleneck, finest = model.context["2"], model.context["0"]
    assert (bottleneck.channels, finest.channels) == (13, 3)
    bottleneck.calls.clear()
    finest.calls.clear()
    model(x, coord, batch, len(SIZES))
    coarse = coarsen(*coarsen(coord, batch)[:2])
    for block, expected in ((bottleneck, coarse.batch), (finest, batch)):
        ((nodes, graphs, options),) = block.calls
        assert torch.equal(graphs.batch, expected)
        assert graphs.batch_size == len(SIZES)
        assert nodes.shape == (len(expected), block.channels)
        assert options == {}

    one = batch == 2
    model(x[one], coord[one])
    assert bottleneck.calls[-1][1] is None


def test_context_reaches_the_whole_scene_and_nothing_else_does() -> None:
    coord = torch.tensor([[0, 0, 0], [0, 0, 4000], [0, 0, 5]])
    batch = torch.tensor([0, 0, 1])
    x = torch.randn(3, IN, dtype=torch.float64, requires_grad=True)
    for context, reached in ((None, [True, False, False]), (MeanPooling, [True, True, False])):
        model = network(channels=(31, 37, 41), context=context)
        (grad,) = torch.autograd.grad(model(x, coord, batch)[0].sum(), x)
        assert grad.any(1).tolist() == reached


@pytest.mark.parametrize("given", [False, True])
def test_blocks_that_see_positions(given: bool) -> None:
    x, coord, batch = scenes()
    block = partial(MeanPooling, affinity_channels=4)
    model = network(context=block, context_levels=(1, 0))
    pos = torch.randn(len(x), 3) if given else None
    model(x, coord, batch, len(SIZES), pos=pos)
    coarse = coarsen(coord, batch)
    levels = VoxelLevels.build(coord, batch)
    at_level = {"0": coord, "1": coarse.coord} if pos is None else {"0": pos, "1": None}
    if pos is not None:
        at_level["1"] = torch.stack(
            [pos[coarse.parent == i].mean(0) for i in coarse.parent.unique()]
        )
    for level, batch_there in (("0", batch), ("1", coarse.batch)):
        _, _, options = model.context[level].calls[-1]
        expected = position_features(at_level[level], batch_there, len(SIZES))
        assert_equal(options["affinity_x"], expected)
    assert levels.batch_size == len(SIZES)


def test_context_batch_replaces_batch_for_the_blocks_alone() -> None:
    x, coord, batch = scenes()
    model = network(context=partial(MeanPooling, affinity_channels=4))
    room = 2 * batch + (coord[:, 0] >= 4)
    model(x, coord, batch, len(SIZES), context_batch=room)
    nodes, graphs, options = model.context["2"].calls[-1]
    coarse = coarsen(*coarsen(coord, batch)[:2])
    assert torch.equal(graphs.batch, 2 * coarse.batch + (coarse.coord[:, 0] >= 1))
    assert_equal(options["affinity_x"], position_features(coarse.coord, graphs))
    assert nodes.size(0) == len(coarse.coord)

    without = network()
    expected = without(x, coord, batch)
    assert torch.equal(without(x, coord, batch, context_batch=room), expected)


def test_context_batch_gives_a_divided_voxel_to_its_smallest() -> None:
    coord = torch.tensor([[0, 0, 0], [0, 0, 1], [0, 0, 9]])
    model = network(context=MeanPooling)
    model(torch.randn(3, IN, dtype=torch.float64), coord, context_batch=torch.tensor([2, 1, 0]))
    assert model.context["2"].calls[-1][1].batch.tolist() == [1, 0]


def test_no_voxel_and_one() -> None:
    model = network(context=MeanPooling)
    x, coord, batch = scenes()
    assert model(x[:1], coord[:1]).shape == (1, OUT)
    assert model(x[:0], coord[:0], batch[:0], 3).shape == (0, OUT)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast(dtype: torch.dtype) -> None:
    model = network(context=partial(GlobalContext, ratio=1 / 2)).float()
    x, coord, batch = scenes(torch.float32)
    expected = copy.deepcopy(model).double()(x.double(), coord, batch)
    with torch.autocast("cpu", dtype=dtype):
        out = model(x, coord, batch)
    assert out.dtype == dtype
    # Rounding adds up over the layers.
    assert_equal(out, expected, 5e-2)
    out.float().square().mean().backward()
    assert all(
        p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in model.parameters()
    )


def test_learns_the_shape_around_a_voxel() -> None:
    place = torch.randperm(11**3)[:499]
    coord = torch.stack([place // 121, place // 11 % 11, place % 11], dim=1)
    model = VoxelUNet(1, 2, channels=(7, 11))
    levels = model.levels(coord)
    neighbors = torch.bincount(levels.levels[0].neighbors.edge_index[1])
    label = (neighbors > neighbors.median()).long()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        loss = nn.functional.cross_entropy(model(torch.ones(len(coord), 1), levels), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    accuracy = (model(torch.ones(len(coord), 1), levels).argmax(1) == label).float().mean()
    assert accuracy > 0.95


def test_reset_draws_all_parameters_anew() -> None:
    model = VoxelUNet(IN, OUT, context=LatentGNN, residual=True)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(11.0)
    model.reset_parameters()
    assert all((parameter != 11.0).all() for parameter in model.parameters())
    assert not model.context["2"].gamma.any()


def test_copies_and_state_dicts() -> None:
    model = network(context=MeanPooling)
    x, coord, batch = scenes()
    expected = model(x, coord, batch)
    other = network(context=MeanPooling)
    other.load_state_dict(model.state_dict())
    for same in (other, copy.deepcopy(model)):
        assert_all_equal([same(x, coord, batch)], [expected])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": ()}, "channels for at least one level"),
        ({"decoder_channels": (3, 5, 7)}, r"one level less, got \(16, 32, 64\) and \(3, 5, 7\)"),
        ({"kernel_size": 2}, "an odd kernel_size of 1 or more, got 2"),
        ({"stem_kernel_size": 4}, "an odd stem_kernel_size of 1 or more, got 4"),
        ({"blocks": (1, 2)}, r"blocks as a number or 3 of them, 0 or more, got \(1, 2\)"),
        ({"blocks": -1}, "blocks as a number or 3 of them, 0 or more, got -1"),
        ({"decoder_blocks": (2, 0)}, r"decoder_blocks as .* 2 of them, 1 or more, got \(2, 0\)"),
        (
            {"context": MeanPooling, "context_levels": (3,)},
            r"different context_levels from -3 to 2, got \(3,\)",
        ),
        ({"context": MeanPooling, "context_levels": (2, -1)}, "different context_levels"),
        ({"context": MeanPooling, "context_levels": ()}, r"context_levels .* got \(\)"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VoxelUNet(IN, OUT, **options)


def test_bad_inputs() -> None:
    model = network(context=MeanPooling)
    x, coord, batch = scenes()
    n = len(x)
    for arguments, options, message in (
        ((x[:, 1:], coord), {}, rf"x of shape \(n, 5\), got \({n}, 4\)"),
        ((x[1:], coord, batch), {}, f"x of {n} voxels, as coord has, got {n - 1}"),
        ((x, coord, batch), {"pos": coord[2:]}, f"pos of {n} voxels, as coord has, got {n - 2}"),
        ((x, coord, batch), {"context_batch": batch[3:]}, f"context_batch of {n} voxels"),
        ((x, coord, batch, 3), {}, "batch"),
        ((x, coord), {}, "every voxel once"),
        ((x, model.levels(coord, batch), batch), {}, "no batch beside VoxelLevels"),
        ((x, VoxelLevels.build(coord, batch, num_levels=2)), {}, "expected 3 levels, got 2"),
    ):
        with pytest.raises(ValueError, match=message):
            model(*arguments, **options)
    with pytest.raises(TypeError, match=r"x of torch.float64, like the weight, got torch.float32"):
        model(x.float(), coord, batch)


def test_repr() -> None:
    assert repr(VoxelUNet(2, 3, channels=(5, 7), context=lambda c: nn.Linear(c, c))) == (
        "VoxelUNet(2, 3, channels=(5, 7), kernel_size=3, "
        "context={1: Linear(in_features=7, out_features=7, bias=True)})"
    )


class AtPlaces(nn.Module):
    def __init__(self, coord: Tensor) -> None:
        super().__init__()
        self.network = VoxelUNet(IN, IN, channels=(5, 11), context=LatentGNN).double()
        self.coord = coord

    def forward(self, x: Tensor, batch: Tensor, batch_size: int) -> Tensor:
        return self.network(x, self.coord, batch, batch_size)


def test_same_bits_under_deterministic_algorithms() -> None:
    x, coord, batch = scenes()
    assert_same_bits(AtPlaces(coord), x, batch, len(SIZES))
