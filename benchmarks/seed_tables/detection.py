r"""Torchvision's Mask R-CNN with a feature pyramid, as the slides' COCO tables count it."""

from __future__ import annotations

from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.resnet import Bottleneck, ResNet

from benchmarks.seed_tables.cascade import CascadeHeads
from benchmarks.seed_tables.deformable import deform

NUM_CLASSES = 81  # 80 and the background
FPN_CHANNELS = 256
STAGES = {"layer1": "0", "layer2": "1", "layer3": "2", "layer4": "3"}


def resnet50() -> ResNet:
    return ResNet(Bottleneck, [3, 4, 6, 3])


def resnet101() -> ResNet:
    return ResNet(Bottleneck, [3, 4, 23, 3])


def resnext101(width_per_group: int) -> ResNet:
    r"""ResNeXt-101 with 32 groups."""
    return ResNet(Bottleneck, [3, 4, 23, 3], groups=32, width_per_group=width_per_group)


def mask_rcnn(resnet: ResNet, cascade: bool = False, deformable: bool = False) -> MaskRCNN:
    r"""Mask R-CNN on a ResNet, whose blocks are ``backbone.body.layer1`` to ``layer4``.

    Args:
        resnet: the backbone.
        cascade: three stages of heads in place of one.
        deformable: deformable convolution in c3 to c5.
    """
    body = deform(resnet) if deformable else resnet
    backbone = BackboneWithFPN(body, STAGES, [256, 512, 1024, 2048], FPN_CHANNELS)
    model = MaskRCNN(backbone, NUM_CLASSES)
    if cascade:
        model.roi_heads = CascadeHeads(FPN_CHANNELS, NUM_CLASSES)
    return model
