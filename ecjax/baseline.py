"""The empty set of embeddings: the intercept-only probe on the same folds.

It predicts the mean of the training rows' targets, or their classes' shares. Scores above it are
what embeddings bring; Shapley values share out the way from it to the full set.

Axes: r seeds, k folds, n rows, t targets, c classes.
"""

from __future__ import annotations

import numpy as np

from ecjax.sums import ClassSums, RegressionSums


def regression(y: np.ndarray, sums: RegressionSums, fold_of_row: np.ndarray) -> RegressionSums:
    """Sums of the one set without embeddings, beside those of the sets with some.

    Args:
      y: (n, t) of the sums' targets, in their own units.
      fold_of_row: (r, n).
    """
    scaled = _scaled(y, sums.scale)
    (r, k), (n, t) = sums.count.shape, y.shape
    error, rows = np.empty((r, 1, k, t)), np.zeros((t, n, 1))
    for seed, fold in enumerate(fold_of_row):
        inside = fold == np.arange(k)[:, None]  # (k, n)
        held = inside @ scaled
        means = (scaled.sum(0) - held) / (n - inside.sum(1))[:, None]  # (k, t)
        squares = (scaled - means[fold]) ** 2
        error[seed, 0] = inside @ squares
        rows[:, :, 0] += squares.T
    return sums._replace(squared_error=error, row_error=rows, predictions=None)


def spread_of_rows(y: np.ndarray, sums: RegressionSums) -> np.ndarray:
    """(t, n) squared deviations from the table's mean, in its standard deviations."""
    return _scaled(y, sums.scale).T ** 2


def _scaled(y: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return (y - y.mean(0)) / np.where(scale > 0, scale, 1)


def classification(labels: np.ndarray, sums: ClassSums, fold_of_row: np.ndarray) -> ClassSums:
    """The same for classes: the most frequent one, of several the first, and all their shares.

    Args:
      labels: (n,) codes 0 … c − 1.
    """
    (r, k, c), n = sums.count.shape, len(labels)
    onehot = labels[:, None] == np.arange(c)
    hits, loss = np.empty((r, 1, k, c)), np.empty((r, 1, k))
    row_miss, row_log_loss = np.zeros((n, 1)), np.zeros((n, 1))
    for seed, fold in enumerate(fold_of_row):
        inside = fold == np.arange(k)[:, None]
        training = onehot.sum(0) - inside @ onehot.astype(float)  # (k, c)
        hit = training.argmax(1)[fold] == labels
        with np.errstate(divide="ignore"):
            log_share = np.log(training / training.sum(1, keepdims=True))
        losses = -log_share[fold, labels]
        hits[seed, 0] = inside @ (hit[:, None] & onehot).astype(float)
        loss[seed, 0] = [losses[rows].sum() for rows in inside]
        row_miss[:, 0] += ~hit
        row_log_loss[:, 0] += losses
    return sums._replace(
        hits=hits,
        log_loss=loss,
        gradient_norm=np.zeros((r, 1, k)),
        iterations=np.zeros((r, 1, k)),
        row_miss=row_miss,
        row_log_loss=row_log_loss,
        probabilities=None,
    )
