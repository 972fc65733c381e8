"""Distances and cells on the sphere, against the haversine formula and against areas."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import great_circle_km

from ecjax import sphere


def uniform(rng, n):
    """Places (n,) and (n,), as many on every square kilometre."""
    return np.degrees(np.arcsin(rng.uniform(-1, 1, n))), rng.uniform(-180, 180, n)


# Around the poles and the date line; a place there has many names.
LATITUDES = st.sampled_from([90.0, -90.0, 0.0]) | st.floats(-90, 90) | st.floats(89.9, 90)
LONGITUDES = st.sampled_from([180.0, -180.0]) | st.floats(-180, 180) | st.floats(179.9, 180)
PLACES = st.lists(st.tuples(LATITUDES, LONGITUDES), min_size=1, max_size=8)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(PLACES, PLACES, st.floats(0.01, 20_000))
def test_within_is_what_the_great_circles_say(places, others, km):
    (lat, lon), (lat_of, lon_of) = np.array(places).T, np.array(others).T
    distance = great_circle_km(lat[:, None], lon[:, None], lat_of, lon_of).min(1)
    found = sphere.within(sphere.unit_vectors(lat, lon), sphere.unit_vectors(lat_of, lon_of), km)
    # Neither formula is exact near the antipode.
    clear = np.abs(distance - km) > (1e-6 if km < 10_000 else 1.0)
    assert (found == (distance <= km))[clear].all()


def test_the_nearest_but_one():
    lat, lon = np.array([10.0, 10.0, 10.5]), np.array([179.9, -179.9, 0.0])
    places = sphere.unit_vectors(lat, lon)
    found = sphere.nearest(places, places, 2, 100)
    km = 2 * np.arcsin(found[:2] / 2) * sphere.EARTH_RADIUS_KM
    np.testing.assert_allclose(km, great_circle_km(10, 179.9, 10, -179.9), rtol=1e-9)
    assert np.isinf(found[2])


@pytest.mark.parametrize("side", [400.0, 1_500.0, 9_000.0])
def test_cells_are_of_equal_area(side):
    lat, lon = uniform(np.random.default_rng(0), 400_000)
    cells = sphere.equal_area_cells(lat, lon, side)
    count = round(4 * np.pi * (sphere.EARTH_RADIUS_KM / side) ** 2)
    rows = np.bincount(cells)
    assert len(rows) == count
    expected = len(lat) / count
    # χ² of equal expectations: mean count − 1, variance twice that.
    surplus = ((rows - expected) ** 2 / expected).sum() - (count - 1)
    assert abs(surplus) < 5 * np.sqrt(2 * count)


@pytest.mark.parametrize("side", [30.0, 800.0])
@pytest.mark.parametrize("north", [0, -38, 71, -88, 90])
def test_cells_are_about_as_wide_as_they_are_high(side, north):
    """All pairs of places within about three sides of one on the date line."""
    rng = np.random.default_rng(1)
    east, up = rng.uniform(-3, 3, (2, 600)) * side / sphere.EARTH_RADIUS_KM
    phi = np.radians(north)  # a plane that touches the sphere there, then down to the sphere
    x, z = np.cos(phi) - up * np.sin(phi), np.sin(phi) + up * np.cos(phi)
    lat, lon = np.degrees(np.arctan2(z, np.hypot(x, east))), np.degrees(np.arctan2(east, x))
    lon = lon % 360 - 180
    cells = sphere.equal_area_cells(lat, lon, side)
    same = cells[:, None] == cells
    km = great_circle_km(lat[:, None], lon[:, None], lat, lon)
    assert km[same].max() < 2 * side
    assert same[km < 0.05 * side].mean() > 0.8
    assert 30 <= len(set(cells)) <= 70


def test_names_of_one_place_are_one_cell():
    for side in (50.0, 3_000.0):
        lat, lon = np.array([12.0, 12.0, 90, 90, -90, -90]), np.array([180.0, -180, 3, -99, 0, 77])
        cells = sphere.equal_area_cells(lat, lon, side)
        assert (cells[::2] == cells[1::2]).all() and len(set(cells)) == 3


@settings(deadline=None, max_examples=100, derandomize=True)
@given(LATITUDES, LONGITUDES, st.sampled_from([40.0, 1_000.0, 9_000.0, 30_000.0]))
def test_every_place_lies_within_the_edges_of_its_cell(lat, lon, side):
    cell = sphere.equal_area_cells(np.array([lat]), np.array([lon]), side)
    south, north, west, east = sphere.cell_edges(cell, side)[:, 0]
    assert south - 1e-6 <= lat <= north + 1e-6  # asin is steep at the poles
    if abs(lat) < 90:
        assert west - 1e-9 <= (lon if lon < 180 else -180) <= east + 1e-9


def test_edges_close_up_and_share_the_area_alike():
    side = 2_000.0
    count = round(4 * np.pi * (sphere.EARTH_RADIUS_KM / side) ** 2)
    south, north, west, east = sphere.cell_edges(np.arange(count), side)
    area = (np.sin(np.radians(north)) - np.sin(np.radians(south))) * (east - west) / 720
    np.testing.assert_allclose(area, 1 / count, rtol=1e-9)
    assert west.min() == -180 and east.max() == pytest.approx(180)


def test_the_middle_of_places_on_both_sides_of_the_date_line():
    lat = np.array([0.0, 0, 80, 80, 80, 0, 0, 45])
    lon = np.array([179.0, -177, 0, 120, 240, 0, 180, 9])
    lat_mean, lon_mean = sphere.mean_places(lat, lon, np.array([0, 0, 1, 1, 1, 3, 3, -1]), 4)
    assert (lat_mean[0], lon_mean[0]) == pytest.approx((0, -179))
    assert lat_mean[1] == pytest.approx(90)
    assert np.isnan([lat_mean[2:], lon_mean[2:]]).all()  # of no places, and of opposite ones
