r"""Deformable convolution in place of the 3 x 3 convolutions of a ResNet's c3 to c5.

`Deformable Convolutional Networks <https://arxiv.org/abs/1703.06211>`_ (ICCV 2017), without the
modulation of its second version.
"""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.ops import DeformConv2d


class DeformableConv(nn.Module):
    r"""A deformable convolution that starts as the plain one it replaces, but for its weights."""

    def __init__(self, plain: nn.Conv2d) -> None:
        super().__init__()
        where = {"stride": plain.stride, "padding": plain.padding, "dilation": plain.dilation}
        area = plain.kernel_size[0] * plain.kernel_size[1]
        self.offset = nn.Conv2d(plain.in_channels, 2 * area, plain.kernel_size, **where)
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.offset.bias)
        channels = plain.in_channels, plain.out_channels
        self.conv = DeformConv2d(
            *channels, plain.kernel_size, **where, groups=plain.groups, bias=False
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x, self.offset(x))
        return out


def deform(resnet: ResNet) -> ResNet:
    r"""Replace ``conv2`` of every block of c3, c4 and c5."""
    for stage in (resnet.layer2, resnet.layer3, resnet.layer4):
        for block in stage:
            assert isinstance(block, Bottleneck)
            block.conv2 = DeformableConv(block.conv2)
    return resnet
