from dataclasses import fields

import numpy as np
import pytest

from latentgraph.scannet.frame import UNITS, doubt, height, in_meters, near_zero
from latentgraph.scannet.points import Points

VERTICES = 7


@pytest.fixture
def points() -> Points:
    random = np.random.default_rng(0)
    pos, normal = random.normal(size=(2, VERTICES, 3)).astype(np.float32)
    return Points(pos, normal=normal, label=np.arange(VERTICES))


@pytest.mark.parametrize(("up", "axis"), [("x", 0), ("y", 1), ("z", 2)])
def test_the_axis_goes_up_and_left_stays_left(points: Points, up: str, axis: int) -> None:
    turned = in_meters(points, up=up)
    assert np.array_equal(turned.pos[:, 2], points.pos[:, axis])
    basis = in_meters(Points(np.eye(3, dtype=np.float32), normal=np.eye(3)), up=up)
    assert np.linalg.det(basis.pos) == pytest.approx(1)
    assert basis.normal is not None
    assert np.array_equal(basis.normal, basis.pos)
    assert np.array_equal(turned.label, points.label)


@pytest.mark.parametrize(
    ("unit", "meters"), [("m", 1), ("cm", 0.01), ("mm", 0.001), ("ft", 0.3048)]
)
def test_units(points: Points, unit: str, meters: float) -> None:
    made = in_meters(points, unit)
    np.testing.assert_allclose(made.pos, meters * points.pos, rtol=1e-6)
    assert made.pos.dtype == np.float32
    assert np.array_equal(made.normal, points.normal)


def test_twelve_inches_are_a_foot() -> None:
    assert 12 * UNITS["in"] == pytest.approx(UNITS["ft"])


def test_meters_with_z_up_stay_as_they_are(points: Points) -> None:
    made = in_meters(points)
    for field in fields(Points):
        assert np.array_equal(getattr(made, field.name), getattr(points, field.name))


def test_what_is_far_from_zero_keeps_its_digits() -> None:
    near = np.random.default_rng(0).uniform(0, 5, (VERTICES, 3))
    there = np.array([456_789.0, 5_432_109.0, -431.0])
    pos, origin = near_zero(near + there)
    assert pos.dtype == np.float32
    np.testing.assert_allclose(pos + origin, near + there, rtol=0, atol=1e-6)
    assert np.array_equal(origin, np.floor(origin))
    # One stray point at zero does not move the others back.
    pos, origin = near_zero(np.vstack([near + there, np.zeros(3)]))
    np.testing.assert_allclose(pos[:-1] + origin, near + there, rtol=0, atol=1e-6)


def test_what_is_near_zero_or_rounded_already_stays() -> None:
    near = np.random.default_rng(0).uniform(-999, 999, (VERTICES, 3))
    for pos in (near, near.astype(np.float32), (near + 1e6).astype(np.float32), near[:0]):
        found, origin = near_zero(pos)
        assert np.array_equal(found, pos.astype(np.float32))
        assert not origin.any()


def test_other_units_and_axes(points: Points) -> None:
    with pytest.raises(ValueError, match="a unit of m, cm, mm, ft, in, got 'km'"):
        in_meters(points, unit="km")
    with pytest.raises(ValueError, match="x, y or z as the axis that goes up, got 'w'"):
        in_meters(points, up="w")


@pytest.mark.parametrize(("meters", "odd"), [(1.49, True), (1.5, False), (6, False), (6.01, True)])
def test_a_height_that_no_room_has(meters: float, odd: bool) -> None:
    pos = np.array([[9, -9, -1], [0, 0, meters - 1]], dtype=np.float32)
    assert height(pos) == pytest.approx(meters)
    said = doubt(np.round(pos, 3))
    assert (said is not None) == odd
    if said is not None:
        assert f"{meters:.3g} m high" in said
        assert "--unit" in said
        assert "--up" in said
