from collections import Counter

import pytest
import torch
from random_scenes import scene
from torch_geometric.data import Data

from latentgraph.scannet.transforms import Voxelize


def _voxels_by_loops(data: Data, size: float) -> dict[tuple[int, ...], list[int]]:
    cell = [tuple((row.double() / size).floor().long().tolist()) for row in data.pos]
    low = [min(c[axis] for c in cell) for axis in range(3)]
    members: dict[tuple[int, ...], list[int]] = {}
    for i, c in enumerate(cell):
        members.setdefault(tuple(c[a] - low[a] for a in range(3)), []).append(i)
    return members


def test_voxels_equal_loops() -> None:
    data = scene()
    voxels = Voxelize(0.3)(data)
    members = _voxels_by_loops(data, 0.3)
    assert [tuple(c) for c in voxels.coord.tolist()] == sorted(members)
    for i, place in enumerate(sorted(members)):
        inside = members[place]
        assert (voxels.voxel_index[inside] == i).all()
        mean = torch.cat([2 * data.color - 1, data.normal], dim=1)[inside].mean(dim=0)
        torch.testing.assert_close(voxels.x[i], mean)
        torch.testing.assert_close(voxels.pos[i], data.pos[inside].mean(dim=0))
        for key in ("y", "room"):
            votes = Counter(v for v in data[key][inside].tolist() if v >= 0)
            expected = min(votes, key=lambda v: (-votes[v], v)) if votes else -1
            assert int(voxels[key][i]) == expected
    assert torch.equal(voxels.vertex_y, data.y)
    assert voxels.name == "scene0000_00"


def test_by_hand() -> None:
    data = Data(
        pos=torch.tensor([[0.9, 0.1, -0.1], [0.1, 0.2, -0.9], [2.1, 0.0, 0.0], [0.5, 0.5, -0.5]]),
        color=torch.tensor([[1.0, 0, 0], [0, 0, 1.0], [0.5, 0.5, 0.5], [0.5, 0, 0]]),
        normal=torch.tensor([[0.0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 0, 1]]),
        y=torch.tensor([3, -1, -1, 3]),
    )
    voxels = Voxelize(1.0)(data)
    assert voxels.coord.tolist() == [[0, 0, 0], [2, 0, 1]]
    assert voxels.voxel_index.tolist() == [0, 0, 1, 0]
    assert voxels.y.tolist() == [3, -1]
    torch.testing.assert_close(voxels.pos[0], torch.tensor([0.5, 0.8 / 3, -0.5]))
    expected = torch.tensor([0.0, -1, -1 / 3, 0, 1 / 3, 2 / 3])
    torch.testing.assert_close(voxels.x[0], expected)
    assert voxels.x[1].tolist() == [0, 0, 0, 1, 0, 0]


def test_the_order_of_vertices_does_not_matter() -> None:
    data = scene()
    order = torch.randperm(499)
    shuffled = Data(**{key: data[key][order] for key in ("pos", "color", "normal", "y", "room")})
    one, two = Voxelize(0.25)(data), Voxelize(0.25)(shuffled)
    for key in ("x", "pos", "coord", "y", "room"):
        torch.testing.assert_close(one[key], two[key])
    assert torch.equal(one.voxel_index[order], two.voxel_index)


@pytest.mark.parametrize("inputs", [("color",), ("normal",), ("normal", "color")])
def test_inputs(inputs: tuple[str, ...]) -> None:
    data = scene()
    both = Voxelize(0.3)(data).x
    voxelize = Voxelize(0.3, inputs)
    columns = {"color": both[:, :3], "normal": both[:, 3:]}
    x = voxelize(data).x
    assert x.shape[1] == voxelize.num_features
    torch.testing.assert_close(x, torch.cat([columns[name] for name in inputs], dim=1))


def test_scenes_without_labels_and_single_and_no_vertices() -> None:
    data = scene()
    del data.y, data.room, data.name
    assert set(Voxelize(0.3)(data).keys()) == {"x", "pos", "coord", "voxel_index"}
    for count in (0, 1):
        voxels = Voxelize(0.3)(scene(count))
        assert voxels.x.shape == (count, 6)
        assert voxels.coord.tolist() == [[0, 0, 0]] * count
        assert voxels.y.shape == voxels.voxel_index.shape == (count,)


def test_no_vertex_annotated() -> None:
    data = scene()
    data.y = torch.full((499,), -1)
    assert Voxelize(0.3)(data).y.unique().tolist() == [-1]


@pytest.mark.parametrize("size", [0.0, -0.1, float("nan"), float("inf")])
def test_sizes_that_cannot_be(size: float) -> None:
    with pytest.raises(ValueError, match="voxel_size must be a positive length"):
        Voxelize(size)


def test_inputs_that_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"inputs must be of .* got \('height',\)"):
        Voxelize(0.1, ("height",))
    with pytest.raises(ValueError, match="inputs"):
        Voxelize(0.1, ())
    data = scene()
    data.pos = torch.zeros_like(data.pos)
    data.pos[0, 1] = 0.5 * 65535  # the last one that the graph of the voxels can count
    assert int(Voxelize(0.5)(data).coord.max()) == 65535
    data.pos[0, 1] += 0.5
    with pytest.raises(ValueError, match=r"too large for voxels of 0\.5 meters.* another unit"):
        Voxelize(0.5)(data)


def test_color_range() -> None:
    data = scene()
    signed, unit = (Voxelize(0.3, ("color",), r)(data).x for r in ((-1.0, 1.0), (0.0, 1.0)))
    torch.testing.assert_close(signed, 2 * unit - 1)


def test_a_voxel_shows_one_of_its_vertices() -> None:
    data, voxelize = scene(), Voxelize(0.5, single=True)
    everything = torch.cat([2 * data.color - 1, data.normal, data.pos], dim=1)
    seen = []
    for _ in range(61):
        voxels = voxelize(data)
        shown = torch.cat([voxels.x, voxels.pos], dim=1)
        chosen = (shown[:, None] == everything).all(dim=2).float().argmax(dim=1)
        assert torch.equal(everything[chosen], shown)
        assert torch.equal(voxels.voxel_index[chosen], torch.arange(len(chosen)))
        assert torch.equal(voxels.y, data.y[chosen])
        assert torch.equal(voxels.room, data.room[chosen])
        assert torch.equal(voxels.vertex_y, data.y)
        seen.append(chosen)
    count = torch.bincount(voxels.voxel_index)
    shares = torch.bincount(torch.cat(seen), minlength=len(data.pos)) * count[voxels.voxel_index]
    assert 0.9 * 61 < float(shares.float().mean()) < 1.1 * 61
    assert len(torch.cat(seen).unique()) > 0.95 * len(data.pos)
    assert voxelize(scene(0)).x.shape == (0, 6)
