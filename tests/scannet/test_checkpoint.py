import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from latentgraph.scannet.checkpoint import KEY, describe, load_checkpoint, save_checkpoint
from latentgraph.scannet.network_config import Context, NetworkConfig, TrainedOn
from latentgraph.scannet.segmenter import Segmenter

CONFIG = NetworkConfig(
    voxel_size=0.3,
    inputs=("normal",),
    channels=(5, 11),
    context=Context("LatentGNN", {"latent_dims": (3,), "reduction": 2}),
)


def content(segmenter: Segmenter) -> dict[str, Any]:
    weights = {f"segmenter.{name}": value for name, value in segmenter.state_dict().items()}
    return {KEY: describe(segmenter), "state_dict": weights | {"class_weight": torch.ones(20)}}


@pytest.fixture
def segmenter() -> Segmenter:
    return Segmenter(CONFIG, TrainedOn("rooms", 7))


def test_a_checkpoint_tells_all_about_its_network(tmp_path: Path, segmenter: Segmenter) -> None:
    save_checkpoint(segmenter, tmp_path / "a.ckpt")
    found = load_checkpoint(tmp_path / "a.ckpt")
    assert found.config == CONFIG
    assert found.trained_on == TrainedOn("rooms", 7)
    assert found.labels == segmenter.labels
    assert found.voxelize.inputs == ("normal",)
    assert not found.training
    weights = found.state_dict()
    assert list(weights) == list(segmenter.state_dict())
    assert all(torch.equal(weights[name], w) for name, w in segmenter.state_dict().items())


def test_one_without_context_and_before_training(tmp_path: Path) -> None:
    save_checkpoint(Segmenter(replace(CONFIG, context=None)), tmp_path / "a.ckpt")
    found = load_checkpoint(tmp_path / "a.ckpt")
    assert found.config.context is None
    assert found.trained_on is None


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="latentgraph train --config demo"):
        load_checkpoint(tmp_path / "a.ckpt")


@pytest.mark.parametrize("device", ["abacus", "cuda:77", "meta"])
def test_a_device_that_is_not_there(tmp_path: Path, segmenter: Segmenter, device: str) -> None:
    save_checkpoint(segmenter, tmp_path / "a.ckpt")
    expected = f"expected a device that torch has here, got {device}: "
    with pytest.raises(ValueError, match=expected):
        load_checkpoint(tmp_path / "a.ckpt", device)


class Evil:
    def __reduce__(self) -> Any:
        return print, ("this must not run",)


@pytest.mark.parametrize("kind", ["empty", "text", "cut off", "pickle", "code", "nan"])
def test_a_file_that_is_no_checkpoint(
    tmp_path: Path, segmenter: Segmenter, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.ckpt"
    torch.save(content(segmenter) | ({"more": Evil()} if kind == "code" else {}), path)
    if kind != "code":
        path.write_bytes(
            {
                "empty": b"",
                "text": b"no checkpoint",
                "cut off": path.read_bytes()[:-1000],
                "pickle": pickle.dumps(Evil()),
                "nan": b"PK\x03\x04" + bytes(99),
            }[kind]
        )
    with pytest.raises(ValueError, match=r"a\.ckpt is no checkpoint"):
        load_checkpoint(path)
    assert "must not run" not in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [[1, 2], {"state_dict": {}}, {KEY: {"format": 1}}])
def test_a_file_of_another_program(tmp_path: Path, wrong: Any) -> None:
    torch.save(wrong, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="no checkpoint of `latentgraph train`"):
        load_checkpoint(tmp_path / "a.ckpt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99, "version": "7.0"}, "format 99, written by latentgraph 7.0"),
        ({"network": {"labels": "scannet20", "depth": 3}}, "does not fit.*depth"),
        ({"network": {}}, "does not fit.*labels"),
        ({"network": CONFIG.as_dict() | {"channels": (5, 7)}}, "does not fit.*size mismatch"),
        ({"network": CONFIG.as_dict() | {"context": None}}, "does not fit.*Unexpected key"),
        ({"network": CONFIG.as_dict() | {"labels": "kitti"}}, "does not fit.*kitti"),
        ({"classes": {"ids": [1, 2], "names": ["a", "b"]}}, "classes are not those of scannet20"),
        ({"trained_on": {"source": "rooms"}}, "does not fit.*scenes"),
    ],
)
def test_a_checkpoint_of_another_model(
    tmp_path: Path, segmenter: Segmenter, change: dict[str, Any], message: str
) -> None:
    wrong = content(segmenter)
    wrong[KEY] |= change
    torch.save(wrong, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=message) as caught:
        load_checkpoint(tmp_path / "a.ckpt")
    assert "\n" not in str(caught.value)


def test_context_names_only_blocks_of_this_library() -> None:
    blocks = "LatentGNN", "GlobalContext", "SimplifiedNonLocal", "SqueezeExcitation", "NonLocal"
    for name in blocks:
        assert type(Context(name)(97)).__name__ == name
    for name in ("Linear", "OnGrid", "LatentAggregation", "LatentToVisibleConv", "__all__"):
        with pytest.raises(ValueError, match=f"such as LatentGNN, got '{name}'"):
            Context(name)(97)
    with pytest.raises(ValueError, match=r"LatentGNN with .*depth"):
        Context("LatentGNN", {"depth": 3})(8)
