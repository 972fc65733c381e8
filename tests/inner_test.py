"""Groups of inner folds and grids of penalties."""

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st

from ecjax import inner
from ecjax.folds import random_folds


@given(folds=st.integers(3, 40), asked=st.integers(2, 50))
def test_remaining_folds_are_dealt_in_turn(folds, asked):
    groups = inner.group_count(folds, asked, "regression")
    assert groups == min(asked, folds - 1)
    table = inner.groups_of_folds(folds, groups)
    for fold, row in enumerate(table):
        assert row[fold] == -1
        assert np.delete(row, fold).tolist() == [i % groups for i in range(folds - 1)]


def test_how_many_groups():
    assert inner.group_count(20, None, "regression") == 5
    assert inner.group_count(20, None, "classification") == 3
    assert inner.group_count(20, 0, "classification") == 19
    assert inner.group_count(4, None, "regression") == 3
    assert inner.group_count(2, 0, "regression") == 5  # each row's own would be no fold
    assert inner.group_count(2, 4, "regression") == 4


@pytest.mark.parametrize("n, groups", [(31, 5), (8, 3), (6, 5)])
def test_with_two_folds_rows_are_dealt_as_scikit_learn_deals_them(n, groups):
    seeds = (3, 4)
    found = inner.groups_of_rows(random_folds(n, 2, seeds), groups, seeds)
    assert found.dtype == np.int32 and found.shape[:2] == (2, 2)
    for r, seed in enumerate(seeds):
        outer = reference.splits(n, 2, seed)
        dealt = reference.inner_splits(outer, seed, min(groups, n // 2))
        for fold, ((training, _), tested) in enumerate(zip(outer, dealt, strict=True)):
            rows = [sorted(row[row < n]) for row in found[r, fold]]
            assert [row for row in rows if row] == [sorted(row) for _, row in tested]
            assert sorted(np.concatenate(rows)) == training.tolist()


def test_grids_start_with_the_strongest_penalty():
    training = np.array([[90, 91], [80, 100]])
    ridge = inner.ridge_grid(None, training)
    assert ridge.shape == (2, 2, 13)
    np.testing.assert_allclose(ridge[1, 1], 100 * 10 ** np.linspace(2, -4, 13))
    assert inner.ridge_grid((1, 10, 3), training)[0, 1].tolist() == [10, 3, 1]
    logistic = inner.logistic_grid(None, training)
    np.testing.assert_allclose(1 / logistic[1, 0], 80 * 10.0 ** np.arange(-1, -6, -1))
    assert inner.logistic_grid((1, 10, 3), training)[0, 1].tolist() == [1, 3, 10]
