import numpy as np
import pytest

from latentgraph.scannet.rooms.sheets import Sheet, basin, box, disk, rectangle, tube, turned, wave

COLOR = np.array([3.0, 5.0, 7.0])


def normal(sheet: Sheet, s: float, t: float) -> np.ndarray:
    step = 1e-6
    here, right, above = sheet.at(np.array([s, s + step, s]), np.array([t, t, t + step]))
    across = np.cross(right - here, above - here)
    return across / np.linalg.norm(across)


def middle(sheet: Sheet) -> np.ndarray:
    return sheet.at(np.array([sheet.width / 2]), np.array([sheet.height / 2]))[0]


def test_rectangle_spans_its_edges() -> None:
    sheet = rectangle((1, 2, 3), (0, 5, 0), (0, 0, 7), COLOR)
    assert (sheet.width, sheet.height) == (5, 7)
    corners = sheet.at(np.array([0.0, 5.0, 0.0]), np.array([0.0, 0.0, 7.0]))
    np.testing.assert_allclose(corners, [[1, 2, 3], [1, 7, 3], [1, 2, 10]])
    np.testing.assert_allclose(normal(sheet, 2, 3), [1, 0, 0], atol=1e-6)


def test_box_is_seen_from_outside() -> None:
    sides = box((1, 2, 3), (2, 3, 5), COLOR, "front back left right top")
    center = np.array([2, 3.5, 5.5])
    outward = [[0, 1, 0], [0, -1, 0], [-1, 0, 0], [1, 0, 0], [0, 0, 1]]
    for side, expected in zip(sides, outward, strict=True):
        np.testing.assert_allclose(normal(side, 1, 1), expected, atol=1e-6)
        assert np.dot(middle(side) - center, expected) > 0
    assert sum(side.width * side.height for side in sides) == pytest.approx(2 * 15 + 2 * 10 + 6)


def test_basin_is_open_above_and_closed_everywhere_else() -> None:
    sheets = basin((0, 0, 0), (1.7, 0.7, 0.6), 0.1, COLOR)
    up = [sheet for sheet in sheets if normal(sheet, 0.01, 0.01)[2] > 0.9]
    # Rim and bottom together cover the basin once, seen from above.
    assert sum(sheet.width * sheet.height for sheet in up) == pytest.approx(1.7 * 0.7)
    inner = np.array([0.85, 0.35, 0.5])
    upright = [sheet for sheet in sheets if sheet not in up]
    hollow = [sheet for sheet in upright if sheet.at(np.zeros(1), np.zeros(1))[0, 2] > 0.1]
    assert len(hollow) == 4
    assert all(np.dot(normal(sheet, 0.1, 0.1), inner - middle(sheet)) > 0 for sheet in hollow)


def test_round_sheets_face_outward_and_upward() -> None:
    cone = tube((1, 2, 0), (0.3, 0.5), 0.7, COLOR)
    s = np.linspace(0, cone.width, 11)
    ring = cone.at(s, np.full(11, 0.7)) - [1, 2, 0]
    np.testing.assert_allclose(np.linalg.norm(ring[:, :2], axis=1), 0.5)
    for at in (0.1, 1.1, 2.3):
        out = cone.at(np.array([at]), np.array([0.3]))[0] - [1, 2, 0.3]
        assert np.dot(normal(cone, at, 0.3), out) > 0
    np.testing.assert_allclose(normal(disk((0, 0, 1), 0.5, COLOR), 0.7, 0.2), [0, 0, 1], atol=1e-5)


def test_wave_keeps_to_its_folds() -> None:
    sheet = wave((0, 0.15, 0.1), 1.3, 2.0, 0.3, COLOR)
    s = np.linspace(0, 1.3, 97)
    pos = sheet.at(s, np.full(97, 1.0))
    assert pos[:, 1].max() - 0.15 == pytest.approx(0.05, abs=1e-3)
    assert (pos[:, 0].min(), pos[:, 0].max()) == (0, 1.3)
    assert normal(sheet, 0.075, 1.0)[1] > 0.9


def test_turned_moves_about_its_axis() -> None:
    (sheet,) = turned([rectangle((2, 1, 0), (1, 0, 0), (0, 0, 1), COLOR)], np.pi / 2, (1, 1))
    np.testing.assert_allclose(sheet.at(np.zeros(1), np.zeros(1)), [[1, 2, 0]], atol=1e-12)
    np.testing.assert_allclose(sheet.at(np.ones(1), np.zeros(1)), [[1, 3, 0]], atol=1e-12)
