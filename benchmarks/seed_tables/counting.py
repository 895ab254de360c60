r"""Parameters, and multiply-adds by torch's counter, of networks on the meta device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.detection import MaskRCNN

from benchmarks.seed_tables.detection import FPN_CHANNELS
from benchmarks.seed_tables.dilated import IMAGE, DilatedNet
from benchmarks.seed_tables.slow_only import CLIP, SlowOnly

COCO_IMAGE = (1, 3, 800, 1344)
NUM_BOXES, NUM_MASKS = 1000, 100
INPUTS: dict[type[nn.Module], tuple[int, ...]] = {DilatedNet: IMAGE, SlowOnly: CLIP}


def num_parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def multiply_adds(call: Callable[[], object]) -> int:
    r"""Half of torch's count: its formulas are for operations, two of which are a multiply-add.

    Attention is taken apart into its products, since the counter has no formula for the fused one
    of the CPU; a deformable convolution counts as the plain one of its size.
    """
    formulas = {torch.ops.torchvision.deform_conv2d: _deform_conv}
    counter = FlopCounterMode(display=False, custom_mapping=formulas)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        call()
    return counter.get_total_flops() // 2


def _deform_conv(
    x: torch.Size, weight: torch.Size, *_: Any, out_shape: torch.Size, **__: Any
) -> int:
    return 2 * out_shape.numel() * weight[1:].numel()


def of_network(network: nn.Module) -> int:
    r"""Multiply-adds of one image or clip of the size that the slides count."""
    network.eval()
    if isinstance(network, MaskRCNN):
        return multiply_adds(lambda: run_detector(network))
    x = torch.empty(INPUTS.get(type(network), (1, 3, 224, 224)), device="meta")
    return multiply_adds(lambda: network(x))


def run_detector(model: MaskRCNN) -> None:
    r"""All layers of a Mask R-CNN, with a fixed number of boxes and masks in place of those found.

    The image is 800 x 1344, 1000 boxes and 100 masks go through the heads, of each stage if there
    are several.
    """
    features = model.backbone(torch.empty(COCO_IMAGE, device="meta"))
    model.rpn.head(list(features.values()))
    boxes = torch.empty(NUM_BOXES, FPN_CHANNELS, 7, 7, device="meta")
    masks = torch.empty(NUM_MASKS, FPN_CHANNELS, 14, 14, device="meta")
    for stage in getattr(model.roi_heads, "stages", [model.roi_heads]):
        stage.box_predictor(stage.box_head(boxes))
        stage.mask_predictor(stage.mask_head(masks))
