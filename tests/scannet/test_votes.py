from dataclasses import replace
from typing import Any

import pytest
import torch
from torch_geometric.data import Batch, Data

from latentgraph.scannet.network_config import Context, NetworkConfig
from latentgraph.scannet.segmenter import Segmenter
from latentgraph.scannet.transforms.motions import mirrored, turned
from latentgraph.scannet.votes import Votes, batched


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
    votes = Votes(fragment=2.0)
    total, often = torch.zeros(len(data.pos), 20), torch.zeros(len(data.pos), dtype=torch.long)
    low = data.pos[:, :2].amin(dim=0)
    for x in range(4):
        for y in range(2):
            place = data.pos[:, :2] - low - torch.tensor([float(x), float(y)])
            inside = ((place >= 0) & (place <= 2)).all(dim=1)
            weight = (1 - (place[inside] - 1).abs()).clamp(min=1e-3).prod(dim=1, keepdim=True)
            part = Data(**{key: value[inside] for key, value in data.to_dict().items()})
            total[inside] += weight * probabilities(local, part)
            often[inside] += 1
    assert {1, 2, 4} <= set(often.tolist())
    torch.testing.assert_close(local.scores(data, votes), total / total.sum(dim=1, keepdim=True))


def test_fragments_that_are_shown_together_share_their_context(segmenter: Segmenter) -> None:
    data, votes = scene(), Votes(fragment=2.0, scales=(1.0, 0.9))
    total = torch.zeros(len(data.pos), 20)
    looks = list(votes.looks(data, segmenter.config))
    assert {look.context for look in looks} == set(range(8))  # four tilings, two poses
    for context in range(8):
        parts = [look for look in looks if look.context == context]
        shown = torch.cat([look.vertices for look in parts])
        assert len(shown) == len(shown.unique())
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
