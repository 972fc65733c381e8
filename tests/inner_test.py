"""Groups of inner folds and grids of penalties."""

import numpy as np
import pytest
import reference
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ecjax import inner
from ecjax.folds import as_folds, random_folds


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


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(3, 6), asked=st.integers(2, 5))
def test_what_a_buffer_leaves_is_dealt_by_fold_where_two_folds_are_left(seed, k, asked):
    """Folds of unequal sizes, of which some lose all or nearly all of their rows to another."""
    rng = np.random.default_rng(seed)
    n = 40
    fold_of_row = rng.permutation(
        np.r_[np.arange(k), rng.choice(k, n - k, p=rng.dirichlet([1] * k))]
    )
    dropped = [np.flatnonzero((fold_of_row != f) & (rng.random(k) < 0.5)[fold_of_row])
               for f in range(k)]  # fmt: skip
    folds = as_folds(fold_of_row[None], k, [dropped])
    assume((folds.training > 1).all())
    groups = inner.group_count(k, asked, "classification")
    (found,) = inner.groups_of_rows(folds, groups, (seed,))
    assert found.shape[:2] == (k, groups)
    for fold in range(k):
        own = [rows[rows < n] for rows in found[fold]]
        training = np.setdiff1d(np.flatnonzero(fold_of_row != fold), dropped[fold])
        assert sorted(np.concatenate(own)) == training.tolist()
        left = np.unique(fold_of_row[training])
        if len(left) < 2:
            sizes = [len(rows) for rows in own]
            assert max(sizes) - min(sizes) <= 1
            continue
        for i, one in enumerate(left):
            members = np.intersect1d(training, np.flatnonzero(fold_of_row == one))
            assert set(members) <= set(own[i % groups])


def test_whole_folds_need_no_rows_for_ridge_regression():
    folds = random_folds(30, 5, (1,))
    ridge = inner.choices("regression", folds, None, None, (1,))
    logistic = inner.choices("classification", folds, None, None, (1,))
    assert ridge.rows is None and ridge.grid.shape == (1, 5, 13)
    table = inner.groups_of_folds(5, 3)
    for fold in range(5):
        for g in range(3):
            rows = logistic.rows[0, fold, g]
            own = folds.held_out[0, table[fold] == g]
            assert sorted(rows[rows < 30]) == sorted(own[own < 30])
    assert inner.choices("regression", random_folds(30, 2, (1,)), None, None, (1,)).rows is not None


def test_grids_start_with_the_strongest_penalty():
    training = np.array([[90, 91], [80, 100]])
    ridge = inner.ridge_grid(None, training)
    assert ridge.shape == (2, 2, 13)
    np.testing.assert_allclose(ridge[1, 1], 100 * 10 ** np.linspace(2, -4, 13))
    assert inner.ridge_grid((1, 10, 3), training)[0, 1].tolist() == [10, 3, 1]
    logistic = inner.logistic_grid(None, training)
    np.testing.assert_allclose(1 / logistic[1, 0], 80 * 10.0 ** np.arange(-1, -6, -1))
    assert inner.logistic_grid((1, 10, 3), training)[0, 1].tolist() == [1, 3, 10]
