"""Intervals of losses, of their ratios and of the index, from second moments of the rows' losses.

The interval of kind `ratio`: of a set f and of a set m that it is compared with, L and e are the
pooled out-of-fold loss and the loss of each of the n rows. The log ratio r = log(L_f/L_m) has the
standard error

    s = sd_i(e_f,i/ē_f − e_m,i/ē_m) / √n · √(n / max(n − p, n/4)),

whose last factor is for fits that share their rows: it grows as the p columns of the fused set near
the number of rows. The gain 1 − L_f/L_m then lies in 1 − exp(r ± z·s).

The index compares a set with its best member, which is not known but chosen.

Its lower end is the smallest of those over all members, so that the choice cannot raise it: an
index above zero is claimed only where the set beats every member.

Its upper end, under `paper`, is the largest of those over the member with the smallest loss and all
that are tied with it: to be the smallest, a loss must be lucky.

Under `strict` the index is against the single of each fold, chosen without that fold and so not
lucky there. Its upper end is that of the one comparison with this composite, whose loss of a row is
that of the single chosen for the row's fold. With several seeds, r is the index's own; for s a
row's losses are averaged over seeds, and the singles of the row's folds over those averages. That
leaves out how a seed's choice goes with that seed's loss of the row, but the row had no part in the
choice. The composite can by chance lose less than every member; then the index itself is the lower
end. So under both protocols low ≤ index ≤ high.

The interval of kind `bootstrap` has the BCa ends of r (see `bootstrap`) in place of r ± z·s, moved
away from r by √(n / max(n − p, n/4)) and √(g/(g − 1)): drawing rows again shows neither that fits
share rows nor that means were taken from few. Its simultaneous form is so many times as wide that
all intervals hold at once in the share of replicates asked for. p-values are those of `ratio`.

What they are intervals of: the expected relative reduction of the loss for this recipe, trained on
n(1 − 1/k) rows drawn like these and tested on new rows drawn like these. They say nothing about
other regions, and rows are taken to be independent.

Where blocks of rows or groups are independent instead, the losses are first added up over the rows
of each of these g units, and the same formula is that of a ratio estimator over clusters:

    s = √(g/(g − 1) · Σ_u (Σ_i∈u (e_f,i/ē_f − e_m,i/ē_m))²) / n · √(n / max(n − p, n/4)),

with quantiles of Student's t with g − 1 degrees of freedom in place of the normal ones.

Axes: n rows, g units, s subsets, m columns of `RowMoments`, j comparisons.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from ecjax import bootstrap
from ecjax.bootstrap import Replicates

DRAWS = 2_000  # of the largest of correlated errors
LEAST_SHARE = 1e-12  # of the largest variance, below which one is rounding
FEW_DEGREES = 30  # up to which standard errors are drawn too, comparison by comparison
CELLS = 2**22  # of an array at most, in draws of standard errors
Z_STEP = 1e-3  # quantiles are rounded up to a grid, so that rounding does not show in them


class RowMoments(NamedTuple):
    """Second moments of what each row, or unit of rows, lost, averaged over seeds.

    Attributes:
      rows: n.
      mean: (m,) over units.
      cross: (m, m) mean over units of the products.
      units: g; n where each row is its own.
      degrees: of freedom, of the t quantiles: g − 1, or inf where rows are the units.
      single: (i,) under `strict`, of each fused set, the column of its composite single; None under
        `paper`.
      losses: (g, m) of the units, kept for a bootstrap, or None.
      replicates: what intervals are made from; None: of the moments alone, kind `ratio`.

    The columns are the s subsets in their order, the empty set, composites, the spread of the
    targets (zero for classes) and a constant. Losses are divided by one of the last two.
    """

    rows: int
    mean: np.ndarray
    cross: np.ndarray
    units: int
    degrees: float
    single: np.ndarray | None = None
    losses: np.ndarray | None = None
    replicates: Replicates | None = None


def row_moments(
    losses: np.ndarray,
    spread: np.ndarray,
    constant: float,
    single: np.ndarray | None = None,
    unit_of_row: np.ndarray | None = None,
    keep: bool = False,
) -> RowMoments:
    """Moments of losses (n, m) and of what divides them, columns as in `RowMoments`.

    Args:
      unit_of_row: (n,) codes 0 … g − 1, each with a row; None: each row is its own unit.
      keep: the losses too.
    """
    n = len(losses)
    columns = np.column_stack([losses, spread, np.full(n, constant)])
    with np.errstate(invalid="ignore"):  # a class absent from a fold has infinite log-loss
        if unit_of_row is None:
            cross, kept = columns.T @ columns / n, columns if keep else None
            return RowMoments(n, cross[-1] / constant, cross, n, np.inf, single, kept)
        columns = unit_sums(columns, unit_of_row)
        g, kept = len(columns), columns if keep else None
        cross = columns.T @ columns / g
        return RowMoments(n, columns.mean(0), cross, g, g - 1, single, kept)


def unit_sums(columns: np.ndarray, unit_of_row: np.ndarray) -> np.ndarray:
    """(g, m) sums of columns (n, m) over the rows of each unit."""
    order = np.argsort(unit_of_row, kind="stable")
    starts = np.flatnonzero(np.diff(unit_of_row[order], prepend=-1))
    return np.add.reduceat(columns[order], starts, axis=0)


def composites(
    losses: np.ndarray, by_fold: np.ndarray, fold_of_row: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Losses of singles that are others for other folds.

    Args:
      losses: (n, s), averaged over seeds.
      by_fold: (i, r, k) as `complementarity.Index`.
      fold_of_row: (r, n).

    Returns:
      (n, c) losses of those that are not one single everywhere, and the column of each set's
      (i,): one of the s, or s + 1, s + 2 … in their order.
    """
    flat = by_fold.reshape(-1, math.prod(by_fold.shape[1:]))
    kinds, place = np.unique(flat, axis=0, return_inverse=True)
    row, column, found = np.arange(len(losses)), np.empty(len(kinds), int), []
    for j, kind in enumerate(kinds.reshape(-1, *by_fold.shape[1:])):
        if (kind == kind[0, 0]).all():
            column[j] = kind[0, 0]
            continue
        column[j] = losses.shape[1] + 1 + len(found)
        of_seeds = zip(kind, fold_of_row, strict=True)
        found.append(np.mean([losses[row, own[fold]] for own, fold in of_seeds], axis=0))
    return np.array(found).reshape(-1, len(losses)).T, column[place.reshape(-1)]


def z_of(confidence: float) -> float:
    """Two-sided normal quantile."""
    return float(special.ndtri(0.5 + confidence / 2))


def as_t(z: float, degrees: float) -> float:
    """The quantile of Student's t where z is the normal one."""
    if np.isinf(degrees):
        return z
    return float(-special.stdtrit(degrees, special.ndtr(-z))) if degrees > 0 else np.nan


def _inflation(n: int, columns: np.ndarray) -> np.ndarray:
    """n / max(n − p, n/4), of a variance."""
    return n / np.maximum(n - columns, n / 4)


def standard_error(
    moments: RowMoments, weights: np.ndarray, unit: int, columns: np.ndarray
) -> np.ndarray:
    """Of linear combinations of pooled losses, divided by a unit that is estimated too.

    With D = Σ w L / U, a row's share in the error of D is (Σ w e_i − D·u_i)/Ū.

    Args:
      weights: (j, m) w.
      unit: the column of U.
      columns: (j,) the most columns of an embedding set in each.

    Returns:
      (j,); NaN where nothing is there to divide by.
    """
    own = np.array(weights, float)
    if not moments.mean[unit] > 0:
        return np.full(len(own), np.nan)
    with np.errstate(invalid="ignore"):  # infinite log-loss
        own[:, unit] -= own @ moments.mean / moments.mean[unit]
        variance = np.einsum("jm,jm->j", own @ moments.cross, own)
    return _error(moments, variance, columns) / moments.mean[unit]


def combination_errors(
    moments: RowMoments, weights: np.ndarray, unit: int, columns: np.ndarray
) -> np.ndarray:
    """(2, j): `standard_error`, towards the lower and the upper end of an interval."""
    error = standard_error(moments, weights, unit, columns)
    found, mean = moments.replicates, moments.mean
    if found is None or not np.isfinite(error).any():
        return np.stack([error, error])
    with np.errstate(divide="ignore", invalid="ignore"):
        value = weights @ mean / mean[unit]
        drawn = weights @ found.means / found.means[unit]
        influence = (moments.losses @ weights.T - moments.losses[:, [unit]] * value) / mean[unit]
        ends = bootstrap.bca_ends(drawn, value, influence, found.z)
    sides = np.maximum([value - ends[0], ends[1] - value], 0) / found.z
    return np.where(np.isnan(error), np.nan, sides * _widening(moments, columns))


def _widening(moments: RowMoments, columns: np.ndarray) -> np.ndarray:
    """What intervals from drawn units are too narrow by; two units at least."""
    g = moments.units
    return np.sqrt(_inflation(moments.rows, columns) * g / (g - 1))


def _error(moments: RowMoments, variance: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Standard error of a mean over units from the variance (ddof 0); NaN if there is one unit."""
    if moments.units < 2:
        return np.full(len(variance), np.nan)
    of_mean = np.maximum(variance, 0) / (moments.units - 1)
    return np.sqrt(of_mean * _inflation(moments.rows, columns))


class Comparisons(NamedTuple):
    """Log ratios of pooled losses.

    Attributes:
      fused, over: (j,) positions of the sets compared.
      log_ratio, standard_error: (j,) r and s; NaN where a loss is zero or undefined.
      below, above: (j,) what stands for s towards smaller and larger r; s itself in kind `ratio`.
    """

    fused: np.ndarray
    over: np.ndarray
    log_ratio: np.ndarray
    standard_error: np.ndarray
    below: np.ndarray
    above: np.ndarray

    def take(self, which: np.ndarray) -> Comparisons:
        return Comparisons(*(field[which] for field in self))

    def and_those(self, others: Comparisons) -> Comparisons:
        return Comparisons(*map(np.concatenate, zip(self, others, strict=True)))

    def gain(self, z: float = 0.0) -> np.ndarray:
        """(j,) 1 − exp(r + z·s): the gain, or an end of its interval."""
        side = self.above if z > 0 else self.below
        return 1 - np.exp(self.log_ratio + (z * side if z else 0))

    def p_value(self, degrees: float = np.inf) -> np.ndarray:
        """(j,) one-sided, that the fused set is no better."""
        r, s = self.log_ratio, self.standard_error
        with np.errstate(divide="ignore", invalid="ignore"):
            p = special.ndtr(r / s) if np.isinf(degrees) else special.stdtr(degrees, r / s)
        return np.where(s > 0, p, np.where(np.isnan(s), np.nan, np.where(r < 0, 0.0, 1.0)))


def compare(
    moments: RowMoments, fused: Sequence[int], over: Sequence[int], columns: np.ndarray
) -> Comparisons:
    """Compares sets pair by pair.

    Args:
      fused, over: (j,) positions.
      columns: (m,) of each set; what is no set has none.
    """
    fused, over = np.asarray(fused, int), np.asarray(over, int)
    mean, cross = moments.mean, moments.cross
    with np.errstate(divide="ignore", invalid="ignore"):
        log_ratio = np.log(mean[fused] / mean[over])
        log_ratio = np.where(np.isfinite(log_ratio), log_ratio, np.nan)
        a, b = 1 / mean[fused], 1 / mean[over]
        variance = (
            cross[fused, fused] * a * a + cross[over, over] * b * b - 2 * cross[fused, over] * a * b
        )
    p = np.maximum(columns[fused], columns[over])
    error = _error(moments, variance, p)
    error = np.where(np.isnan(log_ratio), np.nan, error)
    pairs = Comparisons(fused, over, log_ratio, error, error, error)
    if moments.replicates is None or moments.units < 2:
        return pairs
    parts = [_with_sides(moments, part, columns) for part in _parts(moments, pairs)]
    return functools.reduce(Comparisons.and_those, parts, pairs.take(slice(0)))


def _parts(moments: RowMoments, pairs: Comparisons) -> Iterator[Comparisons]:
    """The comparisons, few enough at a time to hold their replicates."""
    step = max(1, CELLS // (moments.replicates.means.shape[1] + moments.units))
    for start in range(0, len(pairs.fused), step):
        yield pairs.take(slice(start, start + step))


def _with_sides(moments: RowMoments, pairs: Comparisons, columns: np.ndarray) -> Comparisons:
    """Ends from the replicates of ratios of losses."""
    found, losses, (f, m) = moments.replicates, moments.losses, pairs[:2]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = found.means[f] / found.means[m]  # (j, b)
        influence = losses[:, f] / moments.mean[f] - losses[:, m] / moments.mean[m]
        ends = np.log(bootstrap.bca_ends(ratio, np.exp(pairs.log_ratio), influence, found.z))
    sides = np.maximum([pairs.log_ratio - ends[0], ends[1] - pairs.log_ratio], 0) / found.z
    sides *= _widening(moments, np.maximum(columns[f], columns[m]))
    below, above = np.where(np.isnan(pairs.standard_error), np.nan, sides)
    return pairs._replace(below=below, above=above)


class IndexIntervals(NamedTuple):
    """Of the index of one set each, (i,); NaN where undefined.

    Attributes:
      low, high: ends.
      p_better: intersection–union test that the set is better than every member.
    """

    low: np.ndarray
    high: np.ndarray
    p_better: np.ndarray


def against_members(
    moments: RowMoments, members: Sequence[Sequence[int]], fused: Sequence[int], columns: np.ndarray
) -> Comparisons:
    """Every set against each of its singles, one set after the other."""
    sizes = [len(own) for own in members]
    return compare(moments, np.repeat(fused, sizes), np.concatenate(members), columns)


def against_singles(
    moments: RowMoments, fused: Sequence[int], index: np.ndarray, columns: np.ndarray
) -> Comparisons:
    """Every set against its composite single.

    Args:
      index: (i,) on pooled losses, which the log ratios are those of.
    """
    pairs = compare(moments, fused, moments.single, columns)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_ratio = np.log1p(-index)
    log_ratio = np.where(np.isfinite(log_ratio), log_ratio, np.nan)
    errors = np.where(np.isnan(log_ratio), np.nan, pairs[-3:])
    return Comparisons(*pairs[:2], log_ratio, *errors)


def index_intervals(
    moments: RowMoments,
    pairs: Comparisons,
    singles: Comparisons | None,
    index: np.ndarray,
    columns: np.ndarray,
    z: float,
    z_tie: float,
) -> IndexIntervals:
    """Intervals of the index.

    Args:
      pairs: of `against_members`.
      singles: under `strict`, of `against_singles`; None under `paper`.
      index: (i,) on pooled losses.
      z: of the interval; a larger one makes it simultaneous.
      z_tie: under `paper`, members are tied with the best one up to so many standard errors.
    """
    starts = np.flatnonzero(np.r_[True, pairs.fused[1:] != pairs.fused[:-1]])
    low = np.minimum.reduceat(pairs.gain(z), starts)
    p_better = np.maximum.reduceat(pairs.p_value(moments.degrees), starts)
    if singles is None:
        high = _over_the_best(moments, pairs, starts, columns, z, z_tie)
    else:
        high = singles.gain(-z)
    undefined = np.isnan(low) | np.isnan(high)
    # Beside the rules, rounding is between an index and what it is computed from.
    low = np.where(undefined, np.nan, np.minimum(low, index))
    high = np.where(undefined, np.nan, np.maximum(high, index))
    return IndexIntervals(low, high, p_better)


def _over_the_best(
    moments: RowMoments,
    pairs: Comparisons,
    starts: np.ndarray,
    columns: np.ndarray,
    z: float,
    z_tie: float,
) -> np.ndarray:
    """(i,) upper ends over the member with the smallest loss and those tied with it.

    starts: (i,) the first pair of each set.
    """
    sizes = np.diff(np.r_[starts, len(pairs.fused)])
    loss = moments.mean[pairs.over]
    best_loss = np.repeat(np.minimum.reduceat(loss, starts), sizes)
    # The first of a set's members with the smallest loss.
    order = np.lexsort((np.arange(len(loss)), loss != best_loss, np.repeat(starts, sizes)))
    best = np.repeat(pairs.over[order[starts]], sizes)
    ties = compare(moments._replace(replicates=None), pairs.over, best, columns)
    with np.errstate(invalid="ignore"):
        tied = np.abs(ties.log_ratio) <= z_tie * ties.standard_error
    upper = np.where(tied | (pairs.over == best), pairs.gain(-z), -np.inf)
    return np.maximum.reduceat(upper, starts)


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
    for part in _parts(moments, pairs.take(pairs.standard_error > 0)):
        f, m = part[:2]
        with np.errstate(divide="ignore", invalid="ignore"):
            now = moments.mean[f] / moments.mean[m]
            error = np.log(means[f] / means[m] / now[:, None])
            error *= _widening(moments, np.maximum(columns[f], columns[m]))[:, None]
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
