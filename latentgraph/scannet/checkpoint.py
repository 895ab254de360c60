r"""What a checkpoint carries, and how it is read: without running what is in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from latentgraph import __version__
from latentgraph.scannet.into_place import save
from latentgraph.scannet.labels import label_set
from latentgraph.scannet.network_config import NetworkConfig, TrainedOn
from latentgraph.scannet.segmenter import Segmenter

KEY = "latentgraph"
FORMAT = 1
PREFIX = "segmenter."

HOW_TO_GET_ONE = (
    "train one with `latentgraph train --config demo --data.root ROOT` "
    "(`latentgraph rooms ROOT` writes scenes to train on)"
)


def describe(segmenter: Segmenter) -> dict[str, Any]:
    r"""What a checkpoint says about its network: what it is built from, classes, training set."""
    trained_on = segmenter.trained_on
    return {
        "format": FORMAT,
        "version": __version__,
        "network": segmenter.config.as_dict(),
        "classes": {
            "ids": list(segmenter.labels.ids),
            "names": list(segmenter.labels.names),
        },
        "trained_on": trained_on and {"source": trained_on.source, "scenes": trained_on.scenes},
    }


def save_checkpoint(segmenter: Segmenter, path: str | Path) -> None:
    r"""Write a checkpoint that :func:`load_checkpoint` reads, renamed into place when it is whole.

    Args:
        segmenter: The network.
        path: File to write.
    """
    weights = {f"{PREFIX}{name}": value for name, value in segmenter.state_dict().items()}
    save({KEY: describe(segmenter), "state_dict": weights}, path)


def read(path: str | Path) -> dict[str, Any]:
    r"""The content of a checkpoint that this library wrote, on the CPU.

    Raises:
        FileNotFoundError: If there is no such file.
        PermissionError: If it may not be read.
        ValueError: If it is cut off, of another program or version, or could run code.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}; {HOW_TO_GET_ONE}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError:
        raise
    except Exception as error:  # torch.load has no exception of its own for a foreign file
        raise ValueError(f"{path} is no checkpoint: cut off, or of another program") from error
    about = content.get(KEY) if isinstance(content, dict) else None
    if not isinstance(about, dict) or not isinstance(content.get("state_dict"), dict):
        raise ValueError(f"{path} is a file of torch, but no checkpoint of `latentgraph train`")
    if about.get("format") != FORMAT:
        raise ValueError(
            f"{path} has checkpoint format {about.get('format')}, written by latentgraph "
            f"{about.get('version')}; this is latentgraph {__version__} with format {FORMAT}"
        )
    checkpoint: dict[str, Any] = content
    return checkpoint


def load_checkpoint(path: str | Path, device: str | torch.device = "cpu") -> Segmenter:
    r"""The trained network in a checkpoint, in evaluation mode.

    Args:
        path: File written by ``latentgraph train`` or :func:`save_checkpoint`.
        device: Where it is to run.

    Returns:
        The network with its classes and its settings.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no such checkpoint, its network cannot be built here, or torch
            has no such device.
    """
    content = read(path)
    try:
        torch.zeros(1, device=device).item()
    except (AssertionError, ImportError, RuntimeError) as error:  # of absent and of unknown ones
        reason = re.split(r"\.?\s*\n|\. ", str(error))[0]  # the rest is long
        raise ValueError(
            f"expected a device that torch has here, got {device}: {reason}"
        ) from error
    about = content[KEY]
    try:
        labels = label_set(about["network"]["labels"])
        if list(labels.ids) != about["classes"]["ids"]:
            raise ValueError(f"its classes are not those of {labels.name}")
        trained_on = TrainedOn(**about["trained_on"]) if about["trained_on"] else None
        segmenter = Segmenter(NetworkConfig.from_dict(about["network"]), trained_on)
        weights = content["state_dict"].items()
        segmenter.load_state_dict(
            {name.removeprefix(PREFIX): w for name, w in weights if name.startswith(PREFIX)}
        )
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} does not fit latentgraph {__version__}: {reason}") from error
    return segmenter.to(device).eval()
