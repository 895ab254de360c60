import numpy as np
import pytest

from latentgraph.scannet.labels import SCANNET20, SCANNET200
from latentgraph.scannet.rooms.furniture import (
    NYU40,
    Item,
    closed_door,
    clutter,
    doorway,
    hanging,
    panel,
    slab,
    tall_box,
)
from latentgraph.scannet.rooms.room_types import ROOM_TYPES

ANCHORS = sorted(
    {make for kind in ROOM_TYPES.values() for make in kind.anchors}, key=lambda make: make.__name__
)
SHARED = {"slab": slab, "tall_box": tall_box, "hanging": hanging, "panel": panel}


def vertices(item: Item) -> np.ndarray:
    grids = []
    for sheet in item.sheets:
        s, t = np.meshgrid(np.linspace(0, sheet.width, 17), np.linspace(0, sheet.height, 13))
        grids.append(sheet.at(s.ravel(), t.ravel()))
    return np.concatenate(grids)


@pytest.mark.parametrize("seed", [2, 3, 5, 7, 11])
@pytest.mark.parametrize("make", ANCHORS, ids=lambda make: make.__name__)
def test_anchor_fills_its_box(make, seed: int) -> None:
    item = make(np.random.default_rng(seed))
    pos = vertices(item)
    assert (pos >= np.array(item.low) - 0.02).all()
    assert (pos <= np.array(item.high) + 0.02).all()
    np.testing.assert_allclose(np.ptp(pos, axis=0), np.subtract(item.high, item.low), atol=0.17)


@pytest.mark.parametrize("shape", SHARED)
def test_shared_shape_does_not_depend_on_its_class(shape: str) -> None:
    categories = {getattr(kind, shape) for kind in ROOM_TYPES.values()}
    assert len(categories) > 1
    items = [SHARED[shape](category, np.random.default_rng(13)) for category in categories]
    assert {item.category for item in items} == categories
    for item in items[1:]:
        np.testing.assert_array_equal(vertices(item), vertices(items[0]))
        for sheet, first in zip(item.sheets, items[0].sheets, strict=True):
            np.testing.assert_array_equal(sheet.color, first.color)


@pytest.mark.parametrize("shape", SHARED)
def test_shared_shape_fills_its_box(shape: str) -> None:
    item = SHARED[shape]("any", np.random.default_rng(17))
    pos = vertices(item)
    assert (pos >= np.array(item.low) - 1e-9).all()
    assert (pos <= np.array(item.high) + 1e-9).all()


def test_colors_are_bytes() -> None:
    rng = np.random.default_rng(19)
    items = [make(rng) for make in ANCHORS for _ in range(23)]
    items += [make("any", rng) for make in SHARED.values() for _ in range(23)]
    items += [clutter(rng), closed_door(0.9, rng), doorway(0.9, 0.2, True, rng)]
    colors = np.array([sheet.color for item in items for sheet in item.sheets])
    assert colors.min() >= 0
    assert colors.max() <= 255


def test_leaf_is_part_of_a_doorway_only_where_asked_for() -> None:
    rng = np.random.default_rng(29)
    with_leaf, without = doorway(0.9, 0.2, True, rng), doorway(0.9, 0.2, False, rng)
    assert vertices(with_leaf)[:, 1].max() > 0.7
    assert vertices(without)[:, 1].max() == 0


def test_every_class_of_scannet20_is_generated_and_one_that_is_none() -> None:
    assert set(NYU40.values()) - set(SCANNET20.ids) == {29}
    assert set(SCANNET20.ids) <= set(NYU40.values())
    assert set(NYU40) <= set(SCANNET200.names)
