from collections import Counter

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform, Compose

from latentgraph.scannet.transforms import (
    ColorJitter,
    RandomFlip,
    RandomJitter,
    RandomRotateZ,
    RandomScale,
    Voxelize,
)

RANDOM = [
    RandomRotateZ(),
    RandomFlip(),
    RandomScale(0.8, 1.2),
    RandomJitter(0.01),
    ColorJitter(),
]


def _scene(num_vertices: int = 499, classes: int = 5) -> Data:
    return Data(
        pos=torch.rand(num_vertices, 3) * torch.tensor([3.0, 2.0, 1.0]) - 0.7,
        color=torch.rand(num_vertices, 3),
        normal=torch.nn.functional.normalize(torch.randn(num_vertices, 3), dim=1),
        y=torch.randint(-1, classes, (num_vertices,)),
        room=torch.randint(0, 2, (num_vertices,)),
        name="scene0000_00",
    )


def _voxels_by_loops(data: Data, size: float) -> dict[tuple[int, ...], list[int]]:
    cell = [tuple((row.double() / size).floor().long().tolist()) for row in data.pos]
    low = [min(c[axis] for c in cell) for axis in range(3)]
    members: dict[tuple[int, ...], list[int]] = {}
    for i, c in enumerate(cell):
        members.setdefault(tuple(c[a] - low[a] for a in range(3)), []).append(i)
    return members


def test_voxels_equal_loops() -> None:
    data = _scene()
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
    data = _scene()
    order = torch.randperm(499)
    shuffled = Data(**{key: data[key][order] for key in ("pos", "color", "normal", "y", "room")})
    one, two = Voxelize(0.25)(data), Voxelize(0.25)(shuffled)
    for key in ("x", "pos", "coord", "y", "room"):
        torch.testing.assert_close(one[key], two[key])
    assert torch.equal(one.voxel_index[order], two.voxel_index)


@pytest.mark.parametrize("inputs", [("color",), ("normal",), ("normal", "color")])
def test_inputs(inputs: tuple[str, ...]) -> None:
    data = _scene()
    both = Voxelize(0.3)(data).x
    voxelize = Voxelize(0.3, inputs)
    columns = {"color": both[:, :3], "normal": both[:, 3:]}
    x = voxelize(data).x
    assert x.shape[1] == voxelize.num_features
    torch.testing.assert_close(x, torch.cat([columns[name] for name in inputs], dim=1))


def test_scenes_without_labels_and_single_and_no_vertices() -> None:
    data = _scene()
    del data.y, data.room, data.name
    assert set(Voxelize(0.3)(data).keys()) == {"x", "pos", "coord", "voxel_index"}
    for count in (0, 1):
        voxels = Voxelize(0.3)(_scene(count))
        assert voxels.x.shape == (count, 6)
        assert voxels.coord.tolist() == [[0, 0, 0]] * count
        assert voxels.y.shape == voxels.voxel_index.shape == (count,)


def test_no_vertex_annotated() -> None:
    data = _scene()
    data.y = torch.full((499,), -1)
    assert Voxelize(0.3)(data).y.unique().tolist() == [-1]


def test_the_scene_is_left_as_it_was() -> None:
    data = _scene()
    before = data.clone()
    for transform in [Voxelize(0.3), *RANDOM]:
        transform(data)
        for key, value in before.to_dict().items():
            assert value == data[key] if isinstance(value, str) else torch.equal(value, data[key])


@pytest.mark.parametrize("size", [0.0, -0.1, float("nan"), float("inf")])
def test_sizes_that_cannot_be(size: float) -> None:
    with pytest.raises(ValueError, match="voxel_size must be a positive length"):
        Voxelize(size)


def test_inputs_that_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"inputs must be of .* got \('height',\)"):
        Voxelize(0.1, ("height",))
    with pytest.raises(ValueError, match="inputs"):
        Voxelize(0.1, ())
    data = _scene()
    data.pos = data.pos * 1e6
    with pytest.raises(ValueError, match=r"too large for voxels of 0\.02 meters"):
        Voxelize(0.02)(data)


def _distances(pos: Tensor) -> Tensor:
    return (pos[:97, None] - pos[None, :97]).norm(dim=2)


def _slopes(data: Data) -> Tensor:
    r"""How far each vertex lies along the normal of each other one: no turn changes it."""
    return data.normal @ data.pos.T - (data.normal * data.pos).sum(dim=1, keepdim=True)


@pytest.mark.parametrize("transform", [RandomRotateZ(), RandomFlip()])
def test_turns_and_mirrors_move_normals_along(transform: BaseTransform) -> None:
    data = _scene()
    moved = transform(data)
    torch.testing.assert_close(_slopes(moved), _slopes(data), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(_distances(moved.pos), _distances(data.pos), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(moved.pos[:, 2], data.pos[:, 2])
    torch.testing.assert_close(moved.normal[:, 2], data.normal[:, 2])


def test_angles_stay_in_their_range_and_fill_it() -> None:
    data = Data(pos=torch.tensor([[1.0, 0.0, 5.0]]))
    moved = torch.cat([RandomRotateZ(30.0)(data).pos for _ in range(199)])
    angle = torch.atan2(moved[:, 1], moved[:, 0]).rad2deg()
    assert float(angle.abs().max()) <= 30.001
    assert float(angle.min()) < -25
    assert float(angle.max()) > 25


def test_flips_of_both_axes_and_of_none() -> None:
    data = Data(pos=torch.tensor([[1.0, 2.0, 3.0]]))
    seen = {tuple(RandomFlip()(data).pos[0].tolist()) for _ in range(61)}
    assert seen == {(x, y, 3.0) for x in (1.0, -1.0) for y in (2.0, -2.0)}
    assert torch.equal(RandomFlip(0.0)(data).pos, data.pos)
    assert torch.equal(RandomFlip(1.0)(data).pos, torch.tensor([[-1.0, -2.0, 3.0]]))


def test_scale() -> None:
    data = _scene()
    factors = []
    for _ in range(53):
        moved = RandomScale(0.5, 2.0)(data)
        factor = moved.pos[0, 0] / data.pos[0, 0]
        torch.testing.assert_close(moved.pos, data.pos * factor)
        assert torch.equal(moved.normal, data.normal)
        factors.append(float(factor))
    assert 0.5 <= min(factors) < 0.7
    assert 1.8 < max(factors) <= 2.0


def test_jitter() -> None:
    data = _scene(9973)
    moved = RandomJitter(0.01)(data).pos - data.pos
    assert float(moved.std()) == pytest.approx(0.01, rel=0.05)
    assert float(moved.abs().max()) <= 0.0401
    assert torch.equal(RandomJitter(0.0)(data).pos, data.pos)


def test_color_jitter() -> None:
    data = _scene(9973)
    data.color = torch.full_like(data.color, 0.5)
    noise = ColorJitter(shift=0.05, sigma=0.02)(data).color - data.color
    assert float((noise - noise.mean(dim=0)).std()) == pytest.approx(0.02, rel=0.05)
    shifts = torch.stack([ColorJitter(0.05, 0.0)(data).color[0] - 0.5 for _ in range(997)])
    assert float(shifts.std()) == pytest.approx(0.05, rel=0.1)
    bright = ColorJitter(3.0, 3.0)(data).color
    assert float(bright.min()) == 0.0
    assert float(bright.max()) == 1.0


def test_a_seed_repeats_them() -> None:
    data, transform = _scene(), Compose([*RANDOM, Voxelize(0.1)])
    results = []
    for seed in (11, 11, 13):
        torch.manual_seed(seed)
        results.append(transform(data).x)
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


@pytest.mark.parametrize(
    ("transform", "arguments"),
    [
        (RandomRotateZ, (-1.0,)),
        (RandomFlip, (1.5,)),
        (RandomScale, (1.2, 0.8)),
        (RandomScale, (0.0, 1.0)),
        (RandomJitter, (float("nan"),)),
        (ColorJitter, (-0.1,)),
    ],
)
def test_arguments_that_cannot_be(
    transform: type[BaseTransform], arguments: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError, match="got"):
        transform(*arguments)
