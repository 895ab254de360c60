import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from latentgraph.nn import LatentGNN

pytest.importorskip("torchvision", exc_type=ImportError)
pytest.importorskip("pycocotools")
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)  # of numpy, about pycocotools
EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(EXAMPLES)
    return import_module("mask_rcnn")


@pytest.fixture
def shapes(example, tmp_path) -> Path:
    example.write_shapes(tmp_path, num_train=5, num_val=3)
    return tmp_path


def options(root: Path, out: str, *more: str) -> list[str]:
    given = []
    for prefix, split in (("--", "train"), ("--val-", "val")):
        given += [f"{prefix}images", str(root / split / "images")]
        given += [f"{prefix}annotations", str(root / split / "annotations.json")]
    return [*given, "--out", str(root / out), "--batch-size", "2", "--device", "cpu", *more]


def test_generated_annotations_are_those_of_what_was_drawn(example, shapes) -> None:
    data = example.CocoFolder(shapes / "train" / "images", shapes / "train" / "annotations.json")
    things = json.loads((shapes / "train" / "annotations.json").read_text())["annotations"]
    assert len(data) == 5
    assert len(things) >= 5
    for index in range(len(data)):
        image, target = data[index]
        assert image.shape == (3, *target["masks"].shape[1:])
        own = [thing for thing in things if thing["image_id"] == target["image_id"]]
        assert target["labels"].tolist() == [thing["category_id"] for thing in own]
        for box, mask, thing in zip(target["boxes"], target["masks"], own, strict=True):
            inside = mask.bool()
            assert int(inside.sum()) == thing["area"]
            (top, left), (bottom, right) = inside.nonzero().amin(0), inside.nonzero().amax(0) + 1
            assert box.tolist() == [left, top, right, bottom]
            assert image[:, inside].std(1).max() < 0.2 < image[:, ~inside].std() * 3


def test_a_resumed_run_is_the_run_that_was_not_stopped(example, shapes, monkeypatch) -> None:
    whole = example.main(options(shapes, "whole", "--epochs", "2"))
    assert 0 <= whole["boxes"] <= 1
    step, steps = example.step, iter(range(4))

    def stopped(*args: Any) -> torch.Tensor:
        if next(steps, None) is None:
            raise KeyboardInterrupt
        return step(*args)

    monkeypatch.setattr(example, "step", stopped)
    with pytest.raises(KeyboardInterrupt):
        example.main(options(shapes, "parts", "--epochs", "2"))
    monkeypatch.setattr(example, "step", step)
    resumed = example.main(options(shapes, "parts", "--epochs", "2", "--resume"))
    assert resumed == whole
    first, second = (torch.load(shapes / out / "last.pt") for out in ("whole", "parts"))
    assert first["epoch"] == second["epoch"] == 2
    for key, value in first["model"].items():
        torch.testing.assert_close(second["model"][key], value)


def test_what_is_found_is_scored(example, shapes) -> None:
    data = example.CocoFolder(shapes / "val" / "images", shapes / "val" / "annotations.json")
    truth = [
        {**{key: thing[key] for key in ("image_id", "category_id", "bbox")}, "score": 1.0}
        | {"segmentation": example.rle.encode(data.coco.annToMask(thing).copy(order="F"))}
        for thing in data.coco.anns.values()
    ]
    for kind in ("bbox", "segm"):
        assert example.average_precision(data, truth, kind) == pytest.approx([1, 1])
        assert example.average_precision(data, truth[::2], kind)[0] < 0.9
        assert example.average_precision(data, [], kind) == [0, 0]


def test_blocks_stand_behind_c3_to_c5(example) -> None:
    with torch.device("meta"):
        model = example.network("resnet50", 91, None)
    blocks = {
        n: (m.channels, m.latent_dims) for n, m in model.named_modules() if isinstance(m, LatentGNN)
    }
    assert blocks == {
        "backbone.body.layer2.context.block": (512, (150,)),
        "backbone.body.layer3.context.block": (1024, (100,)),
        "backbone.body.layer4.context.block": (2048, (50,)),
    }


def test_missing_files_are_named(example, shapes, capsys) -> None:
    with pytest.raises(SystemExit, match=r"train.images, which does not exist"):
        example.main(options(shapes / "elsewhere", "out"))
    with pytest.raises(SystemExit):
        example.main(["--images", str(shapes), "--out", str(shapes / "out")])
    assert "expected --images, --annotations" in capsys.readouterr().err
