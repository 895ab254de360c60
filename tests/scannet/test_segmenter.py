from pathlib import Path

import pytest
import torch
from torch_geometric.data import Batch

from latentgraph.scannet import ScanNet
from latentgraph.scannet.network_config import Context, NetworkConfig, TrainedOn
from latentgraph.scannet.segmenter import Segmenter


@pytest.fixture
def segmenter() -> Segmenter:
    context = Context("LatentGNN", {"latent_dims": [3], "gamma_init": 0.7})
    return Segmenter(NetworkConfig(voxel_size=0.4, channels=(5, 11), context=context))


def test_every_vertex_gets_the_class_of_its_voxel(segmenter: Segmenter, rooms: Path) -> None:
    scene = ScanNet(rooms, "val")[0]
    segmenter.train()
    keys = set(scene.keys())
    predicted = segmenter.predict(scene)
    assert segmenter.training
    assert set(scene.keys()) == keys
    segmenter.eval()
    voxels = segmenter.voxelize(scene)
    with torch.no_grad():
        best = segmenter(voxels).argmax(dim=1)
    assert predicted.shape == (len(scene.pos),)
    assert len(predicted.unique()) > 1
    assert torch.equal(predicted, best[voxels.voxel_index])


def test_a_batch_is_its_scenes(segmenter: Segmenter, rooms: Path) -> None:
    scenes = [segmenter.voxelize(scene) for scene in ScanNet(rooms, "val")]
    segmenter.eval().double()
    for scene in scenes:
        scene.x, scene.pos = scene.x.double(), scene.pos.double()
    with torch.no_grad():
        alone = torch.cat([segmenter(scene) for scene in scenes])
        together = segmenter(Batch.from_data_list(scenes))
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-10 * float(alone.abs().max()))


def test_scenes_without_labels_are_predicted(segmenter: Segmenter, rooms: Path) -> None:
    scene = ScanNet(rooms, "val")[0]
    with_labels = segmenter.predict(scene)
    del scene.y
    assert torch.equal(segmenter.predict(scene), with_labels)


def test_configurations_survive_plain_values() -> None:
    config = NetworkConfig(context=Context("GlobalContext", {"pool": "mean"}))
    assert NetworkConfig.from_dict(config.as_dict()) == config
    assert NetworkConfig.from_dict(NetworkConfig().as_dict()) == NetworkConfig()


def test_what_it_was_trained_on() -> None:
    assert TrainedOn("rooms", 2).generated
    assert TrainedOn("apartments", 2).generated
    assert not TrainedOn("scans", 2).generated
