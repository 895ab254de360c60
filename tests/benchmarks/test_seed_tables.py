from decimal import Decimal
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models.detection import MaskRCNN
from torchvision.ops import FrozenBatchNorm2d

from benchmarks.seed_tables import blocks, counting, report
from benchmarks.seed_tables.deformable import DeformableConv
from benchmarks.seed_tables.detection import mask_rcnn, resnext101
from benchmarks.seed_tables.rows import TABLES, Row, latent_gnn
from latentgraph.nn import LatentGNN

ROWS = {f"{table}: {row.name}": row for table, rows in TABLES.items() for row in rows}
STATED = {name: row for name, row in ROWS.items() if row.parameters is not None}


def on_meta(row: Row) -> nn.Module:
    with torch.device("meta"):
        return row.build()


@pytest.mark.parametrize("row", STATED.values(), ids=STATED)
def test_parameters_are_those_of_the_slides(row: Row) -> None:
    assert counting.num_parameters(on_meta(row)) == row.parameters
    assert row.printed is not None
    last_digit = Decimal(row.printed[0]).as_tuple().exponent
    off = Decimal(row.parameters or 0) / 10**6 - Decimal(row.printed[0])
    # Rounded, or cut.
    assert Decimal("-0.5") <= off.scaleb(-int(last_digit)) < 1


def test_every_row_of_the_slides_is_there() -> None:
    assert len(STATED) == 32
    assert len(ROWS) - len(STATED) == 15


def test_latent_gnn_has_the_parameters_of_its_layers() -> None:
    table = {row.name: row for row in TABLES["COCO, Mask R-CNN with LatentGNN"]}
    for name in ("R50", "X101-32x8d"):
        expected = counting.num_parameters(on_meta(table[name]))
        for channels, num_latents in ((512, 150), (1024, 100), (2048, 50)):
            c = channels // 8
            maps = 2 * channels * c + 2 * c * num_latents + c * c + c * channels
            norms = 2 * (2 * c + 2 * num_latents + c + channels)
            expected += maps + norms + 1
        whole = on_meta(table[f"{name} + LatentGNN at c3, c4, c5"])
        assert counting.num_parameters(whole) == expected


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ("COCO, Mask R-CNN on ResNet-50", "+ NL, 1 block"),
        ("COCO, other backbones", "X101, DCN, cascade + GC r4"),
        ("ImageNet, ResNet-50", "+ SNL, 1 block"),
        ("Kinetics, slow-only ResNet-50", "+ NL, 5 blocks"),
        ("Cityscapes, dilated ResNet-101", "+ NL"),
        ("COCO, Mask R-CNN with LatentGNN", "R50 + LatentGNN at c3, c4, c5"),
    ],
)
def test_blocks_add_their_multiply_adds(table: str, name: str) -> None:
    row = ROWS[f"{table}: {name}"]
    alone = on_meta(row._replace(places={}))
    n, c = {
        "COCO": (50 * 84, 1024),
        "Imag": (14 * 14, 1024),
        "City": (97 * 97, 512),
        "Kine": (8 * 14 * 14, 1024),
    }[table[:4]]
    added = counting.of_network(on_meta(row)) - counting.of_network(alone)
    if "LatentGNN" in name:
        sizes = [(100 * 168, 512, 150), (4200, 1024, 100), (25 * 42, 2048, 50)]
        assert added == sum(_latent_gnn(*size) for size in sizes)
    elif "GC" in name:
        stages = [(4, 100 * 168, 512), (23, 4200, 1024), (3, 25 * 42, 2048)]
        assert added == sum(k * (2 * n * c + c * c // 2) for k, n, c in stages)
    elif "SNL" in name:
        assert added == 2 * n * c + c * c
    elif table.startswith("City"):
        assert added == 4 * n * c * c // 4 + 2 * n * n * c // 4
    elif table.startswith("Kine"):
        wide = [(2, 8 * 28 * 28, 512), (3, n, c)]
        assert added == sum(k * _non_local(n, c) for k, n, c in wide)
    else:
        assert added == _non_local(n, c)


def _non_local(n: int, c: int) -> int:
    m = n // 4
    return 2 * (n + m) * c * c // 2 + 2 * n * m * c // 2


def _latent_gnn(n: int, channels: int, d: int) -> int:
    c = channels // 8
    back = n * d * c + n * c * c + n * c * channels
    return 2 * n * channels * c + 2 * n * c * d + n * d * c + 2 * c * d * d + back


def test_baselines_have_the_multiply_adds_that_others_count() -> None:
    # Convolutions and the last layer of torchvision's ResNet-50, as fvcore counts them.
    resnet = ROWS["ImageNet, ResNet-50: baseline"]
    assert counting.of_network(on_meta(resnet)) == 4_087_136_256 + 2048 * 1000


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_every_network_runs_and_has_the_multiply_adds_of_the_report(name: str) -> None:
    table, _ = name.split(": ")
    network = ROWS[name].build().eval()
    with torch.no_grad():
        if isinstance(network, MaskRCNN):
            network.transform.min_size, network.transform.max_size = (64,), 96
            heads = network.roi_heads
            for norm in network.modules():
                if isinstance(norm, FrozenBatchNorm2d | nn.BatchNorm2d):
                    norm.weight.fill_(0.3)  # random residuals do not add up to infinity
            heads.score_thresh, heads.detections_per_img = 0.0, 7
            (found,) = network([torch.rand(3, 61, 83)])
            count = len(found["boxes"])
            assert count == 7 or hasattr(heads, "stages")  # random cascades can lose every box
            assert found["masks"].shape == (count, 1, 61, 83)
        elif table.startswith("Cityscapes"):
            assert network(torch.rand(1, 3, 65, 89)).shape == (1, 19, 65, 89)
        elif table.startswith("Kinetics"):
            assert network(torch.rand(1, 3, 8, 67, 59)).shape == (1, 400)
        else:
            assert network(torch.rand(1, 3, 67, 59)).shape == (1, 1000)
    counted = counting.of_network(on_meta(ROWS[name])) / 10**9
    assert f"{counted:.3f}" in committed_cells(table, ROWS[name].name)


def committed_cells(table: str, name: str) -> list[str]:
    r"""The row of a table in ``benchmarks/results/seed_tables.md``."""
    text = (Path(report.__file__).parents[1] / "results" / "seed_tables.md").read_text()
    _, _, section = text.partition(f"## {table}\n")
    lines = [line.strip("| ").split(" | ") for line in section.partition("\n## ")[0].splitlines()]
    return next(cells for cells in lines if cells[0] == name)


@pytest.mark.parametrize("options", [{}, {"cascade": True, "deformable": True}])
def test_detectors_detect(options: dict[str, bool]) -> None:
    thin = resnext101(1)
    for stage in (thin.layer1, thin.layer2, thin.layer3, thin.layer4):
        del stage[1:]
    model = mask_rcnn(thin, **options).eval()
    assert isinstance(model, MaskRCNN)
    model.transform.min_size, model.transform.max_size = (64,), 96
    with torch.no_grad():
        found = model([torch.rand(3, 61, 83), torch.rand(3, 53, 41)])
    for image, size in zip(found, ((61, 83), (53, 41)), strict=True):
        count = len(image["boxes"])
        assert image["scores"].shape == image["labels"].shape == (count,)
        assert image["masks"].shape == (count, 1, *size)


def test_the_cascade_finds_what_its_heads_say_and_has_no_losses() -> None:
    from benchmarks.seed_tables.cascade import CascadeHeads

    heads = CascadeHeads(8, num_classes=5).eval()
    for stage in heads.stages:
        for layer in (stage.box_predictor.cls_score, stage.box_predictor.bbox_pred):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        stage.box_predictor.cls_score.bias.data[3] = 7.0
    sides = {"0": 24, "1": 12, "2": 6, "3": 3}
    features = {level: torch.randn(1, 8, side, side) for level, side in sides.items()}
    boxes = torch.tensor([[3.0, 5.0, 43.0, 47.0], [53.0, 11.0, 89.0, 71.0]])
    with torch.no_grad():
        (found,), losses = heads(features, [boxes], [(96, 96)])
    assert losses == {}
    assert found["labels"].tolist() == [3, 3]
    torch.testing.assert_close(found["boxes"], boxes)
    expected = torch.tensor([0.0, 0.0, 0.0, 7.0, 0.0]).softmax(0)[3]
    torch.testing.assert_close(found["scores"], expected.expand(2))
    with pytest.raises(NotImplementedError, match="expected eval mode"):
        heads.train()(features, [boxes], [(96, 96)])


@pytest.mark.parametrize("stride", [1, 2])
def test_a_deformable_convolution_starts_as_the_plain_one(stride: int) -> None:
    plain = nn.Conv2d(6, 10, 3, stride, padding=1, groups=2, bias=False)
    deformable = DeformableConv(plain)
    deformable.conv.weight = plain.weight
    x = torch.randn(2, 6, 11, 13)
    torch.testing.assert_close(deformable(x), plain(x))


@pytest.mark.parametrize(
    "table", ["Kinetics, slow-only ResNet-50", "Cityscapes, dilated ResNet-101"]
)
def test_networks_of_our_own_give_scores(table: str) -> None:
    network = TABLES[table][-1].build().eval()
    x = torch.randn(1, 3, 33, 41) if "Cityscapes" in table else torch.randn(1, 3, 3, 33, 41)
    with torch.no_grad():
        out = network(x)
    assert out.shape == ((1, 19, 33, 41) if "Cityscapes" in table else (1, 400))
    assert out.isfinite().all()


def test_training_gives_the_scores_of_the_auxiliary_head_too() -> None:
    with torch.device("meta"):
        network = TABLES["Cityscapes, dilated ResNet-101"][0].build()
        scores, auxiliary = network(torch.empty(2, 3, 65, 97))
    assert scores.shape == (2, 19, 65, 97)
    assert auxiliary.shape == (2, 19, 9, 13)


def test_single_blocks() -> None:
    costs = {name: blocks.cost(name, 50, 84, weigh=False) for name in blocks.BLOCKS}
    n, m, c = 4200, 1050, 1024
    assert costs["NL"].parameters == 2_099_712
    assert costs["NL"].multiply_adds == 2 * (n + m) * c * c // 2 + 2 * n * m * c // 2
    assert costs["NL"].affinity == 4 * n * m
    assert costs["SNL"][:2] == (1_050_625, 2 * n * c + c * c)
    assert costs["GC"][:2] == (133_313, 2 * n * c + 2 * c * 64)
    assert costs["LatentGNN"].multiply_adds == _latent_gnn(n, c, 100)
    assert costs["LatentGNN"].affinity is None

    text = report.ratio(costs, n)
    assert "**1,148** times" in text
    assert "**2,261**" in text
    dense = blocks.cost("NL, no sub-sampling", 500, 500)
    assert dense.affinity == 250 * 10**9
    assert dense.forward is dense.training is None


def test_memory_is_that_of_the_process() -> None:
    taken = blocks.extra_bytes("SNL", 37, 41, training=False)
    assert taken < 4 * 37 * 41 * blocks.CHANNELS * 4


def test_tables_have_a_line_for_each_row() -> None:
    rows = TABLES["ImageNet, ResNet-50"]
    text = report.table("title", [(row, row.parameters or 0, 4_089_184_256) for row in rows])
    assert text.count("\n| ") == len(rows) + 2
    assert "| baseline | 25.56 | 25,557,032 | 3.86 | 4.089 |" in text
    unstated = report.table("title", [(TABLES["COCO, Mask R-CNN with LatentGNN"][0], 7, 10**9)])
    assert "| R50 | 7 | 1.000 |" in unstated


def test_accuracies_stand_beside_rows_that_exist() -> None:
    for title, theirs in report.THEIR_AP.items():
        assert set(theirs) <= {row.name for row in TABLES[title]}
    title = "COCO, Mask R-CNN on ResNet-50"
    text = report.table(title, [(row, 7, 10**9) for row in TABLES[title]])
    assert "| baseline | 44.4 | 7 | 279.4 | 1.000 | 37.2, 33.8 |" in text
    assert "| + NL, 1 block | 46.5 | 7 | 288.7 | 1.000 |  |" in text


def test_latent_gnn_is_the_published_one() -> None:
    block = latent_gnn(50)(64).block
    assert isinstance(block, LatentGNN)
    assert (block.reduction, block.latent_dims, block.mode) == (8, (50,), "asymmetric")
    assert block.kernels[0].conv is not None
