"""Intervals that hold at once in all rows of several tables: max-t.

Errors of all comparisons of a table are drawn together, or taken from the replicates; what the
largest of them exceeds in a share 1 − confidence of the draws is the z of every interval.

Axes: g units, m columns of `RowMoments`, j comparisons, b replicates.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from ecjax.intervals import CELLS, Comparisons, parts, widening, z_of
from ecjax.loss_moments import RowMoments

DRAWS = 2_000  # of the largest of correlated errors
LEAST_SHARE = 1e-12  # of the largest variance, below which one is rounding
FEW_DEGREES = 30  # up to which standard errors are drawn too, comparison by comparison
Z_STEP = 1e-3  # quantiles are rounded up to a grid, so that rounding does not show in them


def largest_errors(
    moments: RowMoments, pairs: Comparisons, columns: np.ndarray | None = None
) -> np.ndarray:
    """(DRAWS,) draws of the largest |error| ÷ standard error of the comparisons, sorted.

    Where there are replicates, (b,) of them; this takes the columns of each set, as `compare` does.

    Errors are drawn normal with the correlations that the units show. Where quantiles are those of
    t, they are divided by drawn standard errors, and told as the normal quantiles of the same
    level, so that tables of different numbers of units can be set side by side.
    """
    if moments.replicates is not None:
        return _largest_of_replicates(moments, pairs, columns)
    known = np.flatnonzero(pairs.standard_error > 0)
    if not len(known):
        return np.zeros(DRAWS)
    pairs = pairs.take(known)
    used, place = np.unique(np.concatenate([pairs.fused, pairs.over]), return_inverse=True)
    shares = moments.cross[np.ix_(used, used)] / np.outer(moments.mean[used], moments.mean[used])
    values, vectors = np.linalg.eigh(shares)
    # The symmetric root moves little when the shares do, by rounding: no vector's sign is in it.
    values = np.where(values > LEAST_SHARE * values[-1], values, 0)
    root = (vectors * np.sqrt(values)) @ vectors.T  # (m, m)
    first, second = np.split(place, 2)
    factor = root[first] - root[second]
    length = np.linalg.norm(factor, axis=1, keepdims=True)
    errors = np.divide(factor, length, out=np.zeros(factor.shape), where=length > 0)
    drawn = np.abs(errors @ _normal(len(used)))  # (j, DRAWS)
    if np.isinf(moments.degrees):
        return np.sort(drawn.max(0))
    by = _drawn_errors(errors, moments.degrees)
    t = np.divide(drawn, by, out=np.zeros(drawn.shape), where=by > 0).max(0)
    return np.sort(-special.ndtri(special.stdtr(moments.degrees, -t)))


def _largest_of_replicates(
    moments: RowMoments, pairs: Comparisons, columns: np.ndarray
) -> np.ndarray:
    """(b,) sorted; 1 is where an interval ends that is as wide as one normal standard error."""
    means = moments.replicates.means
    largest = np.zeros(means.shape[1])
    for part in parts(moments, pairs.take(pairs.standard_error > 0)):
        f, m = part[:2]
        with np.errstate(divide="ignore", invalid="ignore"):
            now = moments.mean[f] / moments.mean[m]
            error = np.log(means[f] / means[m] / now[:, None])
            error *= widening(moments, np.maximum(columns[f], columns[m]))[:, None]
            error /= np.where(error < 0, -part.below[:, None], part.above[:, None])
        error = np.where(np.isfinite(error), error, 0)  # nothing lies beyond an infinite end
        largest = np.maximum(largest, error.max(0, initial=0))
    return np.sort(largest)


def _drawn_errors(factor: np.ndarray, degrees: int) -> np.ndarray:
    """(j, DRAWS) standard errors found from `degrees` + 1 units, where 1 is right.

    Of factor (j, m) times normal draws. Those of several comparisons rest on the same units, and so
    are drawn together; where degrees are many, one draw serves all.
    """
    rng = np.random.default_rng(1)
    if degrees > FEW_DEGREES:
        return np.sqrt(rng.chisquare(degrees, DRAWS) / degrees)[None]
    j, m = factor.shape
    found = np.empty((j, DRAWS))
    step = max(1, CELLS // (int(degrees) * max(j, m)))
    for start in range(0, DRAWS, step):
        some = min(step, DRAWS - start)
        units = rng.standard_normal((some * int(degrees), m)) @ factor.T
        found[:, start : start + some] = (units**2).reshape(some, -1, j).mean(1).T
    return np.sqrt(found)


@functools.cache
def _normal(m: int) -> np.ndarray:
    """(m, DRAWS) standard normal, the same every time."""
    return np.random.default_rng(0).standard_normal((m, DRAWS))


def simultaneous_z(largest: Sequence[np.ndarray], confidence: float) -> float:
    """z at which all intervals of several tables hold at once (max-t).

    Tables are taken to be independent: where they are not, all of them hold more often still (the
    Gaussian correlation inequality).

    Args:
      largest: of each table, by `largest_errors`.
    """
    high = max(float(draws[-1]) for draws in largest)
    grid = z_of(confidence) + Z_STEP * np.arange(max(2, math.ceil(high / Z_STEP)))

    def holds(step: int) -> bool:
        held = [np.searchsorted(draws, grid[step], side="right") / len(draws) for draws in largest]
        return np.prod(held) >= confidence

    return float(grid[bisect.bisect_left(range(len(grid) - 1), True, key=holds)])
