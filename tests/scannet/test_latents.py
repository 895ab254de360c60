from pathlib import Path

import pytest
import torch

from latentgraph.nn import LatentGNN
from latentgraph.scannet import ScanNet
from latentgraph.scannet.latents import latents_of
from latentgraph.scannet.network_config import Context, NetworkConfig
from latentgraph.scannet.segmenter import Segmenter

LATENTS = Context("LatentGNN", {"latent_dims": [3, 5], "reduction": 1, "gamma_init": 0.7})


def segmenter(context: Context | None = LATENTS) -> Segmenter:
    config = NetworkConfig(
        voxel_size=0.3, channels=(5, 7, 11), context=context, context_levels=(0, 2)
    )
    return Segmenter(config).eval()


def test_a_vertex_hears_what_its_voxel_hears(rooms: Path) -> None:
    network, scene = segmenter(), ScanNet(rooms, "val")[0]
    found = latents_of(network, scene)
    assert [latents.title for latents in found] == [
        f"network.context.{level}, kernel {m}" for level in (2, 0) for m in (0, 1)
    ]
    # Blocks of the same voxels, found here from the coordinates alone.
    voxels = network.voxelize(scene.clone())
    seen: dict[str, list[torch.Tensor]] = {}

    def keep(block: LatentGNN, given: tuple[torch.Tensor, ...], options: dict[str, object]) -> None:
        options = {"affinity_x": options.get("affinity_x")}
        _, kernels = LatentGNN.forward(block, *given, **options, return_affinity=True)
        seen[str(block.channels)] = [kernel.latent_to_visible for kernel in kernels]

    for block in network.network.context.values():
        block.register_forward_pre_hook(keep, with_kwargs=True)
    with torch.no_grad():
        network(voxels)
    for latents, level, m in zip(found, (2, 2, 0, 0), (0, 1, 0, 1), strict=True):
        cell = voxels.coord[voxels.voxel_index] >> level
        _, node = torch.unique(cell, dim=0, return_inverse=True)
        expected = seen["11" if level else "5"][m]
        heard = torch.from_numpy(latents.affinity[latents.node])
        torch.testing.assert_close(heard, expected[node], rtol=1e-5, atol=1e-6)
        assert len(heard.unique(dim=0)) > 2


def test_one_block_by_its_name(rooms: Path) -> None:
    network, scene = segmenter(), ScanNet(rooms, "val")[0]
    found = latents_of(network, scene, at="network.context.0")
    assert [latents.affinity.shape[1] for latents in found] == [3, 5]
    with pytest.raises(ValueError, match=r"block of network\.context\.0, .*2, got 'network'"):
        latents_of(network, scene, at="network")


def test_networks_without_latent_nodes(rooms: Path) -> None:
    scene = ScanNet(rooms, "val")[0]
    assert latents_of(segmenter(None), scene) == []
    assert latents_of(segmenter(Context("GlobalContext", {"ratio": 0.5})), scene) == []
    with pytest.raises(ValueError, match="expected LatentGNN"):
        latents_of(segmenter(None), scene, at="network.context.0")
