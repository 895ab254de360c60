r"""Transforms by name, as recipes list them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch_geometric.transforms import BaseTransform, Compose

from latentgraph.scannet.transforms.colors import (
    ColorAutoContrast,
    ColorDrop,
    ColorJitter,
    ColorShift,
    NormalDrop,
)
from latentgraph.scannet.transforms.elastic import ElasticDistortion
from latentgraph.scannet.transforms.motions import (
    RandomFlip,
    RandomJitter,
    RandomRotateZ,
    RandomScale,
    RandomTilt,
)
from latentgraph.scannet.transforms.subsets import RandomCrop, RandomDropout

AUGMENTATIONS: dict[str, type[BaseTransform]] = {
    kind.__name__: kind
    for kind in (
        RandomRotateZ,
        RandomTilt,
        RandomScale,
        RandomFlip,
        RandomJitter,
        ElasticDistortion,
        RandomDropout,
        RandomCrop,
        ColorAutoContrast,
        ColorShift,
        ColorJitter,
        ColorDrop,
        NormalDrop,
    )
}


def augmentation(steps: Sequence[Mapping[str, Mapping[str, Any]]]) -> Compose:
    r"""Random transforms, one after the other.

    Args:
        steps: For each step its name and its arguments, as in ``[{"RandomRotateZ": {"degrees":
            30.0}}, {"RandomFlip": {}}]``.

    Returns:
        One transform, which does all of them.

    Raises:
        ValueError: For a name that is no transform, or arguments that it does not take.
    """
    made = []
    for step in steps:
        if not isinstance(step, Mapping) or len(step) != 1:
            raise ValueError(f"expected one transform by name, with its arguments, got {step}")
        ((name, arguments),) = step.items()
        if name not in AUGMENTATIONS:
            raise ValueError(f"expected a transform of {', '.join(AUGMENTATIONS)}, got {name!r}")
        try:
            made.append(AUGMENTATIONS[name](**arguments))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} with {arguments}: {error}") from error
    return Compose(made)
