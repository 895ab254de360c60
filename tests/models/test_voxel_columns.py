import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from latentgraph.models import Cut, VoxelUNet, cuts, in_columns
from latentgraph.nn import GlobalContext, LatentGNN, NonLocal

POSITIONS: dict[str, Any] = {"latent_dims": (5,), "affinity_channels": 4, "reduction": 1}


def grid(count: int = 331, edge: int = 31) -> torch.Tensor:
    coord = torch.stack([torch.randint(0, n, (count,)) for n in (edge, edge - 8, 7)], 1)
    return coord.unique(dim=0)[torch.randperm(len(coord.unique(dim=0)))]


def network(context: Any = None, levels: tuple[int, ...] = (-1,), **options: Any) -> VoxelUNet:
    made = VoxelUNet(3, 5, (7, 8, 9), context=context, context_levels=levels, **options).double()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    return made.eval()


@pytest.mark.parametrize("levels", [(-1,), (0, 1), (2, 0, 1)])
@pytest.mark.parametrize(
    "block",
    [
        None,
        partial(GlobalContext, ratio=0.5),
        partial(LatentGNN, **POSITIONS),
        NonLocal,
    ],
    ids=["none", "GlobalContext", "LatentGNN", "NonLocal"],
)
@pytest.mark.parametrize("max_voxels", [1, 700, 100_000])
def test_columns_that_reach_everything_give_what_the_whole_grid_gives(
    block: Any, levels: tuple[int, ...], max_voxels: int
) -> None:
    model, coord = network(block, levels), grid()
    x, pos = torch.randn(len(coord), 3).double(), torch.rand(len(coord), 3).double()
    for cut in cuts(coord, 17, 3):
        assert len(cut.start) >= 6
        found = in_columns(model, x, coord, pos, cut._replace(reach=cut.size * 9), max_voxels)
        torch.testing.assert_close(found, model(x, coord, pos=pos), rtol=1e-9, atol=1e-9)


def test_columns_miss_what_is_beyond_their_reach_alone() -> None:
    coord = torch.tensor([[i, 0, 0] for i in range(40)])
    model = VoxelUNet(3, 5, (7,), blocks=1, decoder_blocks=1).double().eval()
    x = torch.randn(40, 3).double()
    whole = model(x, coord).detach()
    one = torch.tensor([1, 1])

    def deviation(reach: int) -> torch.Tensor:
        cut = Cut(torch.tensor([[0, 0], [16, 0], [32, 0]]), 16 * one, reach * one)
        return (in_columns(model, x, coord, coord.double(), cut) - whole).abs().amax(dim=1)

    assert float(deviation(8).max()) < 1e-12
    near = deviation(0)
    assert float(near[[15, 16, 31, 32]].min()) > 1e-6
    assert float(near[[7, 23, 39]].max()) < 1e-12


@pytest.mark.parametrize("width", [0.0, 1e-300, 3.0, 9.0, 17.5, 23.0, 30.9, 31.0, 1e300])
def test_each_voxel_is_in_one_part_and_columns_are_no_wider_than_asked(width: float) -> None:
    coord = grid(2003)
    found = cuts(coord, width, 3)
    assert len(found) == (2 if 8 < width < 31 and found[0].size.max() > 4 else 1)
    for cut in found:
        parts = []
        for start in cut.start:
            place = coord[:, :2] - start
            parts.append(((place >= 0) & (place < cut.size)).all(dim=1))
            shown = coord[((place >= -cut.reach) & (place < cut.size + cut.reach)).all(dim=1), :2]
            assert int((shown.amax(dim=0) - shown.amin(dim=0)).max()) < max(width, 4)
        own = torch.stack(parts)
        assert own.any(dim=1).all()
        assert own.sum(dim=0).tolist() == [1] * len(coord)
        coarse = torch.cat([coord[:, :2] >> 2, own.int().argmax(dim=0).unsqueeze(1)], dim=1)
        assert len(coarse.unique(dim=0)) == len(coarse[:, :2].unique(dim=0))
        if 8 < width < 31:
            assert int(cut.size[0]) <= 0.75 * width
            assert int(cut.reach[0]) >= (4 if width > 12 else 2)
    if len(found) == 2:
        assert found[1].start.amin(dim=0)[0] == -(found[0].size[0] // 2 // 4 * 4)


def test_one_column_is_the_whole_grid() -> None:
    coord = grid()
    (cut,) = cuts(coord, 31, 3)
    assert cut.start.tolist() == [[0, 0]]
    model, x = (
        network(partial(GlobalContext, ratio=0.5)),
        torch.randn(len(coord), 3).double(),
    )
    assert torch.equal(in_columns(model, x, coord, coord.double(), cut), model(x, coord))


@pytest.mark.parametrize("most_columns", [3, 4096])
def test_columns_run_together_up_to_a_number(
    most_columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latentgraph.models.voxel_columns.MOST_COLUMNS", most_columns)
    model, coord = network(partial(GlobalContext, ratio=0.5)), grid(1009)
    calls: list[int] = []
    model.stem.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    (cut, *_), x = cuts(coord, 17, 3), torch.randn(len(coord), 3).double()
    columns = []
    for start in cut.start:
        place = coord[:, :2] - start
        shown = ((place >= -cut.reach) & (place < cut.size + cut.reach)).all(dim=1)
        columns.append(int(shown.sum()))
    max_voxels = 100_000 if most_columns == 3 else 500
    in_columns(model, x, coord, coord.double(), cut, max_voxels)
    assert sum(calls) == 2 * sum(columns)  # once to the block, once to the end
    if most_columns == 3:
        assert len(calls) == 2 * math.ceil(len(columns) / 3)
    else:
        assert max(columns) < max(calls) <= 500


def test_integers_of_any_kind_and_autocast() -> None:
    model, coord = network(partial(GlobalContext, ratio=0.5), (0, -1)), grid()
    x, cut = torch.randn(len(coord), 3).double(), cuts(coord.int(), 17, 3)[0]
    expected = in_columns(model, x, coord, coord.double(), cut)
    assert torch.equal(in_columns(model, x, coord.int(), coord.double(), cut), expected)
    model.float()
    with torch.autocast("cpu", torch.bfloat16):
        found = in_columns(model, x.float(), coord, coord.float(), cut)
        assert found.dtype == model(x.float(), coord).dtype
    torch.testing.assert_close(found.double(), expected, rtol=0.1, atol=0.1 * float(expected.max()))


def test_bad_input_is_refused() -> None:
    model, coord = network(partial(GlobalContext, ratio=0.5)), grid()
    x, pos, cut = torch.randn(len(coord), 3).double(), coord.double(), cuts(coord, 17, 3)[0]
    for message, arguments in {
        "max_voxels of 1 or more, got 0": (x, coord, pos, cut, 0),
        "x, coord and pos of as many voxels": (torch.cat([x, x]), coord, pos, cut),
        "got .*, 3$": (x, coord, pos[:3], cut),
        "a cut of these": (x, coord + 5000, pos, cut._replace(start=cut.start + 5000 - 8)),
        "voxels, got one of 0": (x, coord + 5000, pos, cuts(coord, 99, 3)[0]),
    }.items():
        with pytest.raises(ValueError, match=message):
            in_columns(model, *arguments)
    with pytest.raises(ValueError, match="evaluation mode"):
        in_columns(model.train(), x, coord, pos, cut)
    for width in (float("nan"), -1.0):
        with pytest.raises(ValueError, match="a width of 0 or more"):
            cuts(coord, width, 3)
    with pytest.raises(ValueError, match="expected voxels"):
        cuts(coord[:0], 3, 3)
