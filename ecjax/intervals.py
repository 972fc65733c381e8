"""Intervals of losses, of their ratios and of the index, from second moments of the rows' losses.

The interval of kind `ratio`: of a set f and of a set m that it is compared with, L and e are the
pooled out-of-fold loss and the loss of each of the n rows. The log ratio r = log(L_f/L_m) has the
standard error

    s = sd_i(d_f,i/ē_f − d_m,i/ē_m) / √n · √(n / max(n − p, n/4)),   d_i = e_i − ∂e_i/∂log λ,

and the gain 1 − L_f/L_m lies in 1 − exp(r ± z·s).

In d a row's own loss is joined by what it does to the losses of others, by being trained on. A fit
with a penalty does not minimise its risk R: there ∇R = −2λw/n, and a row that moves the weights w
by its influence, A⁻¹(x_i r_i − λw/n) with A = (XᵀX + λI)/n, moves R by 1/n of −2λ/n · wᵀA⁻¹x_i r_i,
up to a constant. As ∂w/∂log λ = −λ/n · A⁻¹w, that is −∂e_i/∂log λ. Where λ is chosen well these add
up to nearly nothing, and yet they vary from row to row, and otherwise for one set than for another:
without them s is too small by a tenth to a quarter where λ is not small beside n. With a λ for each
embedding all of them move together. The same holds of log-loss, with the Hessian of its mean in A
and 1/C for λ. They are known under `strict` of squared errors and of log-loss; elsewhere d is e
(under `paper` λ = 1 and C = 1 are small penalties; a fit does not descend along errors of classes;
probes of the user's own do not tell).

The last factor is for fits that share their rows. For OLS it is exact, as Σe² has n − p degrees of
freedom. p counts the columns of the larger set, under `strict` each as h⁴, with h = 1/(1 + λ/n) the
share of a coefficient that is left: to first order in 1/n the factor is 1 + Σ h²(4h − 2 − h²)/n,
and h⁴ is no less than that.

The index compares a set with its best member, which is not known but chosen.

Its lower end is the smallest of those over all members, so that the choice cannot raise it: an
index above zero is claimed only where the set beats every member.

Its upper end is the largest of those over the member with the smallest loss and all that are tied
with it: to be the smallest, a loss must be lucky.

Under `strict` the index is against the single of each fold, chosen without that fold and so not
lucky there. The upper end of the comparison with this composite, whose loss of a row is that of the
single chosen for the row's fold, is one more from which the largest is taken. With several seeds, r
is the index's own; for s a row's losses are averaged over seeds, and the singles of the row's folds
over those averages. That leaves out how a seed's choice goes with that seed's loss of the row, but
the row had no part in the choice. The composite can by chance lose less than every member; then the
index itself is the lower end. So under both protocols low ≤ index ≤ high.

The interval of kind `bootstrap` has the BCa ends of r (see `bootstrap`) in place of r ± z·s, moved
away from r by √(n / max(n − p, n/4)) and √(g/(g − 1)): drawing rows again shows neither that fits
share rows nor that means were taken from few. Its simultaneous form is so many times as wide that
all intervals hold at once in the share of replicates asked for. p-values are those of `ratio`.

Those of kinds `refit` and `nested` are r ± z·s too, with the s of `standard_errors`, which rests on
further fits; p-values are those of `ratio`.

What they are intervals of: the expected relative reduction of the loss for this recipe, trained on
n(1 − 1/k) rows drawn like these and tested on new rows drawn like these. They say nothing about
other regions, and rows are taken to be independent.

Where blocks of rows or groups are independent instead, the losses are first added up over the rows
of each of these g units, and the same formula is that of a ratio estimator over clusters:

    s = √(g/(g − 1) · Σ_u (Σ_i∈u (d_f,i/ē_f − d_m,i/ē_m))²) / n · √(n / max(n − p, n/4)),

with quantiles of Student's t with g − 1 degrees of freedom in place of the normal ones.

Axes: n rows, g units, s subsets, m columns of `RowMoments`, j comparisons.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from ecjax import bootstrap
from ecjax.loss_moments import RowMoments

CELLS = 2**22  # of an array at most, in draws of standard errors


def z_of(confidence: float) -> float:
    """Two-sided normal quantile."""
    return float(special.ndtri(0.5 + confidence / 2))


def as_t(z: float, degrees: float) -> float:
    """The quantile of Student's t where z is the normal one."""
    if np.isinf(degrees):
        return z
    return float(-special.stdtrit(degrees, special.ndtr(-z))) if degrees > 0 else np.nan


def columns_kept(relative: np.ndarray) -> np.ndarray:
    """For how much a column counts: h⁴, from λ divided by the number of training rows."""
    return (1 + relative) ** -4.0


def inflation(n: int, columns: np.ndarray) -> np.ndarray:
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
    if moments.errors is not None and np.isfinite(error).any():
        own = moments.errors.of_combinations(weights, unit)
        error = np.where(np.isnan(error), np.nan, own)
    if found is None or not np.isfinite(error).any():
        return np.stack([error, error])
    with np.errstate(divide="ignore", invalid="ignore"):
        value = weights @ mean / mean[unit]
        drawn = weights @ found.means / found.means[unit]
        influence = (moments.losses @ weights.T - moments.losses[:, [unit]] * value) / mean[unit]
        ends = bootstrap.bca_ends(drawn, value, influence, found.z)
    sides = np.maximum([value - ends[0], ends[1] - value], 0) / found.z
    return np.where(np.isnan(error), np.nan, sides * widening(moments, columns))


def widening(moments: RowMoments, columns: np.ndarray) -> np.ndarray:
    """What intervals from drawn units are too narrow by; two units at least."""
    g = moments.units
    return np.sqrt(inflation(moments.rows, columns) * g / (g - 1))


def _error(moments: RowMoments, variance: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Standard error of a mean over units from the variance (ddof 0); NaN if there is one unit."""
    if moments.units < 2:
        return np.full(len(variance), np.nan)
    of_mean = np.maximum(variance, 0) / (moments.units - 1)
    return np.sqrt(of_mean * inflation(moments.rows, columns))


class Comparisons(NamedTuple):
    """Log ratios of pooled losses.

    Attributes:
      fused, over: (j,) positions of the sets compared.
      log_ratio, standard_error: (j,) r and s; NaN where a loss is zero or undefined.
      below, above: (j,) what stands for s towards smaller and larger r; s itself in kind `ratio`,
        which `standard_error` always is of.
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
    side = error
    if moments.errors is not None:
        side = np.where(np.isnan(error), np.nan, moments.errors.of_ratios(fused, over))
    pairs = Comparisons(fused, over, log_ratio, error, side, side)
    if moments.replicates is None or moments.units < 2:
        return pairs
    sided = [_with_sides(moments, part, columns) for part in parts(moments, pairs)]
    return functools.reduce(Comparisons.and_those, sided, pairs.take(slice(0)))


def parts(moments: RowMoments, pairs: Comparisons) -> Iterator[Comparisons]:
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
    sides *= widening(moments, np.maximum(columns[f], columns[m]))
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
      pairs: of every set against each of its singles, one set after the other.
      singles: under `strict`, of `against_singles`; None under `paper`.
      index: (i,) on pooled losses.
      z: of the interval; a larger one makes it simultaneous.
      z_tie: members are tied with the best one up to so many standard errors.
    """
    starts = np.flatnonzero(np.r_[True, pairs.fused[1:] != pairs.fused[:-1]])
    low = np.minimum.reduceat(pairs.gain(z), starts)
    p_better = np.maximum.reduceat(pairs.p_value(moments.degrees), starts)
    high = _over_the_best(moments, pairs, starts, columns, z, z_tie)
    if singles is not None:
        high = np.maximum(high, singles.gain(-z))
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
