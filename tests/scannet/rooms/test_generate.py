from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import pytest

from latentgraph.scannet.labels import SCANNET20
from latentgraph.scannet.rooms import Scene, make_scene
from latentgraph.scannet.rooms.furniture import NYU40
from latentgraph.scannet.rooms.generate import KINDS
from latentgraph.scannet.rooms.room_types import ROOM_TYPES

COARSE = 0.13
SHARED = ("slab", "tall_box", "hanging", "panel")


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    singles = [make_scene(7, "rooms", [name], edge=COARSE) for name in ROOM_TYPES]
    return [*singles, *(make_scene(seed, "apartments", edge=COARSE) for seed in (2, 3, 5))]


def aligned(scene: Scene) -> np.ndarray:
    return scene.pos @ scene.alignment[:3, :3].T + scene.alignment[:3, 3]


def present(scene: Scene) -> set[str]:
    return {scene.categories[i] for i in np.unique(scene.instance) if i >= 0}


@pytest.mark.parametrize("kind", KINDS)
def test_scene_depends_on_its_seed_alone(kind: str) -> None:
    first, again, other = (make_scene(seed, kind, edge=COARSE) for seed in (3, 3, (3, 5)))
    for field in fields(Scene):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(again, field.name))
    assert first.pos.shape != other.pos.shape or not np.array_equal(first.pos, other.pos)


# At the usual edge, the apartment of seed 75 would have more than 40,000.
@pytest.mark.parametrize(("kind", "seeds"), [("rooms", range(7)), ("apartments", (0, 1, 2, 75))])
def test_number_of_vertices(kind: str, seeds: Sequence[int]) -> None:
    sizes = [len(make_scene(seed, kind).pos) for seed in seeds]
    assert min(sizes) >= 15_000
    assert max(sizes) <= 40_000


def test_shapes_and_types(scenes: list[Scene]) -> None:
    for scene in scenes:
        number = len(scene.pos)
        assert scene.pos.dtype == np.float32
        assert scene.color.dtype == np.uint8
        assert scene.faces.dtype == np.int32
        assert scene.pos.shape == scene.color.shape == (number, 3)
        for name in ("nyu40", "instance", "segment", "room"):
            values = getattr(scene, name)
            assert (values.dtype, values.shape) == (np.int64, (number,))
        assert np.isfinite(scene.pos).all()
        assert 0 <= scene.faces.min() < scene.faces.max() < number
        assert (scene.pos.min(axis=0) > -1e-3).all()


def test_labels_segments_and_objects_agree(scenes: list[Scene]) -> None:
    for scene in scenes:
        nyu40 = np.array([*(NYU40[category] for category in scene.categories), 0])
        np.testing.assert_array_equal(scene.nyu40, nyu40[scene.instance])
        for owner in (scene.instance, scene.room):
            pairs = np.unique(np.stack([scene.segment, owner]), axis=1)
            assert len(np.unique(pairs[0])) == pairs.shape[1], "a segment has one owner"
        assert 0.003 < (scene.instance < 0).mean() <= 0.025


def test_all_classes_occur(scenes: list[Scene]) -> None:
    assert {int(label) for scene in scenes for label in scene.nyu40} == {0, 29, *SCANNET20.ids}


def test_room_types_have_their_furniture(scenes: list[Scene]) -> None:
    shared = {getattr(kind, shape) for kind in ROOM_TYPES.values() for shape in SHARED}
    for scene in scenes[:5]:
        (name,) = scene.types
        kind = ROOM_TYPES[name]
        assert present(scene) & shared == {getattr(kind, shape) for shape in SHARED}
    assert "toilet" in present(scenes[0])
    assert "toilet" not in present(scenes[1])


def test_anchors_are_out_of_sight_of_shared_shapes(scenes: list[Scene]) -> None:
    shared = {getattr(kind, shape) for kind in ROOM_TYPES.values() for shape in SHARED}
    common = {"wall", "floor", "door", "box"}
    for scene in scenes:
        category = np.array([*scene.categories, ""])[scene.instance]
        for room in np.unique(scene.room):
            here = scene.room == room
            one = scene.pos[here & np.isin(category, list(shared))]
            other = scene.pos[here & ~np.isin(category, [*shared, *common, ""])]
            assert len(one) > 50
            assert len(other) > 50
            gap = min(np.linalg.norm(one - point, axis=1).min() for point in other)
            assert gap > (1.6 if len(scene.types) == 1 else 1.1)


def test_alignment_levels_the_floor_and_squares_the_walls(scenes: list[Scene]) -> None:
    for scene in scenes:
        pos = aligned(scene)
        for number, category in enumerate(scene.categories):
            points = pos[scene.instance == number]
            if category == "floor" and len(points):
                assert abs(points[:, 2]).max() < 0.05
            if category == "wall" and len(points):
                assert points[:, :2].std(axis=0).min() < 0.01
        np.testing.assert_allclose(pos[:, :2].min(axis=0), -pos[:, :2].max(axis=0), atol=0.1)


def test_headings_differ() -> None:
    headings = [make_scene(seed, "rooms", edge=0.3).alignment[0, 0] for seed in range(5)]
    assert np.ptp(headings) > 0.3


def test_rooms_of_an_apartment(scenes: list[Scene]) -> None:
    for scene in scenes[5:]:
        assert len(scene.types) in (3, 4)
        assert len(set(scene.types)) == len(scene.types)
        np.testing.assert_array_equal(np.unique(scene.room), np.arange(len(scene.types)))
        pos = aligned(scene)
        areas = []
        for room in range(len(scene.types)):
            points = pos[(scene.room == room) & (scene.nyu40 == 2), :2]
            areas.append((points.min(axis=0), points.max(axis=0)))
        for i, (low, high) in enumerate(areas):
            for other_low, other_high in areas[:i]:
                assert np.maximum(other_low - high, low - other_high).max() > 0.1


def test_faces_look_up_from_the_floor_and_into_the_room_from_the_walls(scenes: list[Scene]) -> None:
    for scene in scenes[:5]:
        pos = aligned(scene).astype(np.float64)
        a, b, c = (pos[scene.faces[:, corner]] for corner in range(3))
        normal, label = np.cross(b - a, c - a), scene.nyu40[scene.faces[:, 0]]
        # 6 mm of noise over edges of 13 cm tilt a face, and turn none.
        assert (normal[label == 2, 2] > 0).all()
        walls = label == 1
        inward = -(normal * (a + b + c))[walls, :2].sum(axis=1)
        assert (inward > 0).mean() > 0.99


def test_scan_has_holes_and_noise() -> None:
    clean_area = make_scene(11, "rooms", edge=COARSE)
    floor = aligned(clean_area)[clean_area.nyu40 == 2]
    assert 0.003 < floor[:, 2].std() < 0.009
    used = np.bincount(clean_area.faces.ravel(), minlength=len(clean_area.pos))
    assert (used < 6)[clean_area.nyu40 == 2].mean() > 0.1


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="'rooms' or 'apartments', got 'houses'"):
        make_scene(0, "houses")
    with pytest.raises(ValueError, match=r"one to four of .*'bathroom'.* got \['cellar'\]"):
        make_scene(0, types=["cellar"])
    with pytest.raises(ValueError, match=r"one to four of .* got \[\]"):
        make_scene(0, types=[])
    with pytest.raises(ValueError, match=r"from 0\.01 to 0\.5 metres, got 6\.5"):
        make_scene(0, edge=6.5)
    with pytest.raises(ValueError, match="non-negative"):
        make_scene(-1)
