"""Whether a set scores otherwise in two runs: tests paired by rows, or by folds.

By rows: the losses of the same row in both runs, averaged over each run's seeds, differ by d_i; the
mean of d is the difference of the pooled losses, and its standard error that of a mean over
independent units, times √(n / max(n − p, n/4)) for fits that share rows (see `intervals`). It holds
whatever the folds are. By folds: the two-sided Wilcoxon signed-rank test of the scores of the same
folds, which takes fold scores for independent although they share training rows.

Axes: r seeds, s subsets, n rows, t targets or classes, k folds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from ecjax import intervals, uncertainty
from ecjax.scores import PERFECT

NO_DIFFERENCE = "all differences are zero"
ROUNDING = 1e-9  # a difference no larger, beside the numbers, is none
INFINITE = "a row has probability 0"
UNDEFINED = "the score of a fold is undefined"
ONE_UNIT = "all rows are of one unit"


class Tested(NamedTuple):
    """A paired test of one difference, second − first, of a score.

    Attributes:
      n: units (rows, blocks) or folds that it rests on.
      difference: of the pooled scores (rows) or the mean of that of fold scores (folds).
      standard_error, low, high: of it; NaN by folds.
      p_value: two-sided.
      reason: why there is no p-value; "" where there is one.
    """

    n: int
    difference: float
    standard_error: float
    low: float
    high: float
    p_value: float
    reason: str


class Predictions(NamedTuple):
    """Out-of-fold predictions of one task under one setting.

    Attributes:
      ids: (n,) texts, sorted.
      lat, lon: (n,) degrees, NaN where unknown.
      subsets: their names.
      targets: names of the targets, or of the classes.
      y: (n, t) targets, or 1 for the own class and 0 for others.
      values: (r, s, n, t) predictions, or probabilities.
    """

    ids: np.ndarray
    lat: np.ndarray
    lon: np.ndarray
    subsets: tuple[str, ...]
    targets: tuple[str, ...]
    y: np.ndarray
    values: np.ndarray

    def same_rows(self, other: Predictions) -> bool:
        """Whether ids, targets and their values are the same."""
        same = np.array_equal(self.ids, other.ids) and self.targets == other.targets
        return same and np.array_equal(self.y, other.y)


def predictions_of(rows: pd.DataFrame) -> Predictions:
    """The predictions of one task and setting, from rows of the table `predictions`."""
    seed, seeds = pd.factorize(rows["seed"], sort=True)
    subset, subsets = pd.factorize(rows["subset"])
    row, ids = pd.factorize(rows["id"].astype(str), sort=True)
    target, targets = pd.factorize(rows["target"].astype(str), sort=True)
    shape = len(seeds), len(subsets), len(ids), len(targets)
    values, y = np.full(shape, np.nan), np.full(shape[2:], np.nan)
    values[seed, subset, row, target] = rows["prediction"]
    y[row, target] = rows["y"]
    lat, lon = np.full(len(ids), np.nan), np.full(len(ids), np.nan)
    lat[row], lon[row] = rows["lat"], rows["lon"]
    names = tuple(map(str, subsets)), tuple(map(str, targets))
    return Predictions(np.asarray(ids, object), lat, lon, *names, y, values)


def row_losses(
    found: Predictions, metric: str, target: str | None = None, transform: str = "none"
) -> np.ndarray:
    """(s, n) losses, averaged over seeds, of which the mean over rows is 1 − score or the error.

    Args:
      found: the predictions.
      metric: of METRICS.
      target: one target of a regression; None: all together.
      transform: by which targets are changed before they are scored.
    """
    if metric in ("r2", "mse"):
        chosen = [i for i, name in enumerate(found.targets) if target in (None, name)]
        y, values = found.y[:, chosen], found.values[..., chosen]
        if transform == "log1p":
            y, values = np.log1p(y), np.log1p(values)
        spread = y.var(0)
        varying = spread > 0
        error = (values - y) ** 2 / np.where(varying, spread, np.inf)  # (r, s, n, t)
        return error.sum(-1).mean(0) / max(varying.sum(), 1)
    own = found.y.argmax(1)
    if metric == "log_loss":
        probability = found.values[:, :, np.arange(len(own)), own]
        with np.errstate(divide="ignore"):
            return -np.log(probability).mean(0)
    miss = (found.values.argmax(-1) != own).mean(0)
    if metric == "accuracy":
        return miss
    counts = np.bincount(own, minlength=len(found.targets))
    return miss * len(own) / (np.count_nonzero(counts) * counts[own])


def by_rows(
    first: np.ndarray,
    second: np.ndarray,
    metric: str,
    units: np.ndarray | None,
    columns: float,
    confidence: float,
) -> Tested:
    """The test by rows.

    Args:
      first, second: (n,) losses of the same rows.
      metric: that they are of.
      units: (n,) codes of what is independent; None: the rows.
      columns: the most that a fit of either run has.
      confidence: level of the interval.
    """
    n = len(first)
    change = _unrounded(first, second) * (-1 if PERFECT[metric] else 1)
    mean = float(change.mean())
    sums = change - mean if units is None else np.bincount(units, change - mean)
    g = len(sums)
    nothing = Tested(g, mean, np.nan, np.nan, np.nan, np.nan, "")
    if not np.isfinite(change).all():
        return nothing._replace(difference=np.nan, reason=INFINITE)
    if not change.any():
        return nothing._replace(reason=NO_DIFFERENCE)
    if g < 2:
        return nothing._replace(reason=ONE_UNIT)
    widening = n / max(n - columns, n / 4)
    error = float(np.sqrt(g / (g - 1) * (sums**2).sum() * widening)) / n
    if not error:
        return nothing._replace(reason="all rows differ by the same")
    degrees = np.inf if units is None else g - 1
    half = intervals.as_t(intervals.z_of(confidence), degrees) * error
    return Tested(g, mean, error, mean - half, mean + half, _two_sided(mean / error, degrees), "")


def _unrounded(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Differences; 0 where there is nothing but rounding, which no test must take for a finding."""
    with np.errstate(invalid="ignore"):  # of infinite losses
        change = second - first
        largest = max(np.abs(first).max(initial=0), np.abs(second).max(initial=0))
    return np.where(np.abs(change) <= ROUNDING * largest, 0.0, change)


def _two_sided(t: float, degrees: float) -> float:
    from scipy import special

    lower = special.ndtr(-abs(t)) if np.isinf(degrees) else special.stdtr(degrees, -abs(t))
    return float(2 * lower)


def by_folds(first: np.ndarray, second: np.ndarray) -> list[Tested]:
    """The tests by folds, of (m, k) scores each."""
    change = _unrounded(first, second)
    above, reasons = uncertainty.wilcoxon(change)
    below, _ = uncertainty.wilcoxon(-change)
    p_values = np.minimum(2 * np.minimum(above, below), 1)
    nan = np.nan
    return [
        Tested(len(row), float(row.mean()), nan, nan, nan, float(p), reason or UNDEFINED)
        if np.isnan(p)
        else Tested(len(row), float(row.mean()), nan, nan, nan, float(p), "")
        for row, p, reason in zip(change, p_values, reasons, strict=True)
    ]
