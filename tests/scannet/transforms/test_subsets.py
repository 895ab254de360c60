import torch
from random_scenes import scene
from torch_geometric.data import Data

from latentgraph.scannet.transforms import RandomCrop, RandomDropout
from latentgraph.scannet.transforms.subsets import subset


def rows(data: Data) -> list[tuple[float, ...]]:
    r"""What belongs to each vertex, together."""
    values = [data.pos, data.color, data.normal, data.y[:, None], data.room[:, None]]
    return [tuple(row) for row in torch.cat(values, dim=1).tolist()]


def test_everything_of_a_vertex_stays_together() -> None:
    data = scene()
    index = torch.tensor([7, 3, 101])
    assert rows(subset(data, index)) == [rows(data)[i] for i in index]
    assert subset(data, index).name == data.name


def test_dropout_leaves_out_a_share() -> None:
    data = scene()
    kept = [RandomDropout(ratio=0.3, p=1.0)(data) for _ in range(53)]
    assert {len(part.pos) for part in kept} == {499 - int(0.3 * 499)}
    everything = rows(data)
    places = [[everything.index(row) for row in rows(part)] for part in kept[:3]]
    assert all(place == sorted(set(place)) for place in places)
    assert places[0] != places[1]
    often = torch.stack([(part.pos[:, None] == data.pos).all(dim=2).any(dim=0) for part in kept])
    assert float(often.float().mean(dim=0).min()) > 0.4
    assert rows(RandomDropout(p=0.0)(data)) == everything
    assert len(RandomDropout(0.5, p=1.0)(scene(1)).pos) == 1
    assert len(RandomDropout(0.5, p=1.0)(scene(0)).pos) == 0


def test_a_crop_is_what_lies_around_a_vertex() -> None:
    data = scene()
    middles = set()
    for _ in range(31):
        part = RandomCrop(97)(data)
        assert len(part.pos) == 97
        distance = (data.pos[:, None] - data.pos).norm(dim=2)
        inside = (data.pos[:, None] == part.pos).all(dim=2).any(dim=1)
        furthest = distance.masked_fill(~inside, 0).amax(dim=1)
        beyond = distance.masked_fill(inside, torch.inf).amin(dim=1)
        middle = int((furthest <= beyond + 1e-6).nonzero()[0])
        assert inside[middle]
        middles.add(middle)
    assert len(middles) > 10
    assert rows(RandomCrop(499)(data)) == rows(data)
    assert len(RandomCrop(3)(scene(0)).pos) == 0
