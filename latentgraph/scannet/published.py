r"""Published weights of other code, as a network for scenes."""

from __future__ import annotations

import math
from pathlib import Path

from latentgraph.convert import Report, from_spunet, read_state_dict
from latentgraph.convert.spunet import EPS, MOMENTUM
from latentgraph.models import VoxelUNet
from latentgraph.scannet.labels import label_set
from latentgraph.scannet.network_config import NetworkConfig
from latentgraph.scannet.segmenter import Segmenter


def load_spunet(
    path: str | Path,
    labels: str = "scannet20",
    voxel_size: float = 0.02,
    color_range: tuple[float, float] = (-1.0, 1.0),
    prefix: str | None = None,
) -> tuple[Segmenter, Report]:
    r"""An ``SpUNet-v1m1`` of Pointcept with its input recipe: one vertex of each voxel at a time.

    ``latentgraph.scannet.checkpoint.save_checkpoint`` writes it as every command takes it.

    Args:
        path: Pointcept's checkpoint, or its weights as safetensors.
        labels: Label set that it was trained on.
        voxel_size: Edge of the voxels that it was trained on, meters. No key tells.
        color_range: What black and white were for it: (-1, 1) in Pointcept's older versions, (0, 1)
            in newer ones. No key tells.
        prefix: As :func:`~latentgraph.convert.from_spunet` takes it.

    Returns:
        The network in evaluation mode, and a report of the keys.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If safetensors is missing.
        ValueError: If the file cannot be read, its weights are those of no such network, or
            ``color_range`` does not ascend.
    """
    network, report = from_spunet(read_state_dict(path), prefix)
    inputs = {3: ("color",), 6: ("color", "normal")}.get(network.in_channels)
    classes = label_set(labels).num_classes
    if inputs is None or network.out_channels != classes:
        raise ValueError(
            f"expected 3 inputs (color) or 6 (color, normal) and {classes} classes of {labels} in "
            f"{path}, got {network.in_channels} and {network.out_channels}"
        )
    if not -math.inf < color_range[0] < color_range[1] < math.inf:
        raise ValueError(f"expected color_range as black and white, ascending, got {color_range}")
    segmenter = Segmenter(_config(network, labels, voxel_size, inputs, color_range))
    segmenter.network.load_state_dict(network.state_dict())
    report.settings |= {"labels": labels, "voxel_size": voxel_size, "color_range": color_range}
    return segmenter.eval(), report


def _config(
    network: VoxelUNet,
    labels: str,
    voxel_size: float,
    inputs: tuple[str, ...],
    color_range: tuple[float, float],
) -> NetworkConfig:
    return NetworkConfig(
        labels=labels,
        voxel_size=voxel_size,
        inputs=inputs,
        color_range=color_range,
        single=True,
        channels=network.channels,
        stem_kernel_size=network.stem_kernel_size,
        blocks=network.blocks,
        decoder_channels=network.decoder_channels,
        decoder_blocks=network.decoder_blocks,
        residual=True,
        norm_eps=EPS,
        norm_momentum=MOMENTUM,
    )
