import pytest
import torch
from random_scenes import scene
from torch_geometric.data import Data

from latentgraph.scannet.transforms import ElasticDistortion
from latentgraph.scannet.transforms.elastic import interpolate


def test_interpolation_is_linear_between_corners() -> None:
    grid = torch.randn(3, 5, 7, 4, dtype=torch.float64)
    place = torch.rand(53, 3, dtype=torch.float64) * torch.tensor([4.0, 6.0, 3.0]) * 0.999
    values, slopes = interpolate(grid, place)
    for i, p in enumerate(place):
        cell = p.floor().long()
        expected = torch.zeros(3, dtype=torch.float64)
        for x in (0, 1):
            for y in (0, 1):
                for z in (0, 1):
                    at = cell + torch.tensor([x, y, z])
                    weight = (1 - (p - at).abs()).prod()
                    expected += weight * grid[:, at[0], at[1], at[2]]
        torch.testing.assert_close(values[i], expected)
    step = 1e-6
    inside = ((place % 1 > 0.01) & (place % 1 < 0.99)).all(dim=1)
    for axis in range(3):
        further = place.clone()
        further[:, axis] += step
        change = (interpolate(grid, further)[0] - values) / step
        torch.testing.assert_close(slopes[inside, axis], change[inside], atol=1e-6, rtol=1e-5)


def test_near_vertices_move_alike_and_far_ones_do_not() -> None:
    a = torch.rand(997, 3, dtype=torch.float64) * 10
    b = a + 0.003 * torch.randn_like(a)
    moved = ElasticDistortion((0.8,), (1.6,), p=1.0)(Data(pos=torch.cat([a, b]))).pos
    by = moved - torch.cat([a, b])
    assert float((by[:997] - by[997:]).norm(dim=1).mean()) < 0.05 * float(by.norm(dim=1).mean())
    assert float((by[:997] - by[:997].roll(1, 0)).norm(dim=1).mean()) > float(by.norm(dim=1).mean())
    # Twice averaged over 27 corners, noise of 1.6 keeps this much.
    assert 0.1 < float(by.std()) < 0.4


def test_normals_stay_at_right_angles_to_their_surface() -> None:
    # A bent sheet, its tangents by finite differences.
    u, v = torch.rand(2, 499, dtype=torch.float64) * 3

    def sheet(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return torch.stack([u, v, (u * 2).sin() * 0.3], dim=1)

    step = 1e-7
    pos = torch.cat([sheet(u, v), sheet(u + step, v), sheet(u, v + step)])
    normal = torch.linalg.cross(pos[499:998] - pos[:499], pos[998:] - pos[:499])
    normal = torch.nn.functional.normalize(normal, dim=1).repeat(3, 1)
    moved = ElasticDistortion((0.7,), (0.5,), p=1.0)(Data(pos=pos, normal=normal))
    tangents = (moved.pos[499:998] - moved.pos[:499], moved.pos[998:] - moved.pos[:499])
    tangents = [torch.nn.functional.normalize(t, dim=1) for t in tangents]
    same_cell = torch.ones(499, dtype=torch.bool)
    for tangent in tangents:
        dot = (tangent * moved.normal[:499]).sum(dim=1).abs()
        same_cell &= dot < 1e-4  # but where a step crosses into the next cell
    assert float(same_cell.float().mean()) > 0.99
    crossed = torch.linalg.cross(tangents[0], tangents[1])
    assert float((crossed * moved.normal[:499]).sum(dim=1).gt(0).float().mean()) > 0.99
    torch.testing.assert_close(moved.normal.norm(dim=1), torch.ones(3 * 499).double())


def test_scenes_without_normals_with_dead_ones_and_without_vertices() -> None:
    data = scene()
    data.normal[:7] = 0
    assert not ElasticDistortion(p=1.0)(data).normal[:7].any()
    del data.normal
    assert set(ElasticDistortion(p=1.0)(data).keys()) == set(data.keys())
    for count in (0, 1):
        assert ElasticDistortion(p=1.0)(scene(count)).pos.shape == (count, 3)
    assert torch.equal(ElasticDistortion(p=0.0)(data).pos, data.pos)


def test_arguments_that_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"for each field, got \(0.2,\) and \(\)"):
        ElasticDistortion((0.2,), ())
    with pytest.raises(ValueError, match="granularity above 0"):
        ElasticDistortion((0.0,), (1.0,))
