"""Sums over held-out rows: what the study program gives back and scores are made of.

Axes: r seeds, s subsets, k folds, n rows, t targets, c classes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jax import Array


class RegressionSums(NamedTuple):
    """Sums over held-out rows, of targets divided by the table's standard deviation.

    Attributes:
      squared_error: (r, s, k, t).
      spread: (r, k, t) squared deviations of the held-out targets from their mean; exactly 0 where
        they are constant.
      pooled_spread: (t,) the same for the whole table.
      count: (r, k) rows.
      scale: (t,) the table's standard deviations.
      predictions: (r, s, n, t) in the targets' own units, or None.
      chosen: (r, s, k, t) under `strict`, the penalty λ of each fit, else None.
      inner_loss: (r, s, k, t) under `strict`, its squared error in the inner folds, else None.
    """

    squared_error: Array
    spread: Array
    pooled_spread: Array
    count: Array
    scale: Array
    predictions: Array | None
    chosen: Array | None = None
    inner_loss: Array | None = None


class ClassSums(NamedTuple):
    """Sums over held-out rows.

    Attributes:
      hits: (r, s, k, c) rows of each class that were predicted rightly.
      log_loss: (r, s, k) sum of −log probability of the true class; inf where it was absent.
      count: (r, k, c) rows of each class.
      gradient_norm, iterations: (r, s, k) of the fits.
      probabilities: (r, s, n, c), or None.
      chosen, inner_loss: (r, s, k) under `strict`, the C of each fit and its summed log-loss in the
        inner folds, else None.
    """

    hits: Array
    log_loss: Array
    count: Array
    gradient_norm: Array
    iterations: Array
    probabilities: Array | None
    chosen: Array | None = None
    inner_loss: Array | None = None


class SampleSums(NamedTuple):
    regression: RegressionSums | None
    classification: tuple[ClassSums, ...]


def join(parts: list[SampleSums], axis: int, order: list[int] | None = None) -> SampleSums:
    """Concatenates the sums of one sample's pieces, as NumPy arrays.

    Args:
      parts: pieces that differ in seeds (axis 0) or in subsets (axis 1).
      order: for subsets, the positions to take from the concatenated ones.
    """
    shared = {"spread", "pooled_spread", "count", "scale"} if axis else {"pooled_spread", "scale"}

    def together(group):
        fields = {}
        for name in group[0]._fields:
            values = [getattr(part, name) for part in group]
            if values[0] is None or name in shared:
                fields[name] = values[0]
            else:
                joined = np.concatenate(values, axis=axis)
                fields[name] = joined if order is None else joined.take(order, axis=axis)
        return group[0]._replace(**fields)

    regression = None
    if parts[0].regression is not None:
        regression = together([part.regression for part in parts])
    classes = zip(*(part.classification for part in parts), strict=True)
    return SampleSums(regression, tuple(together(list(group)) for group in classes))
