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


def cuts(data: Data) -> list[list[tuple[torch.Tensor, torch.Tensor]]]:
    r"""Columns of 2 m in 5 m x 3 m: what they show and what is theirs, of four parts by two."""
    place = (data.pos - data.pos.amin(dim=0))[:, :2].double()
    length = place.amax(dim=0).tolist()
    parts_of = (
        [(0, 1), (1, 2), (2, 3), (3, 4)],
        [(-0.5, 0.5), (0.5, 1.5), (1.5, 2.5), (2.5, 3.5), (3.5, 4.5)],
    )
    found = []
    for cut in (0, 1):
        columns = []
        for across, along in product(parts_of[cut], parts_of[cut][: 2 + cut]):
            shown, own = torch.ones(2, len(place), dtype=torch.bool)
            for axis, part, width in ((0, across, length[0] / 4), (1, along, length[1] / 2)):
                start, stop = part[0] * width, part[1] * width
                at = place[:, axis]
                own &= (at >= start) & ((at < stop) | (stop >= length[axis] - 1e-9))
                shown &= (at - (start + stop) / 2).abs() <= 1
            columns.append((shown, own))
        found.append(columns)
    return found


def test_fragments_vote_on_what_is_theirs(local: Segmenter) -> None:
    data = scene()
    total = torch.zeros(len(data.pos), 20)
    for cut in cuts(data):
        often = torch.zeros(len(data.pos), dtype=torch.long)
        for shown, own in cut:
            part = Data(**{key: value[shown] for key, value in data.to_dict().items()})
            total[own] += probabilities(local, part)[own[shown]]
            often += own
        assert often.tolist() == [1] * len(data.pos)
    torch.testing.assert_close(local.scores(data, Votes(fragment=2.0)), total / 2)


def test_every_place_counts_once_in_the_context_of_a_cut(segmenter: Segmenter) -> None:
    data = scene()
    looks = list(Votes(fragment=2.0).looks(data, segmenter.config))
    assert [look.context for look in looks] == [0] * 8 + [1] * 15
    for look, (shown, own) in zip(looks, [c for cut in cuts(data) for c in cut], strict=True):
        assert torch.equal(look.vertices, shown.nonzero().squeeze(1))
        assert torch.equal(look.is_own, own[shown])
        index = look.voxels.voxel_index
        voxels = set(range(len(look.voxels.coord))) - set(index[look.is_own].tolist())
        assert look.surroundings.nonzero().squeeze(1).tolist() == sorted(voxels)
        assert voxels


def test_a_scene_that_fits_into_a_fragment_is_shown_once(segmenter: Segmenter) -> None:
    data = scene()
    assert len(list(Votes(fragment=5.01).looks(data, segmenter.config))) == 1
    assert torch.equal(segmenter.scores(data, Votes(fragment=5.01)), segmenter.scores(data))
    # Cut along one axis alone.
    assert len(list(Votes(fragment=3.01).looks(data, segmenter.config))) == 3 + 4


@pytest.mark.parametrize("fragment", [0.07, 0.9, 1.7, 2.6, 4.9])
def test_columns_are_no_wider_than_asked_and_reach_beyond_their_parts(fragment: float) -> None:
    data = scene(4001)
    looks = list(Votes(fragment=fragment).looks(data, config()))
    voted = torch.zeros(len(data.pos), dtype=torch.long)
    low, high = data.pos[:, :2].aminmax(dim=0)
    inner_columns = 0
    for look in looks:
        shown = data.pos[look.vertices, :2]
        assert float((shown.amax(dim=0) - shown.amin(dim=0)).max()) <= fragment + 1e-5
        voted[look.vertices[look.is_own]] += 1
        own = shown[look.is_own]
        middle = (own.amin(dim=0) + own.amax(dim=0)) / 2
        inner = ((own.amin(dim=0) - low > 0.1) & (high - own.amax(dim=0) > 0.1)).all()
        if inner and len(own) > 100:  # so that they tell where the middle of their part is
            near = (data.pos[:, :2] - middle).abs().amax(dim=1) < 0.45 * fragment
            assert set(near.nonzero().squeeze(1).tolist()) <= set(look.vertices.tolist())
            inner_columns += 1
    assert voted.tolist() == [2] * len(data.pos)
    assert inner_columns > 0 or fragment in (0.07, 4.9)


def test_fragments_that_are_shown_together_share_their_context(segmenter: Segmenter) -> None:
    data, votes = scene(), Votes(fragment=2.0, scales=(1.0, 0.9))
    total = torch.zeros(len(data.pos), 20)
    looks = list(votes.looks(data, segmenter.config))
    assert {look.context for look in looks} == set(range(4))  # two cuts, two poses
    for context in range(4):
        parts = [look for look in looks if look.context == context]
        batch = Batch.from_data_list([look.voxels for look in parts])
        surroundings = torch.cat([look.surroundings for look in parts])
        with torch.no_grad():
            scores = segmenter(batch, surroundings.long()).softmax(dim=1)
        for i, look in enumerate(parts):
            part = scores[batch.batch == i][look.voxels.voxel_index]
            total[look.vertices[look.is_own]] += part[look.is_own]
    together = segmenter.scores(data, votes)
    torch.testing.assert_close(together, total / 4)
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


def test_vertices_have_their_turns_in_fragments_too() -> None:
    data = scene()
    data.pos[:30] = data.pos[:30] * 0.01 + torch.tensor([0.3, 0.3, 0.0])  # many in one voxel
    looks = list(Votes(fragment=2.0).looks(data, config(single=True)))
    columns = [column for cut in cuts(data) for column in cut]
    voted = torch.zeros(len(data.pos), dtype=torch.long)
    voxelize = Segmenter(config()).voxelize
    for shown, own in columns:
        part = Data(**{key: value[shown] for key, value in data.to_dict().items()})
        index = voxelize(part).voxel_index
        turns = int(torch.bincount(index)[index[own[shown]]].max())
        of_column, looks = looks[:turns], looks[turns:]
        drawn = torch.cat([look.vertices[look.is_own] for look in of_column])
        assert set(drawn.tolist()) == set(own.nonzero().squeeze(1).tolist())
        for look in of_column:
            assert len(look.vertices) == int(index.max()) + 1
            assert torch.equal(look.is_own, own[look.vertices])
        voted[drawn] += 1
    assert not looks
    assert int(voted.min()) > 0


def test_no_vertex_is_lost_at_the_edge_of_a_column() -> None:
    for _ in range(50):
        data = scene(97)
        data.pos[:, :2] *= torch.rand(2) * 3 + 0.1
        edge = float((data.pos.amax(dim=0) - data.pos.amin(dim=0))[0])  # as wide as the scene
        voted = torch.zeros(len(data.pos), dtype=torch.long)
        cut_of = set()
        for look in Votes(fragment=edge).looks(data, config()):
            voted[look.vertices[look.is_own]] += 1
            cut_of.add(look.context)
        assert voted.tolist() == [len(cut_of)] * len(data.pos)


def test_positions_that_are_not_finite(local: Segmenter) -> None:
    data = scene()
    data.pos[3, 1] = float("nan")
    with pytest.raises(ValueError, match=r"expected finite positions, got a scene of \["):
        local.scores(data, Votes(fragment=2.0))


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("count", [0, 1])
def test_no_vertex_and_one(count: int, single: bool) -> None:
    segmenter = Segmenter(config(single=single))
    for votes in (Votes(), Votes(fragment=1.0), Votes(fragment=1e-12)):
        scores = segmenter.scores(scene(count), votes)
        assert scores.shape == (count, 20)
        assert scores.isfinite().all()


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
