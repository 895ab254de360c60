r"""The command ``latentgraph train``: Lightning's command line over recipes."""

from __future__ import annotations

import os
from argparse import ArgumentError, RawDescriptionHelpFormatter
from collections.abc import Sequence
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from jsonargparse import DefaultHelpFormatter
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger

from latentgraph.scannet import checkpoint as checkpoints
from latentgraph.scannet.data_module import SceneDataModule
from latentgraph.scannet.into_place import check_space, save
from latentgraph.scannet.lightning_module import SegmentationModule


def recipes() -> dict[str, Path]:
    r"""The recipes that come with the package, by name."""
    folder = Path(str(resources.files("latentgraph"))) / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def train(
    arguments: Sequence[str], module_class: type[SegmentationModule] = SegmentationModule
) -> Path | None:
    r"""Train as ``latentgraph train`` does.

    Args:
        arguments: Those of the command line, for example ``["--config", "demo", "--data.root",
            "rooms"]``.
        module_class: What to train.

    Returns:
        The checkpoint of the last epoch; None where Lightning was told to write none, and in all
        but the first of several processes.

    Raises:
        ValueError: For arguments that do not fit.
        FileExistsError: If the folder of the run holds one and ``--resume`` was not given.
        OSError: If nothing can be written there.
    """
    try:
        cli = TrainCLI(arguments, module_class)
        cli.trainer.fit(cli.model, cli.datamodule, ckpt_path=cli.resume_from)
    except MisconfigurationException as error:
        raise ValueError(str(error)) from error
    return cli.last if cli.trainer.is_global_zero and cli.last.exists() else None


class TrainCLI(LightningCLI):
    r"""Lightning's command line with recipes, a folder for the run, and safe checkpoints."""

    def __init__(
        self, arguments: Sequence[str], module_class: type[SegmentationModule] = SegmentationModule
    ) -> None:
        super().__init__(
            module_class,
            SceneDataModule,
            save_config_callback=_SaveConfig,
            save_config_kwargs={"overwrite": True},
            trainer_defaults={
                "use_distributed_sampler": False,
                "log_every_n_steps": 10,
                "enable_model_summary": False,  # whose FLOPs are 0 without an example
            },
            seed_everything_default=0,
            parser_kwargs={
                "prog": "latentgraph train",
                "usage": "%(prog)s --config NAME_OR_FILE --data.root ROOT [options]",
                "description": _description(),
                "formatter_class": _HelpFormatter,
                "exit_on_error": False,
            },
            args=list(arguments),
            run=False,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--out",
            type=str | None,
            help="Folder of the run (default: runs/<names of the recipes>)",
        )
        parser.add_argument(
            "--resume", action="store_true", help="Go on from the last checkpoint in --out, if any"
        )
        parser.add_argument(
            "--threads", type=int | None, help="Threads of torch on the CPU (default: torch's own)"
        )
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        args, configs = _find_recipes(args)
        if not configs and not {"-h", "--help"} & set(args):
            raise ValueError(f"--config NAME_OR_FILE is needed; recipes: {', '.join(recipes())}")
        over = [path for name, path in recipes().items() if name.startswith("with_")]
        if configs and set(configs) <= set(map(str, over)):
            raise ValueError(
                f"expected {Path(configs[0]).stem} over another recipe: "
                f"--config scannet20 --config {Path(configs[0]).stem}"
            )
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as error:
            raise ValueError(f"{error}; latentgraph train --help explains") from error
        if self.config.out is None:
            names = (Path(config).stem for config in configs)
            self.config.out = os.path.join("runs", "_".join(dict.fromkeys(names)))

    def before_instantiate_classes(self) -> None:
        out = Path(self.config.out)
        if out.exists() and not out.is_dir():
            raise NotADirectoryError(f"{out} should be a folder, and is a file")
        self.last = out / "last.ckpt"
        self.resume_from = self.last if self.config.resume and self.last.exists() else None
        if self.last.exists() and not self.config.resume:
            raise FileExistsError(f"{out} holds a run: add --resume to go on, or choose an --out")
        if self.resume_from is not None:
            checkpoints.read(self.resume_from)
        check_space(out)
        if self.config.threads is not None:
            if self.config.threads < 1:
                raise ValueError(f"--threads must be at least 1, got {self.config.threads}")
            torch.set_num_threads(self.config.threads)
        checkpoint = partial(ModelCheckpoint, dirpath=out, enable_version_counter=False)
        callbacks: list[Callback] = [LearningRateMonitor()]
        if self.config.trainer.enable_checkpointing is not False:
            callbacks += [
                checkpoint(filename="last", save_on_train_epoch_end=True),
                checkpoint(filename="best", monitor="val/mIoU", mode="max"),
            ]
        self.trainer_defaults["callbacks"] = callbacks

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        given = self.config_init.trainer
        plugins = given.plugins or []
        plugins = plugins if isinstance(plugins, list) else [plugins]
        if not any(isinstance(plugin, TorchCheckpointIO) for plugin in plugins):
            plugins = [*plugins, WholeCheckpoints()]
        logger = given.logger
        if logger is None:
            logger = TensorBoardLogger(self.config.out, name="", version="")
        try:
            return super().instantiate_trainer(plugins=plugins, logger=logger, **kwargs)
        except TypeError as error:  # of a number of devices, for example
            raise ValueError(str(error)) from error


class _SaveConfig(SaveConfigCallback):
    r"""What a run was started with, once it runs: one that is refused leaves the last one's."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        pass

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().setup(trainer, pl_module, "fit")


class _HelpFormatter(RawDescriptionHelpFormatter, DefaultHelpFormatter):
    r"""Jsonargparse's help with the recipes on a line each."""


class WholeCheckpoints(TorchCheckpointIO):
    r"""Checkpoints renamed into place when they are whole, and read without running them."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        save(checkpoint, path)

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return checkpoints.read(path)


def _description() -> str:
    lines = [
        f"  {name}: {path.read_text(encoding='utf-8').partition(chr(10))[0].lstrip('# ')}"
        for name, path in recipes().items()
    ]
    return (
        "Train a network. Recipes for --config, which may be given again and again, later ones "
        "over earlier ones:\n" + "\n".join(lines)
    )


def _find_recipes(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    r"""Arguments with the names of recipes replaced by their files, and those files."""
    known = recipes()
    found: list[str] = []
    replaced = list(arguments)
    for i, argument in enumerate(replaced):
        flag, equals, value = argument.partition("=")
        if flag not in ("--config", "-c"):
            continue
        if not equals:
            if i + 1 == len(replaced):
                raise ValueError(f"{flag} needs a name or a file; recipes: {', '.join(known)}")
            value = replaced[i + 1]
        file = str(known.get(value, value))
        if not Path(file).is_file():
            raise ValueError(f"no recipe and no file {value!r}; recipes: {', '.join(known)}")
        try:
            Path(file).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"expected --config as a recipe in YAML, got {value}") from error
        replaced[i if equals else i + 1] = f"{flag}={file}" if equals else file
        found.append(file)
    return replaced, found
