r"""The slow pathway of SlowFast alone: a ResNet-50 on clips.

`SlowFast Networks for Video Recognition <https://arxiv.org/abs/1812.03982>`_ (ICCV 2019). Time is
never strided; res4 and res5 look at three frames, all other convolutions at one.
"""

from __future__ import annotations

from torch import Tensor, nn

NUM_CLASSES = 400
CLIP = (1, 3, 8, 224, 224)


class Bottleneck3d(nn.Module):
    r"""1 x 1, 3 x 3 and 1 x 1 convolutions on each frame, the first on ``frames`` of them."""

    def __init__(self, in_channels: int, width: int, frames: int, stride: int) -> None:
        super().__init__()
        out_channels = 4 * width
        self.conv1 = nn.Conv3d(
            in_channels, width, (frames, 1, 1), padding=(frames // 2, 0, 0), bias=False
        )
        self.bn1 = nn.BatchNorm3d(width)
        strides = (1, stride, stride)
        self.conv2 = nn.Conv3d(width, width, (1, 3, 3), strides, padding=(0, 1, 1), bias=False)
        self.bn2 = nn.BatchNorm3d(width)
        self.conv3 = nn.Conv3d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv3d(in_channels, out_channels, 1, strides, bias=False),
                nn.BatchNorm3d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        activated: Tensor = self.relu(out + self.downsample(x))
        return activated


def stage(in_channels: int, width: int, blocks: int, frames: int, stride: int) -> nn.Sequential:
    first = Bottleneck3d(in_channels, width, frames, stride)
    others = (Bottleneck3d(4 * width, width, frames, 1) for _ in range(blocks - 1))
    return nn.Sequential(first, *others)


class SlowOnly(nn.Module):
    r"""Slow-only ResNet-50; its stages are ``layer1`` to ``layer4``, as torchvision's."""

    def __init__(self, num_classes: int = NUM_CLASSES) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv3d(3, 64, (1, 7, 7), (1, 2, 2), padding=(0, 3, 3), bias=False),
            nn.BatchNorm3d(64),
            nn.ReLU(inplace=True),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), padding=(0, 1, 1)),
        )
        self.layer1 = stage(64, 64, blocks=3, frames=1, stride=1)
        self.layer2 = stage(256, 128, blocks=4, frames=1, stride=2)
        self.layer3 = stage(512, 256, blocks=6, frames=3, stride=2)
        self.layer4 = stage(1024, 512, blocks=3, frames=3, stride=2)
        self.pool = nn.AdaptiveAvgPool3d(1)
        self.fc = nn.Linear(2048, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        r"""(B, 3, frames, height, width) to (B, classes)."""
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x)))))
        scores: Tensor = self.fc(self.pool(x).flatten(1))
        return scores
