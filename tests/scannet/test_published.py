from pathlib import Path

import numpy as np
import pytest
import torch
from test_votes import scene
from torch import Tensor

from latentgraph.cli import main
from latentgraph.models import VoxelUNet
from latentgraph.scannet.checkpoint import load_checkpoint
from latentgraph.scannet.published import load_spunet

pytestmark = pytest.mark.filterwarnings(
    "ignore:The '.*dataloader' does not have many workers",
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
)


def theirs(classes: int = 20, inputs: int = 6) -> dict[str, Tensor]:
    r"""Random weights under the keys of an SpUNet of one stage."""
    shapes = {"conv_input.0": (3, 5, 5, 5, inputs), "final": (3, 1, 1, 1, 5)}
    shapes |= {"down.0.0": (7, 2, 2, 2, 3), "up.0.0": (5, 2, 2, 2, 7)}
    shapes |= {"dec.0.block0.conv1": (5, 3, 3, 3, 8), "dec.0.block0.conv2": (5, 3, 3, 3, 5)}
    shapes |= {"dec.0.block0.proj.0": (5, 1, 1, 1, 8), "final": (classes, 1, 1, 1, 5)}
    norms = {"conv_input.1": 3, "down.0.1": 7, "up.0.1": 5}
    norms |= {f"dec.0.block0.{name}": 5 for name in ("bn1", "bn2", "proj.1")}
    shapes |= {"enc.0.block0.conv1": (7, 3, 3, 3, 7), "enc.0.block0.conv2": (7, 3, 3, 3, 7)}
    norms |= {"enc.0.block0.bn1": 7, "enc.0.block0.bn2": 7}
    weights = {f"{name}.weight": torch.randn(shape) for name, shape in shapes.items()}
    for name, width in norms.items():
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            weights[f"{name}.{leaf}"] = torch.rand(width) + 0.5
    weights["final.bias"] = torch.randn(classes)
    return {f"module.backbone.{name}": weight for name, weight in weights.items()}


def test_published_weights_predict_at_once(
    tmp_path: Path, rooms: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(
        {"epoch": 1, "best_metric_value": np.float64(0), "state_dict": theirs()},
        tmp_path / "theirs.pth",
    )
    weights, checkpoint = str(tmp_path / "theirs.pth"), str(tmp_path / "ours.ckpt")
    assert main(["convert", weights, checkpoint, "--voxel-size", "0.3"]) == 0
    assert f"checkpoint: {checkpoint}" in capsys.readouterr().out
    segmenter = load_checkpoint(checkpoint)
    config = segmenter.config
    assert (config.voxel_size, config.single, config.color_range) == (0.3, True, (-1.0, 1.0))
    expected, _ = load_spunet(weights, voxel_size=0.3)
    scan = scene()
    assert torch.equal(segmenter.predict(scan), expected.predict(scan))

    arguments = [checkpoint, str(rooms), "--workers", "0", "--accelerator", "cpu"]
    assert main(["evaluate", *arguments]) == 0
    assert "mIoU" in capsys.readouterr().out
    place = str(rooms / "scans" / "scene0011_00")
    out = ["--checkpoint", checkpoint, "--out", str(tmp_path / "out")]
    assert main(["predict", place, *out]) == 0


def test_safetensors(tmp_path: Path) -> None:
    save_file = pytest.importorskip("safetensors.torch").save_file
    weights = theirs(inputs=3)
    save_file(weights, tmp_path / "model.safetensors")
    segmenter, report = load_spunet(tmp_path / "model.safetensors", color_range=(0.0, 1.0))
    with pytest.raises(ValueError, match="color_range as black and white, ascending"):
        load_spunet(tmp_path / "model.safetensors", color_range=(1.0, 1.0))
    assert segmenter.config.inputs == ("color",)
    assert isinstance(segmenter.network, VoxelUNet)
    assert len(report.used) == len(weights)
    assert report.settings["color_range"] == (0.0, 1.0)


@pytest.mark.parametrize(("classes", "inputs"), [(19, 6), (20, 5)])
def test_weights_of_something_else(classes: int, inputs: int, tmp_path: Path) -> None:
    torch.save(theirs(classes, inputs), tmp_path / "other.pth")
    message = rf"6 \(color, normal\) and 20 classes .* got {inputs} and {classes}"
    with pytest.raises(ValueError, match=message):
        load_spunet(tmp_path / "other.pth")
