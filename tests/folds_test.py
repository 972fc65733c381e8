"""Folds: scikit-learn's where random, and what is promised of all others for rows in any order."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import KFold

from ecjax import folds as folds_module
from ecjax.folds import (
    as_folds,
    group_folds,
    hash_folds,
    hashes,
    one_each,
    random_folds,
    stratified_folds,
)

often = settings(deadline=None, max_examples=100, derandomize=True)
SEEDS = st.integers(0, 2**31)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(4, 200), st.integers(2, 20), SEEDS)
def test_assignment_is_that_of_kfold(n, folds, seed):
    folds = min(folds, n // 2)
    found = random_folds(n, folds, (seed, seed + 1))
    assert found.rows == n and found.scored is None and not found.dropped.any()
    for r in range(2):
        expected = KFold(folds, shuffle=True, random_state=seed + r).split(np.zeros(n))
        for k, (training, test) in enumerate(expected):
            size = found.sizes[r, k]
            np.testing.assert_array_equal(found.held_out[r, k, :size], test)
            assert (found.held_out[r, k, size:] == n).all()
            assert (found.fold_of_row()[r, test] == k).all()
            assert found.training[r, k] == len(training)


def ids_of(n, text):
    ids = np.arange(n) * 7 + 3
    return np.array([f"place {i}" for i in ids], object) if text else ids


def shuffled(n, seed):
    return np.random.default_rng(seed).permutation(n)


@often
@given(st.integers(1, 60), st.booleans(), st.integers(2, 9), SEEDS)
def test_the_rule_of_hash_folds(n, text, folds, seed):
    ids = ids_of(n, text)
    found = hash_folds(ids, folds, seed)
    for i, fold in zip(ids, found, strict=True):
        digest = hashlib.blake2b(str(i).encode(), digest_size=8, key=str(seed).encode()).digest()
        assert fold == int.from_bytes(digest, "big") % folds
    some = shuffled(n, seed)[: n // 2 + 1]  # in any order, and without the others
    assert (hash_folds(ids[some], folds, seed) == found[some]).all()


def test_hashes_are_spread_evenly_and_differ_by_seed():
    ids = np.arange(20_000)
    rows = np.bincount(hash_folds(ids, 20, 1))
    assert len(rows) == 20 and np.abs(rows - 1_000).max() < 150
    both = np.bincount(hash_folds(ids, 4, 1) * 4 + hash_folds(ids, 4, 2), minlength=16)
    assert np.abs(both - 1_250).max() < 180
    assert hashes(["\ud800"], 0).dtype == np.uint64  # half a character is a name, too


@often
@given(st.lists(st.integers(0, 4), min_size=4, max_size=120), st.integers(2, 9), SEEDS)
def test_stratified_folds_differ_by_at_most_one_in_every_class(labels, folds, seed):
    labels = np.array(labels, np.int32)
    ids = ids_of(len(labels), False)
    found = stratified_folds(ids, labels, folds, seed)
    for rows in (slice(None), *(labels == label for label in np.unique(labels))):
        counts = np.bincount(found[rows], minlength=folds)
        assert len(counts) == folds and np.ptp(counts) <= 1
    order = shuffled(len(ids), seed)
    assert (stratified_folds(ids[order], labels[order], folds, seed) == found[order]).all()


def test_stratified_folds_differ_by_seed():
    ids, labels = np.arange(600), np.arange(600) % 3
    same = stratified_folds(ids, labels, 5, 1) == stratified_folds(ids, labels, 5, 2)
    assert 0.1 < same.mean() < 0.3


@often
@given(st.lists(st.integers(1, 40), min_size=2, max_size=60), st.integers(2, 9), SEEDS)
def test_groups_stay_together_and_folds_are_nearly_of_one_size(sizes, folds, seed):
    folds = min(folds, len(sizes))
    groups = np.repeat([f"g{i}" for i in range(len(sizes))], sizes).astype(object)
    found = group_folds(groups, folds, seed)
    for group in np.unique(groups):
        assert len(set(found[groups == group])) == 1
    rows = np.bincount(found, minlength=folds)
    assert len(rows) == folds and rows.min() > 0
    # Any smaller group would have been better off in the smallest fold.
    in_largest = np.unique(groups[found == rows.argmax()], return_counts=True)[1]
    assert np.ptp(rows) <= in_largest.min()
    order = shuffled(len(groups), seed)
    assert (group_folds(groups[order], folds, seed) == found[order]).all()


@pytest.mark.parametrize("folds", [2, 5, 10, 20])
def test_sizes_are_within_a_fifth_where_no_group_is_large(folds):
    """Groups of many sizes, none with more than 1/(2K) of the rows."""
    for seed in range(50):
        rng = np.random.default_rng([folds, seed])
        sizes = np.ceil(rng.lognormal(2, 1 + seed % 2, size=rng.integers(4, 12) * folds))
        sizes = sizes.astype(int)
        while (large := sizes > sizes.sum() / (2 * folds)).any():
            sizes[large] -= 1
        groups = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
        rows = np.bincount(group_folds(groups, folds, seed), minlength=folds)
        assert np.abs(rows / rows.mean() - 1).max() <= 0.2, (seed, rows)


def test_large_groups_first_and_the_rest_evens_out():
    groups = np.repeat(np.arange(7), [50, 30, 20, 10, 5, 3, 2])
    rows = np.bincount(group_folds(groups, 2, 0))
    assert sorted(rows) == [60, 60]


def test_seeds_deal_groups_differently():
    groups = np.repeat(np.arange(200), 3)
    found = [group_folds(groups, 5, seed) for seed in range(2)]
    assert 0.1 < (found[0] == found[1]).mean() < 0.35


def test_many_groups_of_few_sizes_are_quick_to_even_out(monkeypatch):
    """As single rows by their thousands: sizes are compared, not groups."""
    rng = np.random.default_rng(0)
    groups = np.concatenate([np.arange(100_000), rng.integers(0, 5_000, 50_000)])
    shapes = []
    where = np.where

    def seen(condition, *rest):
        shapes.append(condition.shape)
        return where(condition, *rest)

    monkeypatch.setattr(folds_module.np, "where", seen)
    rows = np.bincount(group_folds(groups, 2, 0))
    assert np.ptp(rows) <= 1 and max(np.prod(shape) for shape in shapes) < 10_000


def test_one_fold_for_each_name():
    names = np.array(["10", "9", "9", "-1", "b", "a", "10"], object)
    folds, known = one_each(names)
    assert folds.tolist() == [2, 1, 1, 0, 4, 3, 2] and known == ("-1", "9", "10", "a", "b")


def test_rows_that_no_fold_scores_and_rows_that_are_dropped():
    fold_of_row = np.array([[0, 1, 1, -1, 0, 1], [1, 1, 0, -1, 0, 0]])
    found = as_folds(fold_of_row, 2)
    assert found.scored.tolist() == found.held_out.tolist()
    assert found.held_out.tolist() == [[[0, 4, 6], [1, 2, 5]], [[2, 4, 5], [0, 1, 6]]]
    assert (found.fold_of_row() == fold_of_row).all()
    assert found.training.tolist() == [[4, 3], [3, 4]]
    dropped = [[np.array([1]), np.array([], int)], [np.array([3, 0]), np.array([2])]]
    found = as_folds(fold_of_row, 2, dropped)
    assert found.scored.tolist() == [[[0, 4, 6], [1, 2, 5]], [[2, 4, 5], [0, 1, 6]]]
    assert found.held_out[0].tolist() == [[0, 4, 1, 6, 6], [1, 2, 5, 6, 6]]
    assert found.held_out[1].tolist() == [[2, 4, 5, 3, 0], [0, 1, 2, 6, 6]]
    assert found.dropped.tolist() == [[1, 0], [2, 1]]
    assert found.sizes.tolist() == [[2, 3], [3, 2]]
    assert found.training.tolist() == [[3, 3], [1, 3]]
    assert (found.fold_of_row() == fold_of_row).all()


def test_seeds_that_deal_unevenly_have_one_shape_nearly_always():
    """The compiled program depends on the shape."""
    ids = np.arange(3_000)
    shapes = {
        as_folds(hash_folds(ids, 10, seed)[None], 10, steady=False).held_out.shape
        for seed in range(30)
    }
    assert len(shapes) <= 4
    assert all(h <= 1.3 * 300 for _, _, h in shapes)
