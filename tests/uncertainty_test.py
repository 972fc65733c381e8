"""Paired tests and their adjustment equal scipy's and statsmodels'."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from ecjax.uncertainty import (
    ALL_EQUAL,
    ONE_FOLD,
    benjamini_hochberg,
    standard_error,
    wilcoxon,
    within_one_error,
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


def test_within_one_error_of_the_best():
    scores, errors = np.array([0.5, 0.61, 0.64, np.nan, 0.59]), np.array([1, 1, 0.04, 9, 1])
    expected = [False, True, True, None, False]
    assert within_one_error(scores, errors, True).tolist() == expected
    assert within_one_error(-scores, errors, False).tolist() == expected
    assert within_one_error(scores, errors * np.nan, True).tolist() == [None] * 5
    assert within_one_error(scores * np.nan, errors, True).tolist() == [None] * 5


SCORES = st.floats(-2, 1) | st.sampled_from([np.nan, 0.5])


@given(st.lists(st.tuples(SCORES, st.floats(0, 1)), min_size=1, max_size=12), st.booleans())
def test_within_one_error_follows_the_rule(rows, larger):
    scores, errors = np.array(rows).T
    found = within_one_error(scores if larger else -scores, errors, larger)
    known = [i for i, score in enumerate(scores) if score == score]
    assert [i for i, one in enumerate(found) if one is not None] == known
    if known:
        best = max(known, key=lambda i: scores[i])
        assert found[best]
        for i in known:
            assert found[i] == (scores[i] >= scores[best] - errors[best]) or np.isclose(
                scores[i], scores[best] - errors[best]
            )
