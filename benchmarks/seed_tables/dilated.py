r"""The segmentation network of the slides' Cityscapes table, which is that of CCNet.

`CCNet: Criss-Cross Attention for Semantic Segmentation <https://arxiv.org/abs/1811.11721>`_
(ICCV 2019): a dilated ResNet-101 of output stride 8 with a stem of three 3 x 3 convolutions, and a
head with a place for a context block behind ``reduce``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet

NUM_CLASSES = 19
IMAGE = (1, 3, 769, 769)


def conv_norm(in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1) -> nn.Module:
    r"""Convolution, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def dilated_resnet101() -> ResNet:
    r"""Torchvision's ResNet-101 with strides 1, 2, 1, 1, dilations 1, 1, 2, 4 and a deeper stem."""
    resnet = ResNet(Bottleneck, [3, 4, 23, 3], replace_stride_with_dilation=[False, True, True])
    first = resnet.layer1[0]
    assert isinstance(first, Bottleneck)
    assert isinstance(first.downsample, nn.Sequential)
    resnet.conv1 = nn.Sequential(
        conv_norm(3, 64, stride=2), conv_norm(64, 64), nn.Conv2d(64, 128, 3, padding=1, bias=False)
    )
    resnet.bn1 = nn.BatchNorm2d(128)
    first.conv1 = nn.Conv2d(128, 64, 1, bias=False)
    first.downsample[0] = nn.Conv2d(128, 256, 1, bias=False)
    return resnet


class DilatedNet(nn.Module):
    r"""Scores of every pixel; in training also those of the auxiliary head on c4."""

    def __init__(self, num_classes: int = NUM_CLASSES) -> None:
        super().__init__()
        body = dilated_resnet101()
        self.stem = nn.Sequential(body.conv1, body.bn1, body.relu, body.maxpool)
        self.layer1, self.layer2 = body.layer1, body.layer2
        self.layer3, self.layer4 = body.layer3, body.layer4
        self.reduce = conv_norm(2048, 512)
        self.refine = conv_norm(512, 512)
        self.join = conv_norm(2048 + 512, 512)
        self.classify = nn.Conv2d(512, num_classes, 1)
        self.auxiliary = nn.Sequential(conv_norm(1024, 512), nn.Conv2d(512, num_classes, 1))

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        r"""(B, 3, height, width) to (B, classes, height, width)."""
        c4 = self.layer3(self.layer2(self.layer1(self.stem(x))))
        c5 = self.layer4(c4)
        refined = self.refine(self.reduce(c5))
        scores = self.classify(self.join(torch.cat([c5, refined], 1)))
        scores = F.interpolate(scores, x.shape[2:], mode="bilinear", align_corners=True)
        return (scores, self.auxiliary(c4)) if self.training else scores
