"""The land: where it is, that nothing crosses the date line, and cutting at other meridians."""

import numpy as np
import pytest
from matplotlib.path import Path

from ecjax import coastlines
from ecjax.coastlines import between, coasts, cut, land

SQUARE = np.array([(-10.0, 0.0), (10.0, 0.0), (10.0, 20.0), (-10.0, 20.0)])


def area(ring):
    x, y = ring.T
    return abs(0.5 * np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))


def is_land(lat, lon):
    return sum(Path(ring).contains_point((lon, lat)) for ring in land()) % 2 == 1


@pytest.mark.parametrize(
    ("place", "lat", "lon", "there"),
    [
        ("Kansas", 38, -98, True),
        ("Amazon", -5, -60, True),
        ("Sahara", 23, 10, True),
        ("Chukotka, east of the date line", 66.5, -175, True),
        ("Chukotka, west of it", 67, 178, True),
        ("Siberia", 62, 100, True),
        ("the South Pole", -89.5, 0, True),
        ("the Atlantic", 30, -40, False),
        ("the Pacific", 0, -150, False),
        ("the Caspian Sea", 42, 50.5, False),
        ("the North Pole", 89, 0, False),
    ],
)
def test_land_is_where_it_is(place, lat, lon, there):
    assert is_land(lat, lon) == there


def test_rings_stay_on_the_earth_and_do_not_cross_the_date_line():
    for ring in land():
        assert ring.shape[1] == 2 and len(ring) > 2
        assert np.abs(ring[:, 0]).max() <= 180 and np.abs(ring[:, 1]).max() <= 90
        jumps = np.abs(np.diff(np.append(ring[:, 0], ring[0, 0]))) > 180
        at_pole = (ring[:, 1] == -90) & (np.roll(ring[:, 1], -1) == -90)
        assert not (jumps & ~at_pole).any()


def test_land_covers_its_share_of_the_earth():
    # ∫ sin(lat) dlon around a ring is its area on the unit sphere; holes turn the other way.
    total = 0.0
    for ring in land():
        lon, height = np.radians(ring[:, 0]), np.sin(np.radians(ring[:, 1]))
        total += np.sum((np.roll(lon, -1) - lon) * (height + np.roll(height, -1)) / 2)
    assert abs(total) / (4 * np.pi) == pytest.approx(0.289, abs=0.01)


def test_coasts_leave_out_the_date_line_and_the_pole():
    antarctica = min(land(), key=lambda ring: ring[:, 1].min())
    lines = coasts(antarctica)
    assert len(lines) == 1
    assert lines[0][:, 1].min() > -89
    for ring in land():
        for line in coasts(ring):
            steps = np.abs(np.diff(line, axis=0))
            assert steps.max() < 12  # no streak over the map
            on_line = (np.abs(line[:-1, 0]) == 180) & (np.abs(line[1:, 0]) == 180)
            assert not on_line.any()


def test_a_coast_without_date_line_is_closed():
    (line,) = coasts(SQUARE)
    assert line.tolist() == [*SQUARE.tolist(), SQUARE[0].tolist()]


def test_cutting_parts_a_ring_at_the_meridian():
    pieces = cut(SQUARE, 0.0)
    assert sorted((p[:, 0].min(), p[:, 0].max()) for p in pieces) == [(0, 10), (350, 360)]
    assert sum(map(area, pieces)) == pytest.approx(area(SQUARE))


@pytest.mark.parametrize("west", [-180.0, -90.0, -33.0, 0.0, 70.0])
def test_cutting_keeps_all_land_within_the_turn(west):
    for ring in land():
        pieces = cut(ring, west)
        assert all(p[:, 0].min() >= west and p[:, 0].max() <= west + 360 for p in pieces)
        assert sum(map(area, pieces)) == pytest.approx(area(ring), rel=1e-9)


def test_nothing_is_left_of_a_ring_elsewhere():
    assert between(SQUARE, 20.0).shape == (0, 2)


def test_data_is_small_and_its_source_is_named():
    assert coastlines.DATA.stat().st_size < 80_000
    assert "Natural Earth" in coastlines.__doc__ and "public domain" in coastlines.__doc__


def test_rings_cannot_be_changed_by_who_reads_them():
    with pytest.raises(ValueError, match="read-only"):
        land()[0][0, 0] = 1.0
