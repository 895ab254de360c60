import base64

import numpy as np
import pytest

from latentgraph.scannet.colorings import (
    REST,
    Classes,
    Colors,
    Heat,
    Latents,
    distinct,
    packed,
    ramp,
    smallest,
)
from latentgraph.scannet.labels import SCANNET200

SHOWN = np.array([0, 2, 3])


def decode(array: dict[str, str]) -> list[int]:
    found: list[int] = np.frombuffer(base64.b64decode(array["bytes"]), array["type"]).tolist()
    return found


def test_own_colors() -> None:
    color = np.arange(12, dtype=np.uint8).reshape(4, 3)
    coloring = Colors("Colors", color)
    assert np.array_equal(coloring.rgb(), color)
    assert decode(coloring.encode(SHOWN)["data"]) == color[SHOWN].reshape(-1).tolist()


def test_classes_and_vertices_of_none() -> None:
    palette = Classes.palette((1, 2, 3), (4, 5, 6))
    coloring = Classes("Labels", np.array([1, 0, -1, 1]), ("wall", "floor"), palette)
    assert coloring.rgb().tolist() == [[4, 5, 6], [1, 2, 3], list(REST), [4, 5, 6]]
    about = coloring.encode(SHOWN)
    assert about["names"] == ["wall", "floor", "unlabeled"]
    assert decode(about["colors"]) == [1, 2, 3, 4, 5, 6, *REST]
    assert decode(about["data"]) == [1, 2, 1]


def test_all_classes_of_a_label_set() -> None:
    index = np.arange(-1, 200)
    rgb = Classes.of(SCANNET200, "Labels", index).rgb()
    assert [tuple(color) for color in rgb.tolist()] == [REST, *SCANNET200.colors]


def test_heat_goes_from_low_to_high_and_no_further() -> None:
    coloring = Heat("Confidence", np.array([-9, 2, 3, 4, 99.0]), 2.0, 4.0)
    assert decode(coloring.encode(np.arange(5))["data"]) == [0, 0, 128, 255, 255]
    assert np.array_equal(coloring.rgb(), ramp()[[0, 0, 128, 255, 255]])


def test_the_ramp_gets_brighter_all_the_way() -> None:
    brightness = ramp() @ np.array([0.299, 0.587, 0.114])
    assert ramp().shape == (256, 3)
    assert (np.diff(brightness) > -1).all()  # rounding of single channels
    assert brightness[-1] > brightness[0] + 150


def test_colors_of_latent_nodes_differ() -> None:
    colors = distinct(64)
    assert len(np.unique(colors, axis=0)) == 64
    neighbors = np.abs(np.diff(colors.astype(int), axis=0)).sum(axis=1)
    assert neighbors.min() > 60
    assert distinct(0).shape == (0, 3)


def test_latent_nodes() -> None:
    affinity = np.array([[0.1, 0.4], [0, 0], [0.8, 0.2]])
    coloring = Latents("block", np.array([2, 1, 0, 2]), affinity)
    assert coloring.strongest.index.tolist() == [0, -1, 1, 0]
    assert np.array_equal(coloring.rgb()[1], REST)
    heat = coloring.map(1)
    assert heat.title == "block, latent 1"
    assert heat.values.tolist() == [0.2, 0, 0.4, 0.2]
    assert heat.high == 0.8
    about = coloring.encode(np.array([0, 2]))
    assert about["nodes"] == 2  # the node of vertex 1 is not shown
    assert decode(about["node"]) == [1, 0]
    assert decode(about["maps"]) == [32, 255, 128, 64]
    assert about["names"] == ["latent 0", "latent 1", "none"]


def test_affinities_that_are_all_zero() -> None:
    coloring = Latents("block", np.array([0, 0]), np.zeros((1, 3)))
    assert coloring.strongest.index.tolist() == [-1, -1]
    assert decode(coloring.encode(np.array([0]))["maps"]) == [0, 0, 0]


@pytest.mark.parametrize(
    ("most", "kind"), [(255, "u1"), (256, "u2"), (65_535, "u2"), (65_536, "u4")]
)
def test_numbers_take_as_few_bytes_as_they_can(most: int, kind: str) -> None:
    values = np.array([3, most])
    array = packed(smallest(values))
    assert array["type"] == kind
    little = np.frombuffer(base64.b64decode(array["bytes"]), f"<{kind}")
    assert np.array_equal(little, values)
