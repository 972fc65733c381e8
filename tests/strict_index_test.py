"""The best single of each fold, chosen on the other folds, against plain loops."""

import numpy as np
import pytest

from ecjax.complementarity import PERFECT_SINGLE
from ecjax.scores import class_scores, mean_share, regression_scores
from ecjax.strict_index import strict_index
from ecjax.sums import ClassSums, RegressionSums

SUBSETS = ((0,), (1,), (2,), (0, 1), (0, 1, 2))
R, K, N, C = 2, 5, 83, 3
rng = np.random.default_rng(0)
FOLD = np.array([rng.permutation(N) % K for _ in range(R)])  # (r, n)
LABELS = rng.integers(0, C, N)
GUESS = np.where(
    rng.random((R, len(SUBSETS), N)) < 0.6, LABELS, rng.integers(0, C, (R, len(SUBSETS), N))
)
LOSS = rng.exponential(size=(R, len(SUBSETS), N))
INNER = np.zeros((R, len(SUBSETS), K))


def by_fold(values):
    """(r, s, n) → (r, s, k)."""
    return np.array(
        [
            [[one[f == k].sum() for k in range(K)] for one in of]
            for of, f in zip(values, FOLD, strict=True)
        ]
    )


def class_sums(log_loss=None):
    hits = np.stack([by_fold((GUESS == LABELS) & (LABELS == c)) for c in range(C)], axis=-1)
    count = np.array([[np.bincount(LABELS[f == k], minlength=C) for k in range(K)] for f in FOLD])
    nothing = np.zeros((R, len(SUBSETS), K))
    log_loss = by_fold(LOSS) if log_loss is None else log_loss
    sums = hits.astype(float), log_loss, count.astype(float), nothing, nothing
    return ClassSums(*sums, row_miss=None, row_log_loss=None, probabilities=None)


def recall_loss(r, s, rows):
    """1 − mean recall of the classes among the rows."""
    shares = [
        (GUESS[r, s, rows & (LABELS == c)] == c).mean()
        for c in range(C)
        if (rows & (LABELS == c)).any()
    ]
    return 1 - np.mean(shares)


POOLED = {
    "accuracy": lambda r, s, rows: (GUESS[r, s, rows] != LABELS[rows]).mean(),
    "balanced_accuracy": recall_loss,
    "log_loss": lambda r, s, rows: LOSS[r, s, rows].mean(),
}


@pytest.mark.parametrize("metric", POOLED)
def test_equals_plain_loops(metric):
    (scores,) = (one for one in class_scores(class_sums()) if one.metric == metric)
    index = strict_index(scores, SUBSETS, INNER)
    pooled = POOLED[metric]
    for j, i in enumerate(index.subset):
        members = list(SUBSETS[i])
        best, names, fused = [], [], []
        for r in range(R):
            chosen = [
                min(members, key=lambda m: pooled(r, m, FOLD[r] != k))  # noqa: B023
                for k in range(K)
            ]
            names += chosen
            # The chosen members' guesses, each on its own fold, as if of one model.
            mixed = np.array(chosen)[FOLD[r]]
            rows = np.arange(N)
            if metric == "log_loss":
                best.append(LOSS[r, mixed, rows].mean())
            else:
                hit = GUESS[r, mixed, rows] == LABELS
                of_class = [hit[LABELS == c].mean() for c in range(C)]
                best.append(1 - (hit.mean() if metric == "accuracy" else np.mean(of_class)))
            fused.append(pooled(r, i, np.ones(N, bool)))
            assert index.by_fold[j, r].tolist() == chosen
        assert index.eci[j] == pytest.approx(1 - np.mean(fused) / np.mean(best), abs=1e-12)
        assert index.eci[j] == index.eci_pooled[j]
        assert index.best_single[j] == max(members, key=names.count)
        assert index.share[j] == pytest.approx(names.count(index.best_single[j]) / len(names))
        sign = -1 if metric == "log_loss" else 1
        perfect = 0.0 if metric == "log_loss" else 1.0
        assert index.score[j] == pytest.approx(perfect - sign * np.mean(fused))
        assert index.best_single_score[j] == pytest.approx(perfect - sign * np.mean(best))
        assert 0 < index.p_value[j] <= 1


def regression_sums(error):
    """error (r, s, k, 1)."""
    r, _, k, _ = error.shape
    one = np.ones((r, k, 1))
    counts = np.array([9.0]), 4 * one[..., 0], np.ones(1)
    return RegressionSums(error, 2 * one, *counts, row_error=None, predictions=None)


def test_with_two_folds_the_inner_loss_chooses():
    error = rng.exponential(size=(1, 5, 2, 1))
    loss = np.array([[[1.0, 2], [2, 1], [3, 3], [0, 0], [0, 0]]])
    for scores in regression_scores(regression_sums(error), [0]):
        index = strict_index(scores, SUBSETS, loss)
        assert index.by_fold.tolist() == [[[0, 1]], [[0, 1]]]
        best = error[0, 0, 0, 0] + error[0, 1, 1, 0]
        np.testing.assert_allclose(index.eci, 1 - error[0, 3:].sum((1, 2)) / best)
        assert index.share.tolist() == [0.5, 0.5] and index.best_single.tolist() == [0, 0]
    r2, mse = regression_scores(regression_sums(error), [0])
    assert strict_index(r2, SUBSETS, loss).score == pytest.approx(1 - error[0, 3:].sum((1, 2)) / 9)
    assert strict_index(mse, SUBSETS, loss).score == pytest.approx(error[0, 3:].sum((1, 2)) / 8)


def test_the_held_out_fold_does_not_choose_its_single():
    """Member 1 is best overall only because of fold 0, where member 0 must be taken."""
    error = np.full((1, 5, 4, 1), 9.0)
    error[0, 0] = 2.0
    error[0, 1] = 2.1
    error[0, 1, 0] = 0.1
    index = strict_index(regression_scores(regression_sums(error), [0])[0], SUBSETS, INNER)
    assert index.by_fold[0].tolist() == [[0, 1, 1, 1]]


def test_undefined_is_null_with_a_reason():
    sums = class_sums()
    log_loss = sums.log_loss.copy()
    log_loss[1, :, 3] = np.inf
    *others, found = class_scores(sums._replace(log_loss=log_loss))
    index = strict_index(found, SUBSETS, INNER)
    assert np.isnan([*index.eci, *index.score, *index.p_value, *index.share]).all()
    assert all("absent from the training rows of fold 3" in reason for reason in index.reason)
    assert (index.best_single == -1).all()
    for one in others:
        assert not any(strict_index(one, SUBSETS, INNER).reason)
    error = np.ones((1, 5, 4, 1))
    error[0, 1] = 0
    perfect = strict_index(regression_scores(regression_sums(error), [0])[0], SUBSETS, INNER)
    assert np.isnan(perfect.eci).all() and perfect.reason == [PERFECT_SINGLE] * 2
    none = regression_scores(regression_sums(error)._replace(scale=np.zeros(1)), [0])[0]
    assert strict_index(none, SUBSETS, INNER).reason == ["the target is constant"] * 2


def test_a_fold_without_a_score_takes_the_test_and_not_the_index():
    sums = regression_sums(rng.exponential(size=(1, 5, 4, 1)))
    spread = sums.spread.copy()
    spread[0, 2] = 0
    index = strict_index(regression_scores(sums._replace(spread=spread), [0])[0], SUBSETS, INNER)
    assert np.isfinite(index.eci).all() and np.isnan(index.p_value).all()
    assert index.reason == ["the target is constant in fold 2"] * 2


def test_a_class_that_is_nowhere_does_not_count():
    lost, among = np.array([[1.0, 0.0, 2.0]]), np.array([[2.0, 0.0, 8.0]])
    assert mean_share(lost, among) == pytest.approx((0.5 + 0.25) / 2)
