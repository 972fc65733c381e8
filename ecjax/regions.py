"""The index of parts of the rows: cells of the map, regions, strata.

Of each part, losses are summed over its own rows alone. With L_f and L_b the sums of a set and of
its best single, as chosen for the whole task, its index is 1 − L_f/L_b. Parts weighted by their
share of L_b add up to `eci_pooled`, as rows do with the point-wise index.

Intervals and tests are those of `intervals`, from the part's own units and with quantiles of
Student's t, as units are few. The lower end is over all members, so a part where fusing is said to
help is one where it beats every single model there; the upper end is over the best single and the
members tied with the best one there. What training rows do to a part's losses is left out of its
standard error: they are many times as many as the part's own. The factor for fits that share rows
is that of all rows.

Axes: n rows, c parts, s subsets, i fused sets, j comparisons.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from ecjax.intervals import inflation
from ecjax.loss_moments import RowLosses, unit_sums

FEWEST = 10  # units of a part with an interval: measured, at 10 they still hold
NO_LOSS = "the best single has no loss here"
ALIKE = "all parts that have an interval are one"


class Regions(NamedTuple):
    """Indices of the parts of a task's rows.

    Attributes:
      rows, units: (c,) numbers of them.
      eci: (c, i) NaN where the best single has no loss.
      low, high: (c, i) ends of the intervals; NaN where units are few.
      p_better, p_worse: (c, i) one-sided, that the set beats every member, and that it is worse
        than its best single.
      log_ratio, standard_error: (c, i) of log(L_f/L_b).
    """

    rows: np.ndarray
    units: np.ndarray
    eci: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p_better: np.ndarray
    p_worse: np.ndarray
    log_ratio: np.ndarray
    standard_error: np.ndarray

    def reasons(self, unit: str) -> np.ndarray:
        """(c, i) why an index or its interval is undefined, None where neither is."""
        few = np.broadcast_to((self.units < FEWEST)[:, None], self.eci.shape)
        found = np.where(few, f"no interval: fewer than {FEWEST} {unit}s", None)
        found = np.where(np.isnan(self.low) & ~few, "no interval: no losses to compare", found)
        return np.where(np.isnan(self.eci), NO_LOSS, found)


def indices(
    losses: RowLosses,
    part_of_row: np.ndarray,
    parts: int,
    unit_of_row: np.ndarray | None,
    subsets: Sequence[tuple[int, ...]],
    columns: np.ndarray,
    confidence: float,
) -> Regions:
    """Indices of all fused sets in each part.

    Args:
      part_of_row: (n,) codes 0 … c − 1, −1 of rows that are in none.
      parts: c.
      unit_of_row: (n,) what counts as independent; None: each row.
      columns: (s,) how many columns of each subset count, as `Compared.kept`.
    """
    fused = np.array([i for i, subset in enumerate(subsets) if len(subset) > 1], int)
    best = best_singles(losses, subsets, fused)
    counted = np.zeros(losses.columns.shape[1])  # the empty set and composites have no columns
    counted[: len(subsets)] = columns
    sums = _sums(losses.columns, part_of_row, parts, unit_of_row)
    sums = sums._replace(inflation=inflation(len(losses.columns), counted))
    with np.errstate(divide="ignore", invalid="ignore"):
        eci = 1 - sums.losses[:, fused] / sums.losses[:, best] + 0.0  # no negative zero
    eci = np.where(sums.losses[:, best] > 0, eci, np.nan)
    with_best = _ratios(sums, fused, best)
    low, high, p_better, p_worse = _over_members(sums, subsets, fused, confidence)
    t = sums.quantile(confidence)
    low, high = np.minimum(low, eci), np.maximum(np.maximum(high, with_best.gain(-t)), eci)
    p_worse = np.maximum(p_worse, 1 - with_best.p_values(sums.degrees))
    undefined = (sums.units < FEWEST)[:, None] | np.isnan(low) | np.isnan(high)
    found = low, high, p_better, p_worse, *with_best
    return Regions(sums.rows, sums.units, eci, *(np.where(undefined, np.nan, f) for f in found))


def _over_members(
    sums: _Sums, subsets: Sequence[tuple[int, ...]], fused: np.ndarray, confidence: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Ends and both p (c, i) over the members: all of them, or the best one in a part and those
    tied with it, as `intervals.index_intervals` has it."""
    where = {subset: i for i, subset in enumerate(subsets)}
    sizes = np.array([len(subsets[i]) for i in fused])
    starts = np.cumsum(sizes) - sizes  # of each set's members
    over = np.array([where[(m,)] for i in fused for m in subsets[i]], int)
    members, t = _ratios(sums, np.repeat(fused, sizes), over), sums.quantile(confidence)
    loss = sums.losses[:, over]
    least = np.repeat(np.minimum.reduceat(loss, starts, axis=1), sizes, axis=1)
    # The first of a set's members with the smallest loss.
    place = np.where(loss == least, np.arange(len(over)), len(over) - 1)
    best = over[np.repeat(np.minimum.reduceat(place, starts, axis=1), sizes, axis=1)]
    tie = _ratios(sums, over, best)
    with np.errstate(invalid="ignore"):
        among = (np.abs(tie.log) <= t * tie.error) | (over == best)
    p = members.p_values(sums.degrees)
    return (
        np.minimum.reduceat(members.gain(t), starts, axis=1),
        np.maximum.reduceat(np.where(among, members.gain(-t), -np.inf), starts, axis=1),
        np.maximum.reduceat(p, starts, axis=1),
        np.maximum.reduceat(np.where(among, 1 - p, 0.0), starts, axis=1),
    )


class _Sums(NamedTuple):
    """Of each part: rows and units (c,), losses (c, q), and their products over units (c, q, q);
    and (q,) what fits that share their rows multiply a variance by."""

    rows: np.ndarray
    units: np.ndarray
    losses: np.ndarray
    cross: np.ndarray
    inflation: np.ndarray

    @property
    def degrees(self) -> np.ndarray:
        """(c, 1) of freedom; NaN where there is one unit, or none."""
        return np.where(self.units > 1, self.units - 1.0, np.nan)[:, None]

    def quantile(self, confidence: float) -> np.ndarray:
        """(c, 1) two-sided, of Student's t."""
        return special.stdtrit(self.degrees, 0.5 + confidence / 2)


def _sums(
    columns: np.ndarray, part_of_row: np.ndarray, parts: int, unit_of_row: np.ndarray | None
) -> _Sums:
    """With an inflation of 1."""
    inside = part_of_row >= 0
    columns, part = columns[inside], part_of_row[inside]
    rows = np.bincount(part, minlength=parts)
    if unit_of_row is not None:
        unit = unit_of_row[inside]
        size = unit.max(initial=0) + 1
        codes, place = np.unique(part * size + unit, return_inverse=True)
        columns, part = unit_sums(columns, place.reshape(-1)), codes // size
    order = np.argsort(part, kind="stable")
    columns, ends = columns[order], np.searchsorted(part[order], np.arange(parts + 1))
    q = columns.shape[1]
    total, cross = np.zeros((parts, q)), np.zeros((parts, q, q))
    for c in range(parts):
        own = columns[ends[c] : ends[c + 1]]
        total[c], cross[c] = own.sum(0), own.T @ own
    return _Sums(rows, np.diff(ends), total, cross, np.ones(q))


class _Ratios(NamedTuple):
    """Log ratios of summed losses and their standard errors, (c, j)."""

    log: np.ndarray
    error: np.ndarray

    def gain(self, t: np.ndarray) -> np.ndarray:
        """1 − exp(r + t·s)."""
        return 1 - np.exp(self.log + t * self.error)

    def p_values(self, degrees: np.ndarray) -> np.ndarray:
        """One-sided, that the first is no better than the second."""
        with np.errstate(divide="ignore", invalid="ignore"):
            p = special.stdtr(degrees, self.log / self.error)
        sure = np.where(self.log < 0, 0.0, 1.0)
        return np.where(self.error > 0, p, np.where(np.isnan(self.error), np.nan, sure))


def _ratios(sums: _Sums, first: np.ndarray, second: np.ndarray) -> _Ratios:
    """Of some columns (j,) by others, (j,) or in each part others, (c, j)."""
    part = np.arange(len(sums.rows))[:, None]
    a, b = sums.losses[part, first], sums.losses[part, second]
    with np.errstate(divide="ignore", invalid="ignore"):
        log = np.log(a / b)
        squares = sums.cross[part, first, first] / a**2 + sums.cross[part, second, second] / b**2
        squares = squares - 2 * sums.cross[part, first, second] / (a * b)
    log = np.where(np.isfinite(log), log, np.nan)
    few = 1 + 1 / sums.degrees  # u/(u − 1)
    widest = np.maximum(sums.inflation[first], sums.inflation[second])
    error = np.sqrt(np.maximum(squares, 0) * few * widest)
    return _Ratios(log, np.where(np.isnan(log), np.nan, error))


def best_singles(
    losses: RowLosses, subsets: Sequence[tuple[int, ...]], fused: Sequence[int]
) -> np.ndarray:
    """(i,) the column of each set's best single: under `strict` that of each fold; under `paper`
    the member with the smallest loss of all rows."""
    if losses.single is not None:
        return losses.single
    where = {subset: i for i, subset in enumerate(subsets)}
    total = losses.columns.sum(0)
    members = ([where[(m,)] for m in subsets[i]] for i in fused)
    return np.array([own[int(np.argmin(total[own]))] for own in members], int)


class Separation(NamedTuple):
    """How much an index differs between parts.

    Attributes:
      parts: how many have a standard error.
      least, most: the parts with the smallest and the largest index among them, −1 where undefined.
      spread: standard deviation of the index between parts, beyond chance.
      p_value: that all parts are alike.
    """

    parts: int
    least: int
    most: int
    spread: float
    p_value: float


def separation(eci: np.ndarray, log_ratio: np.ndarray, standard_error: np.ndarray) -> Separation:
    """Of one set's index in c parts, all (c,).

    Cochran's Q of the log ratios, and the variance between parts by DerSimonian and Laird
    ("Meta-analysis in clinical trials", 1986), brought to the index by its slope at their mean.
    """
    known = np.flatnonzero((standard_error > 0) & np.isfinite(log_ratio))
    if len(known) < 2:
        return Separation(len(known), -1, -1, np.nan, np.nan)
    r, weight = log_ratio[known], standard_error[known] ** -2.0
    mean = (weight * r).sum() / weight.sum()
    q, degrees = float((weight * (r - mean) ** 2).sum()), len(known) - 1
    between = (q - degrees) / (weight.sum() - (weight**2).sum() / weight.sum())
    spread = np.exp(mean) * np.sqrt(max(between, 0.0))
    least, most = known[np.argmin(eci[known])], known[np.argmax(eci[known])]
    return Separation(
        len(known), int(least), int(most), float(spread), float(special.chdtrc(degrees, q))
    )
