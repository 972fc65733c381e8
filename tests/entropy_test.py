"""The paper's spatial scale: against a double loop, in made-up fields and on its own data."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import entropy_range, great_circle_km, similarity_histogram
from scipy import interpolate, stats

from ecjax import entropy

# Water, trees, grass, flooded, crops, shrub, built, bare, snow.
PUBLISHED_KM = (82, 238, 151, 44, 243, 257, 66, 577, 354)


def about_the_pole(rng, n, km=900.0):
    """Places within some distance of the north pole, as many on every square kilometre."""
    return 90 - np.degrees(km / 6371) * np.sqrt(rng.uniform(size=n)), rng.uniform(-180, 180, n)


def smooth_shares(lat, lon, waves):
    """Shares (n, t) of t waves, smooth over the pole."""
    x, y = np.cos(np.radians(lat)) * [np.cos(np.radians(lon)), np.sin(np.radians(lon))]
    return np.stack([(1 + np.sin(w * x) * np.cos(w * y)) / 2 for w in waves], axis=1)


def turned(lon, degrees):
    return (lon + degrees + 180) % 360 - 180


@pytest.fixture
def land_cover(paper_data):
    """(8829, 9) shares of the classes."""
    return np.load(paper_data / "content" / "centre_pixel_lc_values.npy").T.astype(float)


def test_land_cover_equals_the_double_loop(land_cover):
    rng = np.random.default_rng(0)
    shares = land_cover[rng.choice(len(land_cover), 220, replace=False)]
    lat, lon = rng.uniform(50, 53, 220), turned(rng.uniform(-2, 2, 220), 180)
    found = entropy.histograms(lat, lon, shares, block=64)
    expected = [similarity_histogram(lat, lon, share) for share in shares.T]
    assert np.sum(expected) > 1e4
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


def test_ranges_equal_a_curve_fit_to_the_double_loop():
    rng = np.random.default_rng(1)
    lat, lon = about_the_pole(rng, 350, 250)
    shares = smooth_shares(lat, lon, [30, 60, 120])
    found = [one.range_km for one in entropy.estimate(lat, lon, shares)]
    expected = [entropy_range(similarity_histogram(lat, lon, share)) for share in shares.T]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found[0] > 2 * found[2]


def test_curves_are_the_entropies_of_the_double_loop_and_rise_as_the_range_says():
    rng = np.random.default_rng(1)
    lat, lon = about_the_pole(rng, 250, 250)
    shares = smooth_shares(lat, lon, [30, 60])
    for one, share in zip(entropy.estimate(lat, lon, shares), shares.T, strict=True):
        histogram = similarity_histogram(lat, lon, share)
        known = histogram.sum(1) > 0
        expected = np.array([stats.entropy(row) for row in histogram[known]])
        km, value, fitted = one.curve
        np.testing.assert_allclose(value, expected / expected.max(), rtol=1e-9)
        np.testing.assert_allclose(km, np.flatnonzero(known) * 1000 / 99, rtol=1e-12)
        bins = np.flatnonzero(known)
        assert (10 * bins <= km + 1e-9).all() and (km <= 10 * bins + 10 + 1e-9).all()
        # From h₀ at 0 km, 1 − 1/e of the way to 1 at the range.
        model = interpolate.CubicSpline(km, fitted)
        assert model(0) == pytest.approx(value[0], abs=1e-9)
        risen = (model(one.range_km) - value[0]) / (1 - value[0])
        assert risen == pytest.approx(1 - np.exp(-1), abs=1e-3)


@pytest.mark.parametrize("steps", [1, 2, 10, 50, 100])
def test_shares_on_a_grid_fall_on_the_side_of_an_edge_that_numpy_says(steps):
    edges = np.linspace(0, 1, 101)
    values = np.append(np.arange(steps + 1) / steps, edges)
    found = np.bincount(entropy._bins(values, edges), minlength=100)
    assert found.tolist() == np.histogram(values, edges)[0].tolist()


def test_the_curve_is_found_exactly():
    t = np.arange(100) * 10 / 990
    for d in (0.0405, 0.24, 0.577, 3.0):
        found = entropy.fit(1 - 0.7 * np.exp(-t / d))
        assert found.range_km == pytest.approx(1000 * d, rel=1e-9) and not found.reason


@settings(deadline=None, max_examples=10, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.floats(-180, 180), st.integers(3, 400))
def test_neither_order_nor_blocks_nor_a_turn_about_the_pole_matters(seed, degrees, block):
    rng = np.random.default_rng(seed)
    lat, lon = about_the_pole(rng, 150, 400)
    shares = smooth_shares(lat, lon, [20, 70])
    found = entropy.estimate(lat, lon, shares)
    mixed = rng.permutation(150)
    assert repr(entropy.estimate(lat[mixed], lon[mixed], shares[mixed])) == repr(found)
    sums = entropy.histograms(lat, lon, shares)
    assert sums.sum() > 0
    same = {"rtol": 1e-10, "atol": 1e-10}
    np.testing.assert_allclose(entropy.histograms(lat, lon, shares, block), sums, **same)
    np.testing.assert_allclose(entropy.histograms(lat, turned(lon, degrees), shares), sums, **same)


def test_the_south_is_as_the_north():
    lat, lon = about_the_pole(np.random.default_rng(3), 300)
    shares = smooth_shares(lat, lon, [20])
    north, south = (entropy.estimate(sign * lat, lon, shares)[0] for sign in (1, -1))
    assert south.range_km == pytest.approx(north.range_km, rel=1e-9)


@pytest.mark.parametrize("place", ["date line", "pole"])
def test_ranges_of_gaussian_fields_are_in_order(place):
    rng = np.random.default_rng(5)
    lat, lon = about_the_pole(rng, 700, 750)
    if place == "date line":
        lat, lon = rng.uniform(-6, 6, 700), turned(rng.uniform(-6, 6, 700), 180)
    distance = great_circle_km(lat[:, None], lon[:, None], lat, lon)
    fields = [
        np.linalg.cholesky(np.exp(-distance / km) + 1e-9 * np.eye(700)) @ rng.normal(size=700)
        for km in (15, 60, 240)
    ]
    found = entropy.estimate(lat, lon, stats.norm.cdf(fields).T)
    assert found[0].range_km * 1.3 < found[1].range_km < found[2].range_km / 1.3


def test_undefined_is_null_with_a_reason():
    rng = np.random.default_rng(0)
    lat, lon = about_the_pole(rng, 80, 300)
    y = rng.uniform(size=80)
    columns = [y, y + 0.5, -y, np.zeros(80)]
    reasons = [one.reason for one in entropy.estimate(lat, lon, np.stack(columns, axis=1))]
    assert reasons[1:] == [entropy.NO_SHARE, entropy.NO_SHARE, entropy.NONE_NEAR]
    far = entropy.estimate(np.linspace(-80, 80, 80), lon, y[:, None])[0]
    assert np.isnan(far.range_km) and far.reason == entropy.NONE_NEAR
    one_place = entropy.estimate(np.full(80, 5.0), np.full(80, 5.0), y[:, None])[0]
    assert np.isnan(one_place.range_km) and one_place.reason == entropy.NO_GROWTH
    assert len(far.curve.km) == len(one_place.curve.fitted) == 0
    level = np.r_[0.5, np.ones(99)]
    assert entropy.fit(level).reason == entropy.TOO_SHORT
    assert entropy.fit(level[::-1]).reason == entropy.NO_GROWTH
    assert entropy.fit(np.r_[0.5, np.full(98, 0.4), 1]).reason == entropy.TOO_LONG


def test_published_ranges(paper_data, land_cover):
    """Where the release's locations are: the published ranges, to the kilometre."""
    files = sorted((paper_data / "data").glob("dw_locations_*.csv*"))
    if not files:
        pytest.skip("needs data/dw_locations_*.csv of the release, which is not there")
    places = pd.concat([pd.read_csv(file) for file in files]).drop_duplicates("id")
    places = places[places["lc_stratified_sample"].astype(bool)]
    for file in (paper_data / "data").glob("*/lc_stratified_sample_*.csv*"):
        places = places[places["id"].isin(pd.read_csv(file, usecols=["id"])["id"])]
    places = places.sort_values("id")
    assert len(places) == len(land_cover), "rows that all tables of the release share"
    found = entropy.estimate(places["lat"].to_numpy(), places["lon"].to_numpy(), land_cover)
    assert [round(one.range_km) for one in found] == list(PUBLISHED_KM)
