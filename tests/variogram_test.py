"""The variogram's range: against plain sums over pairs, a plain fit, and in made-up fields."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import empirical_variogram, great_circle_km
from scipy import optimize

from ecjax import correlation, sphere, variogram

N = 700
FACTOR = 1.8  # that ranges in made-up fields are found within


def places_of(rng, n, where="date line", half=7.0):
    if where == "pole":
        return 90 - half * np.sqrt(rng.uniform(size=n)), rng.uniform(-180, 180, n)
    lon = rng.uniform(-half, half, n) + 180
    return rng.uniform(-half, half, n), np.where(lon > 180, lon - 360, lon)


def field(rng, lat, lon, km):
    """A Gaussian field that is correlated by exp(−h/km)."""
    distance = great_circle_km(lat[:, None], lon[:, None], lat, lon)
    root = np.linalg.cholesky(np.exp(-distance / km) + 1e-9 * np.eye(len(lat)))
    return root @ rng.normal(size=len(lat))


def ranges(lat, lon, y, kind="regression"):
    return np.array([one.range_km for one in variogram.estimate(lat, lon, y, kind)])


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_sums_are_those_of_the_pairs(kind):
    rng = np.random.default_rng(0)
    lat, lon = places_of(rng, 130, "pole")
    lat[:9], lon[:9] = lat[9:18], lon[9:18]  # pairs at one place are left out
    codes = rng.choice(3, 130)
    y = rng.normal(size=130) if kind == "regression" else codes
    labels = y if kind == "regression" else np.array(["a", "b", "c"])[codes]
    places, z = sphere.unit_vectors(lat, lon), variogram._vectors(y, kind)
    edges = correlation.bin_edges(places)
    (found,) = variogram.empirical(places, [z], edges, block=40)
    expected = empirical_variogram(lat, lon, labels, edges)
    unit = ((z[:, None] - z) ** 2).sum(2)[0, 1:].max()
    unit /= ((y[0] - y) ** 2).max() if kind == "regression" else 2.0
    np.testing.assert_allclose(found[:2], expected[:2], rtol=1e-6)
    np.testing.assert_allclose(found[2] / unit, expected[2], rtol=1e-6, atol=1e-9)
    products = z @ z.T
    assert abs(products.mean()) < 1e-12 and (products**2).mean() == pytest.approx(1)


def test_of_many_rows_far_pairs_are_drawn(monkeypatch):
    rng = np.random.default_rng(0)
    lat, lon = places_of(rng, 1_200)
    y = field(rng, lat, lon, 60)[:, None]
    places = sphere.unit_vectors(lat, lon)
    edges, z = correlation.bin_edges(places), [variogram._vectors(y[:, 0], "regression")]
    whole = variogram.empirical(places, z, edges)[0]
    monkeypatch.setattr(variogram, "SAMPLE", 500)
    found = variogram.empirical(places, z, edges)[0]
    near = found[0] == whole[0]
    assert 5 < near.sum() < len(near) and near[:5].all()
    np.testing.assert_allclose(found[:, near], whole[:, near], rtol=1e-9)
    # Drawn by what is settled, not by the rows' order.
    mixed = rng.permutation(1_200)
    assert ranges(lat, lon, y) == ranges(lat[mixed], lon[mixed], y[mixed])
    assert ranges(lat, lon, y)[0] == pytest.approx(60, rel=0.6)


def plain_fit(h, gamma, pairs):
    """Cressie's weighted least squares by SciPy, in three rounds of weights."""

    def model(h, nugget, c, a):
        return nugget + c * -np.expm1(-h / a)

    weighed, guess = gamma, (gamma[0], gamma[-1], h.mean() / 3)
    for _ in range(3):
        guess, _ = optimize.curve_fit(
            model, h, gamma, guess, weighed / np.sqrt(pairs), bounds=(0, np.inf), xtol=1e-12
        )
        weighed = model(h, *guess)
    return guess[2]


@pytest.mark.parametrize("nugget", [0.0, 0.6])
def test_the_fit_is_that_of_plain_weighted_least_squares(nugget):
    rng = np.random.default_rng(2)
    h = np.geomspace(2, 900, 18)
    pairs = np.round(30 + h**2)
    gamma = (nugget - np.expm1(-h / 70)) * (1 + 0.1 * rng.normal(size=18))
    sums = np.stack([pairs, h * pairs, gamma * pairs, np.exp(-h / 70) * pairs])
    found = variogram.fit(sums, 1_000.0)
    assert found.range_km == pytest.approx(plain_fit(h, gamma, pairs), rel=1e-2)
    gamma = 0.01 - np.expm1(-((h / 70) ** 2))  # smooth: c₀ would be below 0
    sums[2] = gamma * pairs
    found = variogram.fit(sums, 1_000.0)
    assert found.range_km == pytest.approx(plain_fit(h, gamma, pairs), rel=1e-2)
    sums[2] = (nugget - np.expm1(-h / 70)) * pairs
    assert variogram.fit(sums, 1_000.0).range_km == pytest.approx(70, rel=1e-5)


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_curves_are_semivariances_over_the_variance(kind):
    rng = np.random.default_rng(4)
    lat, lon = places_of(rng, 400)
    y = 3 + 7 * field(rng, lat, lon, 90)
    if kind == "classification":
        y = np.digitize(y, [-1, 6])
    labels = np.array(["a", "b", "c"])[y] if kind == "classification" else y
    (found,) = variogram.estimate(lat, lon, y if y.dtype == int else y[:, None], kind)
    edges = correlation.bin_edges(sphere.unit_vectors(lat, lon))
    sums = empirical_variogram(lat, lon, labels, edges)
    pairs, distance, halves = sums[:, sums[0] >= variogram.LEAST_PAIRS]
    km, value, fitted = found.curve
    np.testing.assert_allclose(km, distance / pairs, rtol=1e-6)
    differ = 1 - sum(np.mean(y == code) ** 2 for code in range(3))  # of any two rows
    variance = differ if kind == "classification" else y.var()
    np.testing.assert_allclose(value, halves / pairs / variance, rtol=1e-5)
    # c₀ + c·k, k = 1 − exp(−h/a): two numbers give all of it, and at a it has risen by 1 − 1/e.
    rise = -np.expm1(-km / found.range_km)
    c = np.ptp(fitted) / np.ptp(rise)
    nugget = fitted[0] - c * rise[0]
    np.testing.assert_allclose(fitted, nugget + c * rise, rtol=1e-9)
    assert c > 0.3 and nugget > -1e-9 and nugget + c == pytest.approx(1, abs=0.4)
    error = np.average((value - fitted) ** 2, weights=pairs / fitted**2)
    for longer in (0.5, 2):
        k = -np.expm1(-km / (longer * found.range_km))
        assert error < np.average((value - nugget - c * k) ** 2, weights=pairs / fitted**2)


def test_ranges_that_the_distances_cannot_tell():
    h = np.geomspace(2, 900, 18)
    pairs = np.full(18, 1e6)
    for km, known in ((300, True), (400, False)):  # the practical range is three times as long
        k = np.exp(-h / km)
        found = variogram.fit(pairs * [np.ones(18), h, 1 - k, k], 1_000.0)
        assert found.reason == ("" if known else variogram.TOO_LONG.format(1_000))
    k = np.exp(-h / 20)
    falling = 1 - 0.3 * k - 0.3 * (h > 300)  # no model of this kind falls with distance
    found = variogram.fit(pairs * [np.ones(18), h, falling, k], 1_000.0)
    assert 2 < found.range_km < 20
    first = np.r_[0.03, np.zeros(17)]  # alike in the first bin alone
    found = variogram.fit(pairs * [np.ones(18), h, 1 - first, first], 1_000.0)
    assert np.isnan(found.range_km) and found.reason == variogram.TOO_SHORT


@pytest.mark.parametrize("where", ["date line", "pole"])
def test_ranges_of_gaussian_fields_are_found(where):
    rng = np.random.default_rng(7)
    lat, lon = places_of(rng, N, where)
    true = np.array([20.0, 60.0, 150.0])
    found = ranges(lat, lon, np.stack([field(rng, lat, lon, km) for km in true], axis=1))
    assert (np.abs(np.log(found / true)) < np.log(FACTOR)).all()
    assert (np.diff(found) > 0).all()


def test_ranges_of_classes_are_in_order():
    rng = np.random.default_rng(1)
    lat, lon = places_of(rng, N)
    codes = [np.digitize(field(rng, lat, lon, km), [-0.7, 0.7]) for km in (30, 80, 200)]
    found = [ranges(lat, lon, c, "classification")[0] for c in codes]
    assert found[0] * 1.3 < found[1] < found[2] / 1.3
    # Other names of the classes change nothing, and two classes are a numeric target of 0 and 1.
    assert ranges(lat, lon, 2 - codes[1], "classification")[0] == pytest.approx(found[1], rel=1e-6)
    two = (codes[1] > 0).astype(np.int32)
    same = ranges(lat, lon, two[:, None].astype(float))[0]
    assert ranges(lat, lon, two, "classification")[0] == pytest.approx(same, rel=1e-6)


@settings(deadline=None, max_examples=8, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.floats(-180, 180), st.integers(5, 400))
def test_neither_order_nor_blocks_nor_turn_nor_unit_matters(seed, degrees, block):
    rng = np.random.default_rng(seed)
    lat, lon = places_of(rng, 200, rng.choice(["pole", "date line"]))
    y = field(rng, lat, lon, 100)[:, None]
    found = variogram.estimate(lat, lon, y, "regression")
    mixed = rng.permutation(200)
    again = variogram.estimate(lat[mixed], lon[mixed], y[mixed], "regression")
    assert repr(again) == repr(found)
    turned = (lon + degrees + 180) % 360 - 180
    for other in (
        variogram.estimate(lat, lon, y, "regression", block),
        variogram.estimate(lat, turned, y, "regression"),
        variogram.estimate(lat, lon, 300 - 7 * y, "regression"),
    ):
        assert other[0].reason == found[0].reason
        np.testing.assert_allclose(other[0].range_km, found[0].range_km, rtol=1e-5)


def test_undefined_is_null_with_a_reason():
    rng = np.random.default_rng(0)
    lat, lon = places_of(rng, 500)
    noise = rng.normal(size=500)
    targets = np.stack([noise, np.ones(500), lat], axis=1)
    found = variogram.estimate(lat, lon, targets, "regression")
    largest = correlation.bin_edges(sphere.unit_vectors(lat, lon))[-1]
    too_long = variogram.TOO_LONG.format(largest)
    assert [one.reason for one in found] == [variogram.NO_STRUCTURE, variogram.ALL_EQUAL, too_long]
    assert np.isnan([one.range_km for one in found]).all() and "km" in too_long
    assert not any(len(part) for one in found for part in one.curve)

    def reason(lat, lon, y):
        return variogram.estimate(lat, lon, y[:, None], "regression")[0].reason

    assert reason(np.full(500, 3.0), np.full(500, 4.0), noise) == variogram.ONE_PLACE
    assert reason(lat[:6], lon[:6], noise[:6]) == variogram.TOO_FEW
    assert reason(lat[:1], lon[:1], noise[:1]) == variogram.ALL_EQUAL


def test_independent_rows_have_no_range_nineteen_times_in_twenty():
    rng = np.random.default_rng(0)
    lat, lon = places_of(rng, 300)
    found = ranges(lat, lon, rng.normal(size=(300, 100)) ** 2)
    assert np.isnan(found).sum() >= 95
