r"""The latent nodes of the blocks in a network, on the vertices of a scene."""

from __future__ import annotations

from torch_geometric.data import Data

from latentgraph.inspection import affinities, record
from latentgraph.inspection.calls import find_blocks
from latentgraph.nn import LatentGNN
from latentgraph.scannet.colorings import Latents
from latentgraph.scannet.segmenter import Segmenter
from latentgraph.voxel.grid import coarsen


def latents_of(segmenter: Segmenter, scene: Data, at: str | None = None) -> list[Latents]:
    r"""What every vertex hears from the latent nodes, :math:`S`, kernel by kernel.

    Args:
        segmenter: The network.
        scene: A scene as :class:`~latentgraph.scannet.ScanNet` holds it.
        at: Name of a :class:`~latentgraph.nn.LatentGNN` block of the network, None for all.

    Raises:
        ValueError: If the network has no block of this name.
    """
    if at is None and not any(isinstance(module, LatentGNN) for module in segmenter.modules()):
        return []
    blocks = find_blocks(segmenter, LatentGNN)
    if at is not None and at not in blocks:
        raise ValueError(f"expected a LatentGNN block of {', '.join(blocks)}, got {at!r}")
    levels = {
        name: int(level)
        for name in blocks
        for level, context in segmenter.network.context.items()
        if any(block is blocks[name] for block in context.modules())
    }
    device = next(segmenter.parameters()).device
    voxels = segmenter.voxelize(scene.clone()).to(device)
    found = []
    for call in record(segmenter, voxels, at=LatentGNN if at is None else at):
        node, coord = voxels.voxel_index, voxels.coord
        for _ in range(levels[call.name]):
            coarse = coarsen(coord)
            node, coord = coarse.parent[node], coarse.coord
        kernels = affinities(call)
        for m, kernel in enumerate(kernels):
            several = f", kernel {m}" if len(kernels) > 1 else ""
            weight = kernel.latent_to_visible.to_dense().float()
            found.append(Latents(f"{call.name}{several}", node.cpu().numpy(), weight.cpu().numpy()))
    return found
