import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import Callback
from torch_geometric.data import Batch

from latentgraph.models import VoxelUNet
from latentgraph.scannet import ScanNet
from latentgraph.scannet.checkpoint import load_checkpoint
from latentgraph.scannet.lightning_module import SegmentationModule
from latentgraph.scannet.network_config import NetworkConfig, TrainedOn
from latentgraph.scannet.train import recipes, train

pytestmark = pytest.mark.filterwarnings(
    "ignore:The '.*dataloader' does not have many workers",
    "ignore::DeprecationWarning",  # Lightning's use of jsonargparse and of torch
    "ignore::FutureWarning",
    "ignore:The number of training batches",
    "ignore:Checkpoint directory",
)

RECIPE: dict[str, Any] = {
    "threads": 1,
    "model": {
        "network": {
            "voxel_size": 0.4,
            "channels": [3, 5],
            "context": {"block": "GlobalContext", "options": {"ratio": 0.5}},
        },
    },
    "data": {"num_workers": 0},
    "trainer": {
        "accelerator": "cpu",
        "max_epochs": 2,
        "enable_progress_bar": False,
        "num_sanity_val_steps": 0,
    },
}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(RECIPE))
    return path


@pytest.fixture
def arguments(recipe: Path, rooms: Path, tmp_path: Path) -> list[str]:
    return ["--config", str(recipe), "--data.root", str(rooms), "--out", str(tmp_path / "run")]


def weights(path: Path | None) -> dict[str, torch.Tensor]:
    assert path is not None
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state


def test_a_run_leaves_checkpoints_its_settings_and_curves(
    arguments: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "lightning.pytorch"):
        last = train([*arguments, "--model.network.context.options.pool", "mean"])
    assert last == tmp_path / "run" / "last.ckpt"
    names = {path.name.split(".")[0] for path in last.parent.iterdir()}
    assert names == {"last", "best", "config", "events", "hparams"}
    settings = yaml.safe_load((last.parent / "config.yaml").read_text())
    assert settings["model"]["network"]["context"]["options"] == {"ratio": 0.5, "pool": "mean"}
    segmenter = load_checkpoint(last)
    assert f"{sum(p.numel() for p in segmenter.parameters()):,} parameters" in caplog.messages
    assert segmenter.trained_on == TrainedOn("rooms", 5)
    assert segmenter.config.channels == (3, 5)
    with pytest.raises(FileExistsError, match="run holds a run: add --resume"):
        train(arguments)


class Stop(Callback):
    r"""Ends the process, as it were, in the middle of an epoch."""

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.current_epoch == 1 and batch_idx == 1:
            raise KeyboardInterrupt


def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(
    arguments: list[str], tmp_path: Path
) -> None:
    unbroken = weights(train(arguments))
    shutil.rmtree(tmp_path / "run")
    stop = f"--trainer.callbacks+={Stop.__module__}.Stop"
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train([*arguments, stop])
    stopped = weights(tmp_path / "run" / "last.ckpt")
    assert not same(stopped, unbroken)
    assert same(weights(train([*arguments, "--resume"])), unbroken)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_another_seed_is_another_run(arguments: list[str], tmp_path: Path) -> None:
    short = [*arguments[:-2], "--trainer.max_epochs=1"]
    first = weights(train([*short, "--out", str(tmp_path / "a")]))
    assert same(weights(train([*short, "--out", str(tmp_path / "b")])), first)
    other = weights(train([*short, "--out", str(tmp_path / "c"), "--seed_everything=1"]))
    assert not same(other, first)


def test_a_rise_of_one_step_is_none(arguments: list[str], tmp_path: Path) -> None:
    short = ["--trainer.max_epochs=2", "--trainer.limit_train_batches=1", "--model.warmup=0.5"]
    assert train([*arguments, "--out", str(tmp_path / "run"), *short]) is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("--model.network.voxel_size=0.5", "was trained with voxel_size 0.4 and not 0.5"),
        ("--trainer.max_epochs=3", "schedule of 3 steps, this run one of 9"),
        ("--model.learning_rate=0.5", "was trained with learning_rate 0.005 and not 0.5"),
        ("--seed_everything=7", "was trained with seed 0 and not 7"),
    ],
)
def test_a_run_goes_on_only_as_it_began(arguments: list[str], change: str, message: str) -> None:
    last = train([*arguments, "--trainer.max_epochs=1"])
    assert last is not None
    config = last.with_name("config.yaml")
    before = config.read_bytes()
    with pytest.raises(ValueError, match=message):
        train([*arguments, "--resume", change])
    assert config.read_bytes() == before


def test_a_recipe_that_goes_over_others_is_none_alone() -> None:
    message = (
        "expected with_latent_gnn over another recipe: --config scannet20 --config with_latent"
    )
    with pytest.raises(ValueError, match=message):
        train(["--config=with_latent_gnn", "--data.root=nowhere"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--config"], "--config needs a name or a file; recipes: "),
        (["--config=nowhere"], "no recipe and no file 'nowhere'; recipes: .*demo"),
        (["--model.learning_rate=fast"], "model.learning_rate"),
        (["--model.network.depth=3"], "--model.network.depth"),
        (["--model.network.context.block=Conv"], "such as LatentGNN, got 'Conv'"),
        (["--model.network.context.block=OnGrid"], "such as LatentGNN, got 'OnGrid'"),
        (["--model.network.context.block=position_features"], "got 'position_features'"),
        (["--trainer.accelerator=abacus"], "abacus"),
        (["--data.root=nowhere"], "nowhere"),
        (["--data.batch_size=0"], "at least 1, got 0"),
        (["--trainer.devices=-1"], "should be an int > 0"),
        (["--threads=0"], "--threads must be at least 1, got 0"),
        (["--model.learning_rate=-1"], "learning_rate and weight_decay of 0 or more, .* got -1.0"),
        (["--model.weight_decay=-1"], "weight_decay of 0 or more, .* got 0.005, -1.0, 0.2 and"),
        (["--model.warmup=2"], "warmup from 0 to 1 and .* got 0.005, 0.01, 2.0 and"),
        (["--model.start=0"], "start above 0, got .* 0.0"),
        (["--model.network.context_levels=[]"], "different context_levels"),
    ],
)
def test_arguments_that_make_no_sense(
    arguments: list[str], tmp_path: Path, changes: list[str], message: str
) -> None:
    with pytest.raises((ValueError, OSError), match=message):
        train([*arguments, *changes])
    assert not (tmp_path / "run").exists()


def test_a_recipe_is_needed(rooms: Path) -> None:
    with pytest.raises(ValueError, match=r"--config NAME_OR_FILE is needed; recipes: .*demo"):
        train(["--data.root", str(rooms)])


OVERLAYS = [name for name in recipes() if name.startswith("with_")]
WHOLE = [name for name in recipes() if name not in OVERLAYS]
CHOICES = [(name,) for name in WHOLE] + [("scannet20", name) for name in OVERLAYS]
QUICK = {("demo",), ("apartments",), ("scannet20", "with_latent_gnns")}


@pytest.mark.parametrize(
    "names",
    [pytest.param(c, marks=() if c in QUICK else pytest.mark.slow) for c in CHOICES],
    ids="+".join,
)
def test_every_recipe_trains(names: tuple[str, ...], rooms: Path, tmp_path: Path) -> None:
    # One step of the real thing on larger voxels.
    changes = {
        "model.network.voxel_size": 0.4,
        "trainer.max_steps": 1,
        "trainer.limit_val_batches": 0,
        "trainer.enable_progress_bar": False,
        "trainer.accelerator": "cpu",
        "trainer.precision": "32-true",
        "trainer.enable_checkpointing": False,
        "data.num_workers": 0,
        "data.batch_size": 2,
        "out": tmp_path / "run",
    }
    options = [f"--{name}={value}" for name, value in changes.items()]
    given = [argument for name in names for argument in ("--config", name)]
    assert train([*given, "--data.root", str(rooms), *options]) is None
    assert not list(tmp_path.rglob("*.ckpt"))
    assert recipes()[names[-1]].read_text().startswith("# ")  # what train --help says about it


def test_full_recipes_build_the_sparse_unet_34c() -> None:
    for classes, parameters in ((20, 39_157_844), (200, 39_175_304)):
        settings = yaml.safe_load(recipes()[f"scannet{classes}"].read_text())
        with torch.device("meta"):
            network = NetworkConfig.from_dict(settings["model"]["network"]).build()
            expected = VoxelUNet.spunet34c(6, classes).state_dict()
        assert sum(p.numel() for p in network.parameters()) == parameters
        assert {k: v.shape for k, v in network.state_dict().items()} == {
            k: v.shape for k, v in expected.items()
        }
    one, two = (recipes()[f"scannet{n}"].read_text().replace(str(n), "N") for n in (20, 200))
    assert one.replace("classes at 2 cm", "") == two.replace("classes at 2 cm", "")


def test_classes_are_weighted_by_how_rare_they_are(arguments: list[str]) -> None:
    found = weights(train([*arguments, "--trainer.max_epochs=1"]))["class_weight"]
    labels = torch.cat([scene.y for scene in ScanNet(arguments[3], "train")])
    counts = torch.bincount(labels[labels >= 0], minlength=20).float()
    expected = torch.where(counts > 0, counts.rsqrt(), 0)
    expected /= expected[expected > 0].mean()
    torch.testing.assert_close(found, expected)


def test_a_batch_without_labels_has_no_loss(rooms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = SegmentationModule(NetworkConfig(voxel_size=0.4, channels=(3, 5)))
    monkeypatch.setattr(module, "log", lambda *_, **__: None)
    batch = Batch.from_data_list([module.segmenter.voxelize(ScanNet(rooms, "train")[0])])
    assert module.training_step(batch, 0) > 0
    batch.y[:] = -1
    assert module.training_step(batch, 0) == 0
