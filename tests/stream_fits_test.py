"""Fits from moments leave on rows what fits to rows in memory leave."""

import jax
import numpy as np
import pytest
import reference

from ecjax import inner
from ecjax.stream_fits import HeldOutRows, fit, table_of
from ecjax.stream_moments import Gathered
from ecjax.subsets import build_lattice, requested

N, K, T = 160, 4, 2
LATTICE = build_lattice([6, 3], requested("ab"))


@pytest.fixture(scope="module")
def sample():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(N, 9)) * 10.0 ** rng.uniform(-2, 2, 9) + rng.choice([0, 90], 9)
    x[:, 4] = 0.3  # constant
    z = reference.StandardScaler().fit_transform(x)
    y = 1e3 + z[:, [0, 7]] + rng.normal(size=(N, T))
    return [x[:, :6], x[:, 6:]], y, rng.integers(0, K, (1, N))


def first_pass(sample):
    blocks, y, fold = sample
    gathered = Gathered(K, 9, T)
    gathered.add(blocks, y, fold)
    return table_of(gathered.moments(), 1, K)


def test_fixed_penalties_equal_one_fit_at_a_time(sample):
    blocks, y, fold = sample
    table = first_pass(sample)
    found = fit(table, np.full((1, K, 1), 3.0), None, ((0, T),), LATTICE)
    left = HeldOutRows(table, found).left(blocks, y, fold, residuals=True)
    z, scaled = (reference.StandardScaler().fit_transform(a) for a in (np.hstack(blocks), y))
    for k in range(K):
        training, rows = (np.flatnonzero(part) for part in (fold[0] != k, fold[0] == k))
        for i, subset in enumerate(LATTICE.subsets):
            columns = z[:, LATTICE.columns(subset)]
            expected = scaled[rows] - reference.ridge_predictions(
                columns, scaled, training, rows, 3.0
            )
            np.testing.assert_allclose(left.residuals[0, rows, i], expected, atol=1e-11)
            for sums in (left, found):
                np.testing.assert_allclose(
                    sums.squared_error[0, k, i], (expected**2).sum(0), rtol=1e-11
                )
        empty = ((scaled[rows] - scaled[training].mean(0)) ** 2).sum(0)
        np.testing.assert_allclose(found.empty_error[0, k], empty, rtol=1e-11)
        np.testing.assert_allclose(left.empty_error[0, k], empty, rtol=1e-11)
    assert left.row_slope is None and found.chosen is None


@pytest.mark.parametrize("bands", [(), (0, 1)])
def test_moments_and_rows_agree_on_errors_and_their_slopes(sample, bands):
    blocks, y, fold = sample
    table = first_pass(sample)
    grid = inner.ridge_grid(None, (fold.size - table.counts)[:, :])
    groups = inner.groups_of_folds(K, 3)
    found = fit(table, grid, groups, ((0, 1), (1, 2)), LATTICE, bands)
    left = HeldOutRows(table, found).left(blocks, y, fold, residuals=False)
    np.testing.assert_allclose(left.squared_error, found.squared_error, rtol=1e-11)
    for k in range(K):
        slopes = left.row_slope[fold[0] == k].sum(0)
        np.testing.assert_allclose(found.slope[0, k], slopes, rtol=1e-8, atol=1e-9)
    assert np.abs(found.slope).max() > 0.1
    device = jax.devices("cpu")[0]
    other = HeldOutRows(table, found, device).left(blocks, y, fold, residuals=False)
    np.testing.assert_allclose(other.row_error, left.row_error, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("noise", [1, 1e-2, 1e-5])
def test_errors_from_moments_lose_digits_as_fits_become_perfect(sample, noise):
    blocks, _, fold = sample
    rng = np.random.default_rng(2)
    signal = np.hstack(blocks) @ rng.normal(size=9)
    y = 7 + (signal / signal.std() + noise * rng.normal(size=N))[:, None]
    gathered = Gathered(K, 9, 1)
    gathered.add(blocks, y, fold)
    table = table_of(gathered.moments(), 1, K)
    found = fit(table, np.full((1, K, 1), 1e-8), None, ((0, 1),), LATTICE)
    exact = HeldOutRows(table, found).left(blocks, y, fold, residuals=False).squared_error
    share = exact / N  # 1 − R², in a fold at most so many times as much
    assert share[0, :, -1].max() < 2 * noise**2
    assert (np.abs(found.squared_error - exact) <= 5e-16 / share * exact).all()


def test_rows_that_no_fold_scores_are_trained_on(sample):
    blocks, y, fold = sample
    cells = np.where(fold == 0, 0, 1)  # one fold, and the rest
    gathered = Gathered(2, 9, T)
    gathered.add(blocks, y, cells)
    table = table_of(gathered.moments(), 1, 1)
    found = fit(table, np.full((1, 1, 1), 3.0), None, ((0, T),), LATTICE)
    whole = fit(first_pass(sample), np.full((1, K, 1), 3.0), None, ((0, T),), LATTICE)
    np.testing.assert_allclose(found.squared_error[0, 0], whole.squared_error[0, 0], rtol=1e-11)
    assert table.scored.count == (fold == 0).sum()
