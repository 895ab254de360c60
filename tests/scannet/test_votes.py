from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from torch_geometric.data import Batch, Data

from latentgraph.scannet.network_config import Context, NetworkConfig
from latentgraph.scannet.segmenter import Segmenter
from latentgraph.scannet.transforms.motions import mirrored, turned
from latentgraph.scannet.votes import Look, Votes, _size, batched


def scene(count: int = 397) -> Data:
    normal = torch.nn.functional.normalize(torch.randn(count, 3), dim=1)
    pos = torch.rand(count, 3) * torch.tensor([5.0, 3.0, 2.0])
    return Data(pos=pos, color=torch.rand(count, 3), normal=normal)


def config(**options: Any) -> NetworkConfig:
    return NetworkConfig(voxel_size=0.41, channels=(5, 7), **options)


@pytest.fixture
def local() -> Segmenter:
    return Segmenter(config()).eval()


@pytest.fixture
def segmenter() -> Segmenter:
    segmenter = Segmenter(config(context=Context("GlobalContext", {"ratio": 0.5}))).eval()
    for parameter in segmenter.parameters():
        torch.nn.init.normal_(parameter)  # blocks start as the identity
    return segmenter


def probabilities(segmenter: Segmenter, data: Data) -> torch.Tensor:
    r"""One look at everything, vertex by vertex."""
    voxels = segmenter.voxelize(data.clone())
    with torch.no_grad():
        return segmenter(voxels).softmax(dim=1)[voxels.voxel_index]


def test_votes_are_the_mean_over_all_poses(segmenter: Segmenter) -> None:
    data = scene()
    votes = Votes(rotations=(0.0, 90.0), scales=(1.0, 0.9), flip=True)
    total = torch.zeros(len(data.pos), 20)
    for flip in (False, True):
        for degrees in (0.0, 90.0):
            for scale in (1.0, 0.9):
                pose = turned(mirrored(data.clone(), x=flip), degrees, axis=2)
                pose.pos = pose.pos * scale
                total += probabilities(segmenter, pose)
    torch.testing.assert_close(segmenter.scores(data, votes), total / 8)
    torch.testing.assert_close(segmenter.scores(data), probabilities(segmenter, data))


def test_fragments_add_up_where_they_overlap(local: Segmenter) -> None:
    data = scene()
    low, size = data.pos.amin(dim=0), data.pos.amax(dim=0) - data.pos.amin(dim=0)
    x, y = (((data.pos - low) / size)[:, :2] * torch.tensor([3.0, 2.0])).unbind(dim=1)
    thirds = [[(0, 1), (1, 2), (2, 3)], [(0, 0.5), (0.5, 1.5), (1.5, 2.5), (2.5, 3)]]
    halves = [[(0, 1), (1, 2)], [(0, 0.5), (0.5, 1.5), (1.5, 2)]]
    total, often = torch.zeros(len(data.pos), 20), torch.zeros(len(data.pos), dtype=torch.long)
    for columns, rows in product(thirds, halves):
        for column, row in product(columns, rows):
            weight = torch.ones(len(data.pos))
            inside = torch.ones(len(data.pos), dtype=torch.bool)
            for place, (start, stop), end in ((x, column, 3), (y, row, 2)):
                inside &= (start <= place) & (place <= stop)
                rim = torch.full_like(place, 0.5)
                rim = rim.minimum(place - start) if start > 0 else rim
                rim = rim.minimum(stop - place) if stop < end else rim
                weight *= (2 * rim).clamp(min=1e-3)
            part = Data(**{key: value[inside] for key, value in data.to_dict().items()})
            total[inside] += weight[inside, None] * probabilities(local, part)
            often[inside] += 1
    assert set(often.tolist()) == {4}
    scores = local.scores(data, Votes(fragment=2.0))
    torch.testing.assert_close(scores, total / total.sum(dim=1, keepdim=True))


def test_a_scene_that_fits_into_a_fragment_is_shown_once(segmenter: Segmenter) -> None:
    data = scene()
    assert len(list(Votes(fragment=5.01).looks(data, segmenter.config))) == 1
    assert torch.equal(segmenter.scores(data, Votes(fragment=5.01)), segmenter.scores(data))
    # Cut along one axis alone.
    assert len(list(Votes(fragment=3.01).looks(data, segmenter.config))) == 2 + 3


def test_fragments_that_are_shown_together_share_their_context(segmenter: Segmenter) -> None:
    data, votes = scene(), Votes(fragment=2.0, scales=(1.0, 0.9))
    total = torch.zeros(len(data.pos), 20)
    looks = list(votes.looks(data, segmenter.config))
    assert {look.context for look in looks} == set(range(8))  # four tilings, two poses
    for context in range(8):
        parts = [look for look in looks if look.context == context]
        shown = torch.cat([look.vertices for look in parts])
        assert torch.equal(shown.sort().values, torch.arange(len(data.pos)))
        batch = Batch.from_data_list([look.voxels for look in parts])
        with torch.no_grad():
            scores = segmenter(batch, torch.zeros_like(batch.batch)).softmax(dim=1)
        for i, look in enumerate(parts):
            part = scores[batch.batch == i][look.voxels.voxel_index]
            total[look.vertices] += look.weight.unsqueeze(1) * part
    assert len(looks) > 2
    together = segmenter.scores(data, votes)
    torch.testing.assert_close(together, total / total.sum(dim=1, keepdim=True))
    alone = segmenter.scores(data, replace(votes, max_voxels=1))
    assert float((together - alone).abs().max()) > 1e-4


def test_fragments_that_share_their_context_are_not_parted_where_they_fit() -> None:
    def look(context: int, voxels: int) -> Look:
        coord = torch.zeros(voxels, 3, dtype=torch.long)
        return Look(torch.empty(0), Data(coord=coord), torch.empty(0), context)

    looks = [look(0, 5), look(1, 3), look(1, 7), look(2, 4), look(2, 4), look(2, 4), look(3, 2)]
    groups = [[(one.context, _size(one)) for one in group] for group in batched(looks, 11)]
    assert groups == [[(0, 5)], [(1, 3), (1, 7)], [(2, 4), (2, 4)], [(2, 4), (3, 2)]]


def test_no_more_looks_run_together_than_a_grid_holds_scenes() -> None:
    one = Data(coord=torch.zeros(1, 3, dtype=torch.long))
    looks = [Look(torch.empty(0), one, torch.empty(0), 0)] * (4096 + 3)
    assert [len(group) for group in batched(looks, 10_000)] == [4096, 3]


@pytest.mark.parametrize("max_voxels", [1, 100, 10_000])
def test_it_does_not_matter_how_many_fragments_run_together(
    local: Segmenter, max_voxels: int
) -> None:
    data = scene()
    votes = {"fragment": 1.3, "rotations": (0.0, 30.0)}
    together = local.scores(data, Votes(max_voxels=max_voxels, **votes))
    torch.testing.assert_close(together, local.scores(data, Votes(**votes)))
    looks = list(Votes(**votes).looks(data, local.config))
    groups = list(batched(looks, max_voxels))
    assert [look for group in groups for look in group] == looks
    sizes = [sum(len(look.voxels.coord) for look in group) for group in groups]
    assert all(size <= max_voxels for size, group in zip(sizes, groups, strict=True) if group[1:])


def test_every_vertex_has_its_turn_to_stand_for_its_voxel() -> None:
    segmenter = Segmenter(config(single=True)).eval()
    data = scene()
    voxel_index = segmenter.voxelize(data.clone()).voxel_index
    seen = []
    for look in Votes().looks(data, segmenter.config):
        assert torch.equal(voxel_index[look.vertices].sort().values, voxel_index.unique())
        features = torch.cat([2 * data.color - 1, data.normal], dim=1)[look.vertices]
        torch.testing.assert_close(look.voxels.x[look.voxels.voxel_index], features)
        seen.append(look.vertices)
    assert len(seen) == int(torch.bincount(voxel_index).max())
    assert torch.cat(seen).unique().tolist() == list(range(len(data.pos)))
    assert torch.equal(segmenter.predict(data), segmenter.predict(data))


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("count", [0, 1])
def test_no_vertex_and_one(count: int, single: bool) -> None:
    segmenter = Segmenter(config(single=single))
    for votes in (Votes(), Votes(fragment=1.0)):
        assert segmenter.scores(scene(count), votes).shape == (count, 20)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rotations": ()}, "at least one rotation"),
        ({"rotations": (float("nan"),)}, "rotations in degrees"),
        ({"scales": (0.0,)}, "scales above 0"),
        ({"fragment": 0.0}, "a fragment of some meters, got 0.0"),
        ({"max_voxels": 0}, "at least 1, got 0"),
    ],
)
def test_votes_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Votes(**options)


def test_many_points_in_one_place_are_told() -> None:
    data = scene(300)
    data.pos[:270] = 0
    segmenter = Segmenter(config(single=True)).eval()
    with pytest.warns(UserWarning, match=r"a voxel with 27\d vertices, .* takes as many looks"):
        segmenter.scores(data, Votes())
