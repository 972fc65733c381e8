"""Paired tests and their adjustment equal scipy's and statsmodels'."""

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests

from ecjax.uncertainty import (
    ALL_EQUAL,
    ONE_FOLD,
    benjamini_hochberg,
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
