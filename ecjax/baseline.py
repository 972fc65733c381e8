"""The empty set of embeddings: the intercept-only probe on the same folds.

It predicts the mean of the training rows' targets, or their classes' shares. Scores above it are
what embeddings bring; Shapley values share out the way from it to the full set.

Axes: r seeds, k folds, n rows, t targets, c classes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ecjax.folds import Folds
from ecjax.sums import ClassSums, RegressionSums


def _parts(folds: Folds) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    """Seed and fold as positions, the rows left out of training, and those of them scored."""
    for r, k in np.ndindex(folds.sizes.shape):
        left_out = folds.held_out[r, k]
        left_out = left_out[left_out < folds.rows]
        yield r, k, left_out, left_out[: folds.sizes[r, k]]


def regression(y: np.ndarray, sums: RegressionSums, folds: Folds) -> RegressionSums:
    """Sums of the one set without embeddings, beside those of the sets with some.

    Args:
      y: (n, t) of the sums' targets, in their own units.
    """
    scaled = (y - y.mean(0)) / np.where(sums.scale > 0, sums.scale, 1)
    (r, k), (n, t) = folds.sizes.shape, y.shape
    error, rows = np.empty((r, 1, k, t)), np.zeros((t, n, 1))
    total = scaled.sum(0)
    for seed, fold, left_out, scored in _parts(folds):
        mean = (total - scaled[left_out].sum(0)) / (n - len(left_out))
        squares = (scaled[scored] - mean) ** 2
        error[seed, 0, fold] = squares.sum(0)
        rows[:, scored, 0] += squares.T
    absent = dict.fromkeys(("predictions", "chosen", "inner_loss", "row_slope"))
    return sums._replace(squared_error=error, row_error=rows, **absent)


def spread_of_rows(y: np.ndarray, sums: RegressionSums, rows: np.ndarray) -> np.ndarray:
    """(t, m) squared deviations of m rows from their mean, in the table's standard deviations."""
    chosen = y[rows]
    return ((chosen - chosen.mean(0)) / np.where(sums.scale > 0, sums.scale, 1)).T ** 2


def classification(labels: np.ndarray, sums: ClassSums, folds: Folds) -> ClassSums:
    """The same for classes: the most frequent one, of several the first, and all their shares.

    Args:
      labels: (n,) codes 0 … c − 1.
    """
    (r, k), n, c = folds.sizes.shape, len(labels), sums.count.shape[-1]
    hits, loss = np.zeros((r, 1, k, c)), np.empty((r, 1, k))
    row_miss, row_log_loss = np.zeros((n, 1)), np.zeros((n, 1))
    total = np.bincount(labels, minlength=c)
    for seed, fold, left_out, scored in _parts(folds):
        training = total - np.bincount(labels[left_out], minlength=c)
        most = training.argmax()
        own = labels[scored]
        with np.errstate(divide="ignore"):  # of a class that is absent from the training rows
            losses = -np.log(training / training.sum())[own]
        hits[seed, 0, fold, most] = (own == most).sum()
        loss[seed, 0, fold] = losses.sum()
        row_miss[scored, 0] += own != most
        row_log_loss[scored, 0] += losses
    return sums._replace(
        hits=hits,
        log_loss=loss,
        gradient_norm=np.zeros((r, 1, k)),
        iterations=np.zeros((r, 1, k)),
        row_miss=row_miss,
        row_log_loss=row_log_loss,
        probabilities=None,
        chosen=None,
        inner_loss=None,
        row_slope=None,
    )
