import numpy as np
import pytest
from scipy.integrate import quad

from ecjax import utm

# By PROJ 9.5.1.
PROJ = [
    (0.0, 0.0, 31, 166021.44308054057, 0.0),
    (52.2, -1.0, 30, 636681.487866331, 5785168.445983762),
    (-33.9, 18.4, 34, 259583.22166043136, 6245888.045440769),
    (83.99, 179.999, 60, 535041.0886568103, 9327889.701133495),
    (-79.9, -180.0, 1, 441292.552740396, 1128062.1713838298),
    (60.0, 6.0, 32, 332705.1788755489, 6655205.483634564),
]


@pytest.mark.parametrize(("lat", "lon", "zone", "x", "y"), PROJ)
def test_equals_proj(lat, lon, zone, x, y):
    lat, lon = np.array([lat]), np.array([lon])
    np.testing.assert_array_equal(utm.zones(lon), zone)
    found = utm.project(lat, lon, np.array([zone]), lat < 0)
    np.testing.assert_allclose(np.ravel(found), [x, y], rtol=0, atol=1e-6)


def test_a_northing_on_the_central_meridian_is_the_length_of_the_meridian():
    lat = np.array([10.0, 45.0, 83.9])
    _, y = utm.project(lat, np.full(3, 9.0), np.full(3, 32), np.zeros(3, bool))
    square = 0.00669437999014132  # of the eccentricity

    def arc(phi):
        return 6378137 * (1 - square) / (1 - square * np.sin(phi) ** 2) ** 1.5

    lengths = [quad(arc, 0, np.radians(phi), epsabs=1e-7)[0] for phi in lat]
    np.testing.assert_allclose(y, 0.9996 * np.array(lengths), rtol=0, atol=1e-6)


def test_zones_go_round_the_earth():
    lon = np.array([-180.0, -174.0, -174.0001, -0.0001, 0.0, 5.9999, 179.9999, 180.0])
    np.testing.assert_array_equal(utm.zones(lon), [1, 2, 1, 30, 31, 31, 60, 1])


def test_a_neighbouring_zone_reaches_over_the_date_line():
    lat, south = np.array([10.0, 10.0]), np.zeros(2, bool)
    inside, beyond = utm.project(lat, np.array([179.9, -179.9]), np.array([60, 60]), south)[0]
    assert 0 < beyond - inside < 0.2 * 111_400
    west_of_it = utm.project(lat[:1], np.array([179.9]), np.array([1]), south[:1])[0]
    assert west_of_it < utm.project(lat[:1], np.array([-180.0]), np.array([1]), south[:1])[0]
