"""Copies with noise, bent copies and mixes are found, and no column that others make up."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ecjax import near_copies
from ecjax.coordinates import Coordinates

N, P = 600, 20


def table(columns, seed=0, n=N, p=P):
    """Noise with some columns in the first places."""
    matrix = np.random.default_rng(seed).normal(size=(n, p))
    for j, column in enumerate(columns):
        matrix[:, j] = column
    return near_copies.table_of(matrix.astype(np.float32))


def numbers(found):
    return {one.j: one.what for one in found}


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**20), r=st.sampled_from([0.999, 0.997, 0.98, 0.9]))
def test_copies_are_those_beyond_the_threshold(seed, r):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=N)
    copy = y + np.sqrt(1 / r**2 - 1) * rng.normal(size=N)
    found = near_copies.copies(table([copy, np.exp(copy)], seed), {"y": y}, 0.99)
    expected = max(stats.pearsonr(copy, y).statistic, stats.spearmanr(copy, y).statistic)
    assert numbers(found).get(0) == ("y" if expected > 0.99 else None)
    assert set(numbers(found)) <= {0, 1}  # the exponential by its ranks, which are the same
    if found:
        assert found[0].measure == pytest.approx(expected, abs=1e-6)


def test_one_extreme_row_makes_no_copy():
    rng = np.random.default_rng(0)
    y, column = rng.normal(size=(2, N))
    y[7], column[7] = 1e5, 1e5
    assert stats.pearsonr(y, column).statistic > 0.999
    assert near_copies.copies(table([column]), {"y": y}, 0.99) == []
    y[8:], y[:8] = 0, np.arange(8)  # what remains without the extremes is nothing
    assert near_copies.copies(table([y + 1e-4 * column]), {"y": y}, 0.99) == []


def test_a_function_of_the_column_is_told_whatever_its_form():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, N)
    forms = {"wave": np.sin(6 * x), "fold": np.abs(x), "jump": np.floor(5 * x) % 2 + 0.1 * x}
    found = near_copies.telling(table([x]), forms, 0.98)
    assert [(one.j, one.what) for one in found] == [(0, what) for what in ("wave", "fold")]
    assert near_copies.telling(table([x + 0.5 * rng.normal(size=N)]), forms, 0.98) == []
    # Rows in the order of the target, and a column of one value nearly everywhere.
    y = np.sort(rng.normal(size=N))
    rare = (np.arange(N) % 100 == 0) * rng.normal(size=N)
    assert near_copies.telling(table([rare]), {"y": y}, 0.9) == []


def test_told_shares_are_those_of_sorted_rows():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=N), rng.normal(size=N)
    y = x + 0.05 * y
    (found,) = near_copies.telling(table([x]), {"y": y}, 0.98)
    shares = []
    for values in (y, stats.rankdata(y)):
        ordered = values[np.argsort(x.astype(np.float32))]
        shares.append(1 - (np.diff(ordered) ** 2).sum() / (2 * N * ordered.var()))
    assert found.measure == pytest.approx(max(shares), rel=1e-9)


@pytest.mark.parametrize(("wrong", "caught"), [(0.0, True), (0.01, True), (0.1, False)])
def test_a_code_of_the_class_with_noise(wrong, caught):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, N)
    seen = np.where(rng.random(N) < wrong, rng.integers(0, 5, N), labels)
    code = rng.permutation(5)[seen] + 0.05 * rng.normal(size=N)
    found = near_copies.telling_class(table([code]), labels, "the class", 0.95)
    assert numbers(found) == ({0: "the class"} if caught else {})
    if not wrong:
        assert found[0].measure == 1  # no more changes than there must be
    assert near_copies.telling_class(table([code]), np.zeros(N, int), "the class", 0.95) == []


def test_mixed_coordinates():
    rng = np.random.default_rng(0)
    lat, lon = rng.uniform(-60, 60, N), rng.uniform(-180, 180, N)
    phi, lam = np.radians(lat), np.radians(lon)
    columns = [0.3 * lat - 2 * lon, np.cos(phi) * np.cos(lam), np.sin(phi) + lam, np.cos(3 * lam)]
    found = near_copies.mixed(table(columns), lat, lon, "places", 0.9999)
    assert numbers(found) == dict.fromkeys(range(3), "places")
    assert near_copies.mixed(table([3 * lon]), np.zeros(N), lon, "places", 0.9999)  # on one line


def test_a_column_that_others_make_up_is_no_stranger():
    """Of a small region, where all columns of a smooth encoder are planes."""
    rng = np.random.default_rng(0)
    lat, lon = 46 + rng.uniform(-0.1, 0.1, N), 7 + rng.uniform(-0.1, 0.1, N)
    harmonics = Coordinates(degree=8).encode(lat, lon).astype(np.float64)
    smooth = harmonics @ rng.normal(size=(harmonics.shape[1], 200))
    smooth[:, 0] = lat  # as one of so many is by chance
    one = near_copies.Likeness(0, "lat", 1.0, 0.0)
    assert near_copies.strangers(smooth, [one]) == []
    assert near_copies.strangers(rng.normal(size=(N, 200)), [one]) == [one]
    features = smooth.copy()
    features[:, :2] = rng.normal(size=(N, 1)) + 0.01 * rng.normal(size=(N, 2))
    pair = [near_copies.Likeness(j, "y", 0.999, 0.001) for j in (0, 1)]  # two copies of one thing
    assert near_copies.strangers(features, pair) == pair
    assert near_copies.strangers(features[:, :1], pair[:1]) == pair[:1]  # there are no others


@pytest.mark.parametrize(("n", "p"), [(300, 12), (60, 40), (90, 120)])
def test_what_all_others_leave_of_each_column(n, p):
    """Against ridge on all columns but one, one after the other."""
    rng = np.random.default_rng(n)
    matrix = rng.normal(size=(n, 5)) @ rng.normal(size=(5, p)) + 0.1 * rng.normal(size=(n, p))
    matrix[:, 3] = 7
    expected = [
        near_copies._unexplained(matrix, [j], np.delete(np.arange(p), j))[0] for j in range(p)
    ]
    np.testing.assert_allclose(near_copies._unexplained_by_others(matrix), expected, rtol=1e-6)
    assert min(expected) < 0.2
