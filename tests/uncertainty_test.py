"""Paired tests and their adjustment equal scipy's and statsmodels'."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from ecjax.uncertainty import (
    ALL_EQUAL,
    ONE_FOLD,
    benjamini_hochberg,
    ratio_standard_error,
    standard_error,
    wilcoxon,
)


def test_wilcoxon_equals_scipy_row_by_row():
    rng = np.random.default_rng(0)
    rows = rng.normal(0.2, 1, size=(12, 20))
    rows[1, 3] = 0
    rows[2, :4] = 0.25
    rows[3] = np.round(rows[3], 1)
    found, reasons = wilcoxon(rows)
    expected = [stats.wilcoxon(row, alternative="greater").pvalue for row in rows]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert reasons == [""] * 12


def test_undefined_tests_are_null_with_a_reason():
    found, reasons = wilcoxon(np.array([[0.0, 0.0], [np.nan, 1.0]]))
    assert np.isnan(found).all() and reasons == [ALL_EQUAL, ""]
    assert wilcoxon(np.array([[1.0]]))[1] == [ONE_FOLD]


def test_benjamini_hochberg_equals_statsmodels_and_skips_nulls():
    rng = np.random.default_rng(1)
    p_values = rng.random(30) ** 2
    p_values[[4, 9]] = np.nan
    known = ~np.isnan(p_values)
    found = benjamini_hochberg(p_values)
    expected = multipletests(p_values[known], method="fdr_bh")[1]
    np.testing.assert_allclose(found[known], expected, rtol=1e-12)
    assert np.isnan(found[~known]).all()


def test_standard_error_is_the_papers():
    fold = np.array([[0.1, 0.4, 0.3, 0.9]])
    np.testing.assert_allclose(standard_error(fold), [np.std(fold) / 2])
    assert np.isnan(standard_error(fold[:, :1])).all()


def plain_ratio_standard_error(fused, member, columns):
    """The formula, row by row."""
    n = len(fused)
    mean_fused, mean_member = sum(fused) / n, sum(member) / n
    shares = [f / mean_fused - m / mean_member for f, m in zip(fused, member, strict=True)]
    mean = sum(shares) / n
    spread = math.sqrt(sum((share - mean) ** 2 for share in shares) / (n - 1))
    return spread / math.sqrt(n) * math.sqrt(n / max(n - columns, n / 4))


@pytest.mark.parametrize("columns", [3, 60, 150, 500])  # n/4 takes over from 150 on
def test_ratio_standard_error_is_the_formula(columns):
    rng = np.random.default_rng(2)
    fused, member = rng.chisquare(1, size=(2, 3, 200))
    misses = rng.random(size=(2, 200)) < [[0.3], [0.4]]
    found = ratio_standard_error(fused, member, columns)
    expected = [
        plain_ratio_standard_error(*rows, columns) for rows in zip(fused, member, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    of_misses = plain_ratio_standard_error(*misses.astype(float).tolist(), columns)
    assert ratio_standard_error(*misses, columns) == pytest.approx(of_misses, rel=1e-12)


def test_ratio_standard_error_is_the_spread_of_the_log_ratio():
    rng = np.random.default_rng(3)
    shared, own = rng.chisquare(1, size=(2, 4000, 100))
    fused, member = shared, 0.5 * shared + 0.5 * own
    spread = np.log(fused.mean(1) / member.mean(1)).std()
    found = ratio_standard_error(fused, member, 0)
    assert np.median(found) == pytest.approx(spread, rel=0.1)


def test_ratio_standard_error_of_a_set_without_errors_is_null():
    assert np.isnan(ratio_standard_error(np.zeros(8), np.ones(8), 2))
    assert np.isnan(ratio_standard_error(np.arange(8.0), np.zeros(8), 2))
