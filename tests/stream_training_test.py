"""Moments of columns and sets of training rows, against NumPy on all rows at once."""

import numpy as np
from make_streams import Threads

from ecjax.inner import groups_of_folds
from ecjax.peers import Alone
from ecjax.stream_training import (
    Sampled,
    Spread,
    cells_of,
    inner_members,
    outer_members,
    training_of,
)

N, K = 120, 4
RNG = np.random.default_rng(0)
X = np.column_stack([RNG.normal(1e3, 1, N), RNG.normal(size=N), np.full(N, 0.1)])
FOLD, LABELS = RNG.integers(K, size=N), RNG.integers(3, size=N)
X[FOLD != 2, 1] = 0.7  # constant where the third fold is left out
CLASSES = np.array([[np.bincount(LABELS[FOLD == k], minlength=3) for k in range(K)]])


def spread_of(parts, peers):
    spread = Spread(K, 3)
    for rows in parts:
        spread.add([X[rows, :1], X[rows, 1:]], FOLD[None, rows])
    spread.add_up(peers)
    return spread


def check(cells):
    z = (X - X.mean(0)) * cells.inverse
    np.testing.assert_allclose(cells.inverse[:2], 1 / X[:, :2].std(0), rtol=1e-9)
    assert cells.inverse[2] == 0
    for k in range(K):
        own = z[FOLD == k]
        np.testing.assert_allclose(cells.mean[0, k], own.mean(0), atol=1e-9)
        squares = ((own - own.mean(0)) ** 2).sum(0)
        np.testing.assert_allclose(cells.squares[0, k], squares, atol=1e-9)


def test_moments_are_those_of_all_rows():
    check(cells_of(spread_of(np.split(np.arange(N), [50, 51, 90]), Alone()), CLASSES))


def test_moments_of_processes_add_up():
    def work(peer):
        return cells_of(spread_of([np.arange(N)[peer.index :: 3]], peer), CLASSES)

    for cells in Threads(3).run(work):
        check(cells)


def test_training_rows_scale_columns():
    cells = cells_of(spread_of([np.arange(N)], Alone()), CLASSES)
    training = training_of(cells, np.zeros(K, int), outer_members(K, K, 1), own=True)
    z = (X - X.mean(0)) * cells.inverse
    for k in range(K):
        own = z[FOLD != k]
        np.testing.assert_allclose(training.mean[k], own.mean(0), atol=1e-9)
        varies = [True, k != 2, False]
        np.testing.assert_allclose(training.inverse[k][varies], 1 / own.std(0)[varies], rtol=1e-9)
        assert (training.inverse[k][~np.array(varies)] == 0).all()
        np.testing.assert_array_equal(training.classes[k], np.bincount(LABELS[FOLD != k]))
    whole = training_of(cells, np.zeros(K, int), outer_members(K, K, 1), own=False)
    assert (whole.inverse == [1, 1, 0]).all() and not whole.mean.any()


def test_inner_fits_train_on_all_groups_but_one():
    member, tested = inner_members(K, K, 1, groups_of_folds(K, 2), 2)
    assert tested[1].tolist() == [[True, False, False, True], [False, False, True, False]]
    assert (member ^ tested == outer_members(K, K, 1)[:, None]).all()
    # One fold that is scored, and the others' rows dealt to three groups.
    member, tested = inner_members(1, 2, 3, None, 3)
    np.testing.assert_array_equal(tested[0], np.pad(np.eye(3, dtype=bool), ((0, 0), (3, 0))))
    assert not member[:, :, :3].any()


def test_a_sample_takes_its_rows_from_batches():
    sampled = Sampled(np.array([3, 4, 50]), 3)
    for rows in (np.arange(0, 4), np.arange(4, 60)):
        sampled.add(rows, [X[rows, :1], X[rows, 1:]])
    np.testing.assert_array_equal(sampled.x, X[[3, 4, 50]])
