"""Equal Earth: published numbers, areas, symmetry, and outlines of cells."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecjax.projection import STEP, densified, equal_earth, outline

LATS = st.floats(-90, 90)
LONS = st.floats(-180, 180)


def area(points):
    """Of a polygon, by the shoelace formula; positive counterclockwise."""
    x, y = points.T
    return 0.5 * np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))


def test_extent_is_that_of_the_paper():
    x, _ = equal_earth(0.0, 180.0)
    _, y = equal_earth(90.0, 0.0)
    assert x == pytest.approx(2.7066299836, abs=1e-9)
    assert y == pytest.approx(1.3173627592, abs=1e-9)
    assert x / y == pytest.approx(2.05458, abs=1e-5)  # the paper's ratio of width to height


def test_pole_line_is_0_59_of_the_equator():
    at_pole, at_equator = equal_earth(np.array([90.0, 0.0]), 180.0)[0]
    assert at_pole / at_equator == pytest.approx(0.59, abs=5e-3)


@given(LATS, LONS)
def test_is_symmetric_about_both_axes(lat, lon):
    x, y = equal_earth(lat, lon)
    assert equal_earth(lat, -lon) == (pytest.approx(-x), pytest.approx(y))
    assert equal_earth(-lat, lon) == (pytest.approx(x), pytest.approx(-y))


@given(st.floats(-85, 85), LONS)
def test_keeps_areas(lat, lon):
    half = 0.05
    corners = [(-1, -1), (-1, 1), (1, 1), (1, -1)]
    places = np.array([(lat + half * a, lon + half * b) for a, b in corners])
    found = area(np.stack(equal_earth(*places.T), 1))
    ends = np.sin(np.radians([lat - half, lat + half]))
    assert found == pytest.approx(np.diff(ends)[0] * np.radians(2 * half), rel=1e-4)


def test_the_whole_sphere_has_its_area():
    assert area(outline(-90, 90, -180, 180)) == pytest.approx(4 * np.pi, rel=2e-4)


def test_central_meridian_is_the_vertical_axis():
    assert equal_earth(33.0, 150.0, central=150.0)[0] == 0
    there, here = equal_earth(33.0, 170.0, central=150.0), equal_earth(33.0, 20.0)
    assert np.allclose(there, here)


def test_shapes_go_together():
    x, y = equal_earth(np.zeros((3, 1)), np.zeros(4))
    assert x.shape == y.shape == (3, 4)


def test_outline_runs_counterclockwise_through_the_corners():
    points = outline(-20, 30, 40, 70)
    assert area(points) > 0
    for lat, lon in ((-20, 40), (-20, 70), (30, 70), (30, 40)):
        assert np.abs(points - np.array(equal_earth(lat, lon))).sum(1).min() < 1e-12


def test_outline_follows_curved_meridians():
    corners = np.array([(-60, 100), (-60, 170), (60, 170), (60, 100)])
    rough = area(np.stack(equal_earth(*corners.T.astype(float)), 1))
    true = (2 * np.sin(np.radians(60))) * np.radians(70)
    assert area(outline(-60, 60, 100, 170)) == pytest.approx(true, rel=1e-3)
    assert abs(rough / true - 1) > 0.01  # so that the test above could fail


@given(LATS, LATS, LONS, LONS)
def test_densified_keeps_ends_and_steps_shortly(lat, other, lon, end):
    points = densified((lat, lon), (other, end))
    assert tuple(points[0]) == (lat, lon)
    assert points[-1] == pytest.approx([other, end])
    assert np.abs(np.diff(points[:, 0])).max() <= STEP + 1e-9
