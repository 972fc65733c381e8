"""Folds equal scikit-learn's."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import KFold

from ecjax.folds import random_folds


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(4, 200), st.integers(2, 20), st.integers(0, 2**31))
def test_assignment_is_that_of_kfold(n, folds, seed):
    folds = min(folds, n // 2)
    found = random_folds(n, folds, (seed, seed + 1))
    for r in range(2):
        expected = KFold(folds, shuffle=True, random_state=seed + r).split(np.zeros(n))
        for k, (_, test) in enumerate(expected):
            size = found.sizes[r, k]
            np.testing.assert_array_equal(found.held_out[r, k, :size], test)
            assert (found.held_out[r, k, size:] == n).all()
            assert (found.fold_of_row()[r, test] == k).all()
