"""Sums over held-out rows: what the study program gives back and scores are made of.

Axes: r seeds, s subsets, k folds, n rows, t targets, c classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jax import Array


class RegressionSums(NamedTuple):
    """Sums over held-out rows, of targets divided by the table's standard deviation.

    Attributes:
      squared_error: (r, s, k, t).
      spread: (r, k, t) squared deviations of the held-out targets from their mean; exactly 0 where
        they are constant.
      pooled_spread: (t,) the same for all held-out rows together.
      count: (r, k) rows.
      scale: (t,) the table's standard deviations.
      row_error: (t, n, s) squared error of each row, out of fold, summed over seeds.
      predictions: (r, s, n, t) in the targets' own units, or None.
      chosen: (r, s, k, t, b) under `strict`, the penalty λ of each fit, or of each of its b
        embeddings (NaN for those it leaves out), else None.
      inner_loss: (r, s, k, t) under `strict`, its squared error in the inner folds, else None.
      row_slope: (t, n, s) derivatives of `row_error` with respect to log λ, of ridge regression
        under `strict`, else None.
    """

    squared_error: Array
    spread: Array
    pooled_spread: Array
    count: Array
    scale: Array
    row_error: Array
    predictions: Array | None
    chosen: Array | None = None
    inner_loss: Array | None = None
    row_slope: Array | None = None


class ClassSums(NamedTuple):
    """Sums over held-out rows.

    Attributes:
      hits: (r, s, k, c) rows of each class that were predicted rightly.
      log_loss: (r, s, k) sum of −log probability of the true class; inf where it was absent.
      count: (r, k, c) rows of each class.
      gradient_norm, iterations: (r, s, k) of the fits.
      row_miss: (n, s) in how many seeds a row was predicted wrongly, out of fold.
      row_log_loss: (n, s) −log probability of a row's true class, summed over seeds.
      probabilities: (r, s, n, c), or None.
      chosen, inner_loss: (r, s, k) under `strict`, the C of each fit and its summed log-loss in the
        inner folds, else None.
      row_slope: (n, s) derivatives of `row_log_loss` with respect to −log C, of logistic regression
        under `strict`, else None.
    """

    hits: Array
    log_loss: Array
    count: Array
    gradient_norm: Array
    iterations: Array
    row_miss: Array
    row_log_loss: Array
    probabilities: Array | None
    chosen: Array | None = None
    inner_loss: Array | None = None
    row_slope: Array | None = None


class SampleSums(NamedTuple):
    regression: RegressionSums | None
    classification: tuple[ClassSums, ...]


def of_targets(sums: RegressionSums, targets: Sequence[int]) -> RegressionSums:
    """The sums of some targets, in this order."""
    chosen = list(targets)
    if chosen == list(range(chosen[0], chosen[-1] + 1)):
        chosen = slice(chosen[0], chosen[-1] + 1)  # views of the large arrays
    return sums._replace(
        squared_error=sums.squared_error[..., chosen],
        spread=sums.spread[..., chosen],
        pooled_spread=sums.pooled_spread[chosen],
        scale=sums.scale[chosen],
        row_error=sums.row_error[chosen],
        row_slope=None if sums.row_slope is None else sums.row_slope[chosen],
        predictions=None if sums.predictions is None else sums.predictions[..., chosen],
        chosen=None if sums.chosen is None else sums.chosen[..., chosen, :],
        inner_loss=None if sums.inner_loss is None else sums.inner_loss[..., chosen],
    )


def contiguous(sums: RegressionSums | ClassSums) -> RegressionSums | ClassSums:
    """The same numbers in the order in which cells keep them, so that adding them up rounds alike,
    whether they were kept or not."""
    return type(sums)(*(None if a is None else np.ascontiguousarray(a) for a in sums))


class Part(NamedTuple):
    """Some seeds' and subsets' part of whole sums.

    Attributes:
      sums: RegressionSums or ClassSums.
      seeds: (r',) places of its seeds in the whole.
      subsets: (s',) places of its subsets in the whole, −1 for those that are not used.
    """

    sums: RegressionSums | ClassSums
    seeds: Sequence[int]
    subsets: Sequence[int]


WITHOUT_SUBSETS = ("spread", "count")  # arrays (r, …); the others are (r, s, …) or one of these:
OF_ROWS = ("row_error", "row_slope", "row_miss", "row_log_loss")  # (…, n, s) summed over seeds
OF_TARGETS = ("pooled_spread", "scale")


def join(parts: Sequence[Part], seeds: int, subsets: int) -> RegressionSums | ClassSums:
    """The whole sums of r seeds and s subsets, as NumPy arrays.

    Args:
      parts: those of one group of tasks; each seed and subset is used in one of them. What rows
        lost is added up in their order.
    """
    if len(parts) == 1 and _is_whole(parts[0], seeds, subsets):
        return parts[0].sums
    fields = {}
    for name in parts[0].sums._fields:
        values = [getattr(part.sums, name) for part in parts]
        if any(value is None for value in values):
            fields[name] = None
        elif name in OF_TARGETS:
            fields[name] = values[0]
        else:
            fields[name] = _joined(name, values, parts, seeds, subsets)
    return parts[0].sums._replace(**fields)


def _is_whole(part: Part, seeds: int, subsets: int) -> bool:
    places = zip((part.seeds, part.subsets), (seeds, subsets), strict=True)
    return all(list(own) == list(range(count)) for own, count in places)


def _joined(
    name: str, values: Sequence[np.ndarray], parts: Sequence[Part], seeds: int, subsets: int
) -> np.ndarray:
    first = values[0]
    if name in OF_ROWS:
        whole = np.zeros((*first.shape[:-1], subsets), first.dtype)
    elif name in WITHOUT_SUBSETS:
        whole = np.empty((seeds, *first.shape[1:]), first.dtype)
    else:
        whole = np.empty((seeds, subsets, *first.shape[2:]), first.dtype)
    for value, part in zip(values, parts, strict=True):
        places = np.asarray(part.subsets)
        used = np.flatnonzero(places >= 0)
        if name in OF_ROWS:
            whole[..., places[used]] += value[..., used]
        elif name in WITHOUT_SUBSETS:
            whole[list(part.seeds)] = value
        else:
            whole[np.ix_(part.seeds, places[used])] = value[:, used]
    return whole
