r"""Every row of the slides' tables: the network, the blocks and where they go, what is printed.

The slides print millions of parameters and "FLOPs". Exact numbers of parameters are stated for all
rows; each rounds, or in five rows is cut, to what is printed. Which network it is was found by
matching these numbers: pytorch-style ResNets (the stride is on the 3 x 3 convolution), 81 classes,
and blocks at the places below. Running statistics are not parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from torch import nn

from benchmarks.seed_tables.detection import mask_rcnn, resnet50, resnet101, resnext101
from benchmarks.seed_tables.dilated import DilatedNet
from benchmarks.seed_tables.slow_only import SlowOnly
from latentgraph.nn import GlobalContext, LatentGNN, NonLocal, OnGrid, SimplifiedNonLocal
from latentgraph.plug import insert

Block = Callable[[int], nn.Module]


class Row(NamedTuple):
    r"""One line of a table.

    Attributes:
        name: the line.
        network: makes the network without blocks.
        places: by name or pattern of modules, the block that runs behind each.
        parameters: what the network with its blocks has, exactly; None where no slide has the row.
        printed: millions of parameters, and billions of multiply-adds by the slides' counting.
    """

    name: str
    network: Callable[[], nn.Module]
    places: dict[str, Block]
    parameters: int | None = None
    printed: tuple[str, str] | None = None

    def build(self) -> nn.Module:
        r"""The network with its blocks."""
        network = self.network()
        for at, block in self.places.items():
            insert(network, at, block)
        return network


def non_local(channels: int) -> nn.Module:
    r"""Senders are max-pooled before they are projected; batch norm follows the last map."""
    return OnGrid(NonLocal(channels, norm="batch_norm"), pool=2, pool_at="input")


def global_context(reduction: int) -> Block:
    return lambda channels: OnGrid(GlobalContext(channels, ratio=1 / reduction))


def simplified(channels: int) -> nn.Module:
    return OnGrid(SimplifiedNonLocal(channels))


def latent_gnn(num_latents: int) -> Block:
    return lambda channels: OnGrid(
        LatentGNN(channels, (num_latents,), reduction=8, norm="batch_norm", graph_conv=True)
    )


BODY = "backbone.body."
IN_C4 = "layer3.4"
ALL_BLOCKS = "layer[234].*.bn3"
FIVE = ("layer2.[13]", "layer3.[135]")

x101_32x4d = partial(resnext101, width_per_group=4)
x101_32x8d = partial(resnext101, width_per_group=8)


def detector(body: Callable[[], nn.Module], **options: bool) -> Callable[[], nn.Module]:
    return lambda: mask_rcnn(body(), **options)


def one_of_each(
    network: Callable[[], nn.Module], prefix: str, numbers: list[tuple[int, str, str]]
) -> Iterator[Row]:
    r"""A ResNet-50 alone, with a single block in c4, and with GC in all blocks of c3 to c5."""
    places: dict[str, dict[str, Block]] = {
        "baseline": {},
        "+ NL, 1 block": {prefix + IN_C4: non_local},
        "+ SNL, 1 block": {prefix + IN_C4: simplified},
        "+ GC, 1 block": {prefix + IN_C4: global_context(16)},
        "+ GC, all blocks": {prefix + ALL_BLOCKS: global_context(16)},
    }
    for (name, put), (parameters, *printed) in zip(places.items(), numbers, strict=True):
        yield Row(name, network, put, parameters, (printed[0], printed[1]))


def with_all(
    name: str, network: Callable[[], nn.Module], numbers: list[tuple[int, str, str]]
) -> Iterator[Row]:
    r"""A detector alone and with GC in all blocks, of two ratios."""
    places: dict[str, dict[str, Block]] = {
        "": {},
        " + GC r16": {BODY + ALL_BLOCKS: global_context(16)},
        " + GC r4": {BODY + ALL_BLOCKS: global_context(4)},
    }
    for (suffix, put), (parameters, *printed) in zip(places.items(), numbers, strict=True):
        yield Row(name + suffix, network, put, parameters, (printed[0], printed[1]))


COCO = [
    *one_of_each(
        detector(resnet50),
        BODY,
        [
            (44_400_693, "44.4", "279.4"),
            (46_502_453, "46.5", "288.7"),
            (45_451_318, "45.4", "279.4"),
            (44_534_006, "44.5", "279.4"),
            (46_922_434, "46.9", "279.6 or 279.5"),
        ],
    ),
    Row(
        "+ GC r4, all blocks",
        detector(resnet50),
        {BODY + ALL_BLOCKS: global_context(4)},
        54_401_602,
        ("54.4", "279.6"),
    ),
]

COCO_BACKBONES = [
    *with_all(
        "R101",
        detector(resnet101),
        [
            (63_392_821, "63.4", "354.1"),
            (68_180_883, "68.1", "354.2"),
            (82_354_515, "82.4", "354.3"),
        ],
    ),
    *with_all(
        "X101",
        detector(x101_32x4d),
        [
            (63_021_365, "63.0", "357.8"),
            (67_809_427, "67.8", "358.1"),
            (81_983_059, "81.9", "358.2"),
        ],
    ),
    *with_all(
        "X101, cascade",
        detector(x101_32x4d, cascade=True),
        [
            (95_946_049, "95.9", "536.9"),
            (100_734_111, "100.7", "537.2"),
            (114_907_743, "114.9", "537.3"),
        ],
    ),
    *with_all(
        "X101, DCN, cascade",
        detector(x101_32x4d, cascade=True, deformable=True),
        [
            (98_517_853, "98.5", "547.5"),
            (103_305_915, "103.3", "547.7"),
            (117_479_547, "117.5", "547.8"),
        ],
    ),
]

IMAGENET = list(
    one_of_each(
        resnet50,
        "",
        [
            (25_557_032, "25.56", "3.86"),
            (27_658_792, "27.66", "4.11"),
            (26_607_657, "26.61", "3.86"),
            (25_690_345, "25.69", "3.86"),
            (28_078_773, "28.08", "3.87"),
        ],
    )
)

KINETICS = [
    Row("baseline", SlowOnly, {}, 32_454_096, ("32.45", "39.29")),
    Row("+ NL, 5 blocks", SlowOnly, dict.fromkeys(FIVE, non_local), 39_812_560, ("39.81", "59.60")),
    Row(
        "+ SNL, 5 blocks", SlowOnly, dict.fromkeys(FIVE, simplified), 36_132_309, ("36.13", "39.32")
    ),
    Row(
        "+ GC r4, 5 blocks",
        SlowOnly,
        dict.fromkeys(FIVE, global_context(4)),
        34_300_373,
        ("34.30", "39.31"),
    ),
    Row(
        "+ GC r4, all blocks",
        SlowOnly,
        {ALL_BLOCKS: global_context(4)},
        42_455_005,
        ("42.45", "39.35"),
    ),
]

CITYSCAPES = [
    Row("baseline", DilatedNet, {}, 70_959_078, ("70.96", "646.88")),
    Row(
        "+ NL",
        DilatedNet,
        {"reduce": lambda channels: OnGrid(NonLocal(channels, reduction=4))},
        71_222_118,
        ("71.22", "649.36"),
    ),
    Row("+ SNL", DilatedNet, {"reduce": simplified}, 71_222_247, ("71.22", "646.86")),
    Row("+ GC r4", DilatedNet, {"reduce": global_context(4)}, 71_091_559, ("71.09", "646.89")),
]


def latent_gnn_rows() -> Iterator[Row]:
    r"""Mask R-CNN with LatentGNN behind the whole of c3, c4, c5 and all three."""
    stages = {"c3": ("layer2", 150), "c4": ("layer3", 100), "c5": ("layer4", 50)}
    bodies = {"R50": resnet50, "R101": resnet101, "X101-32x8d": x101_32x8d}
    for name, body in bodies.items():
        yield Row(name, detector(body), {})
        for chosen in (["c3"], ["c4"], ["c5"], list(stages)):
            places = {BODY + stages[c][0]: latent_gnn(stages[c][1]) for c in chosen}
            yield Row(f"{name} + LatentGNN at {', '.join(chosen)}", detector(body), places)


TABLES: dict[str, list[Row]] = {
    "COCO, Mask R-CNN on ResNet-50": COCO,
    "COCO, other backbones": COCO_BACKBONES,
    "ImageNet, ResNet-50": IMAGENET,
    "Kinetics, slow-only ResNet-50": KINETICS,
    "Cityscapes, dilated ResNet-101": CITYSCAPES,
    "COCO, Mask R-CNN with LatentGNN": list(latent_gnn_rows()),
}
