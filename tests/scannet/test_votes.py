from typing import Any

import pytest
import torch
from torch_geometric.data import Data

from latentgraph.models import cuts, in_columns
from latentgraph.scannet.network_config import Context, NetworkConfig
from latentgraph.scannet.segmenter import Segmenter
from latentgraph.scannet.transforms.motions import mirrored, turned
from latentgraph.scannet.votes import Look, Votes, batched


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


def test_fragments_of_two_cuts_are_averaged(segmenter: Segmenter) -> None:
    data = scene()
    voxels = segmenter.voxelize(data.clone())
    found = cuts(voxels.coord, 4.0 / 0.41, 2)
    assert len(found) == 2
    total = torch.zeros(voxels.num_nodes, 20)
    for cut in found:
        inputs = (voxels.x, voxels.coord, voxels.pos, cut)
        total += in_columns(segmenter.network, *inputs).softmax(dim=1)
    scores = segmenter.scores(data, Votes(fragment=4.0))
    torch.testing.assert_close(scores, (total / 2)[voxels.voxel_index])
    whole = segmenter.scores(data)
    assert float((scores - whole).abs().max()) > 1e-6


def test_fragments_of_every_pose_are_averaged(segmenter: Segmenter) -> None:
    data, poses = scene(), (0.0, 90.0)
    expected = sum(segmenter.scores(data, Votes((angle,), fragment=2.0)) for angle in poses)
    found = segmenter.scores(data, Votes(poses, fragment=2.0))
    torch.testing.assert_close(found, expected / 2)


def test_a_scene_that_fits_into_a_fragment_is_shown_whole(segmenter: Segmenter) -> None:
    data = scene()
    found = segmenter.scores(data, Votes(fragment=5.5))
    torch.testing.assert_close(found, segmenter.scores(data))


@pytest.mark.parametrize("max_voxels", [1, 100, 10_000])
def test_it_does_not_matter_how_many_voxels_run_together(
    segmenter: Segmenter, max_voxels: int
) -> None:
    data = scene()
    for votes in ({"fragment": 1.3, "rotations": (0.0, 30.0)}, {"flip": True}):
        together = segmenter.scores(data, Votes(max_voxels=max_voxels, **votes))
        torch.testing.assert_close(together, segmenter.scores(data, Votes(**votes)))


def test_groups_of_looks_are_no_larger_than_asked() -> None:
    looks = [
        Look(torch.empty(0), Data(coord=torch.zeros(n, 3, dtype=torch.long)))
        for n in (5, 3, 7, 4, 4, 4, 13, 2)
    ]
    groups = [[len(one.voxels.coord) for one in group] for group in batched(looks, 11)]
    assert groups == [[5, 3], [7, 4], [4, 4], [13], [2]]


def test_no_more_looks_run_together_than_a_grid_holds_scenes() -> None:
    one = Data(coord=torch.zeros(1, 3, dtype=torch.long))
    looks = [Look(torch.empty(0), one)] * (4096 + 3)
    assert [len(group) for group in batched(looks, 10_000)] == [4096, 3]


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


def test_single_vertices_in_fragments() -> None:
    segmenter = Segmenter(config(single=True)).eval()
    data = scene()
    found = segmenter.scores(data, Votes(fragment=2.0))
    torch.testing.assert_close(found.sum(dim=1), torch.ones(len(found)))
    reaching = segmenter.scores(data, Votes(fragment=9.0))
    torch.testing.assert_close(reaching, segmenter.scores(data))


@pytest.mark.parametrize("fragment", [None, 2.0])
def test_positions_that_are_not_finite(segmenter: Segmenter, fragment: float | None) -> None:
    data = scene()
    data.pos[3, 1] = float("nan")
    with pytest.raises(ValueError, match=r"a scene of \[.*nan.*\] meters is too large"):
        segmenter.scores(data, Votes(fragment=fragment))


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
