"""Embeddings of the coordinates, against SciPy's harmonics, quadrature and the addition theorem."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from ecjax import sphere
from ecjax.coordinates import Coordinates, degrees_and_orders, harmonics
from ecjax.errors import InputError

# Around the poles and the date line; a place there has many names.
LATITUDES = st.sampled_from([90.0, -90.0, 0.0]) | st.floats(-90, 90) | st.floats(89.9, 90)
LONGITUDES = st.sampled_from([180.0, -180.0]) | st.floats(-180, 180) | st.floats(179.9, 180)
PLACES = st.tuples(LATITUDES, LONGITUDES)


@pytest.mark.parametrize("degree", [1, 10, 40])
def test_harmonics_are_scipys(degree):
    rng = np.random.default_rng(0)
    lat = np.concatenate([[90, -90, 0, 0, 89.999], rng.uniform(-90, 90, 40)])
    lon = np.concatenate([[0, 0, 180, -180, 12], rng.uniform(-180, 180, 40)])
    found = Coordinates(degree=degree).encode(lat, lon)
    assert found.dtype == np.float64 and found.flags.c_contiguous
    assert found.shape == (45, (degree + 1) ** 2 - 1)
    names = Coordinates(degree=degree).columns
    for column, name, (d, m) in zip(found.T, names, degrees_and_orders(degree), strict=True):
        y = special.sph_harm_y(d, abs(m), np.radians(90 - lat), np.radians(lon))
        # SciPy's are complex and carry the Condon-Shortley phase.
        part = y.real if m >= 0 else y.imag
        expected = part if m == 0 else np.sqrt(2) * (-1) ** m * part
        np.testing.assert_allclose(column, expected, atol=1e-12, err_msg=name)
        assert name == f"Y({d},{m})"


def test_harmonics_are_orthonormal_and_of_mean_zero():
    """Gauss-Legendre in sin φ × equal steps in λ is exact for products of degree 10."""
    nodes, weights = np.polynomial.legendre.leggauss(11)
    lon = np.arange(22) * 360 / 22 - 180
    lat, lon = (axis.ravel() for axis in np.meshgrid(np.degrees(np.arcsin(nodes)), lon))
    weight = np.tile(weights, 22) * 2 * np.pi / 22
    y = harmonics(lat, lon, 10)
    np.testing.assert_allclose((y.T * weight) @ y, np.eye(120), atol=1e-13)
    np.testing.assert_allclose(weight @ y, 0, atol=1e-13)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(PLACES, PLACES)
def test_products_depend_on_the_distance_alone(one, other):
    """Σ_m Y(l, m) Y'(l, m) = (2l + 1)/4π P_l(cos γ): nothing happens at poles and date line."""
    (lat, lon) = np.array([one, other]).T
    y = Coordinates(degree=12).encode(lat, lon)
    a, b = sphere.unit_vectors(lat, lon)
    found = np.add.reduceat(y[0] * y[1], [d**2 - 1 for d in range(1, 13)])
    expected = [(2 * d + 1) / (4 * np.pi) * special.eval_legendre(d, a @ b) for d in range(1, 13)]
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("encoding", ["latlon", "spherical_harmonics"])
def test_a_place_has_one_vector(encoding):
    lat, lon = [90, 90, -90, -90, 12, 12, 0.0, -0.0], [5, -170, 180, 3, 180, -180, 0.0, -0.0]
    vectors = Coordinates(encoding).encode(np.array(lat), np.array(lon))
    assert vectors[::2].tobytes() == vectors[1::2].tobytes()


def test_latitude_and_longitude():
    place = Coordinates("latlon")
    assert place.columns == ("lat", "lon") and place.degree is None
    found = place.encode(np.array([10, -20.5]), np.array([-179.5, 180]))
    assert found.tolist() == [[10, -179.5], [-20.5, -180]] and found.dtype == np.float64


def test_defaults():
    assert Coordinates() == Coordinates("spherical_harmonics", 10)
    assert Coordinates(degree=np.int64(3)) == Coordinates(degree=3)


@pytest.mark.parametrize(
    ("encoding", "degree", "words"),
    [
        ("harmonics", None, 'did you mean "spherical_harmonics"'),
        (3, None, "unknown value of encoding"),
        ("latlon", 10, "remove one"),
        ("spherical_harmonics", 41, "from 1 to 40"),
        ("spherical_harmonics", 2.0, "from 1 to 40"),
    ],
)
def test_what_cannot_be_made_is_refused(encoding, degree, words):
    with pytest.raises(InputError, match=f"ecjax.Coordinates.*{words}"):
        Coordinates(encoding, degree)
