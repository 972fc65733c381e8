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

from ecjax import intervals
from ecjax.compared import Compared
from ecjax.intervals import Comparisons
from ecjax.loss_moments import RowLosses

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
    order = np.argsort(part_of_row, kind="stable")
    ends = np.searchsorted(part_of_row[order], np.arange(parts + 1))
    shape = parts, len(fused)
    found = Regions(*(np.zeros(parts, int) for _ in range(2)), *(np.full(shape, np.nan),) * 7)
    found = Regions(*map(np.copy, found))
    share = np.asarray(columns) / len(losses.columns)
    for part in range(parts):
        rows = order[ends[part] : ends[part + 1]]
        found.rows[part] = len(rows)
        if not len(rows):
            continue
        units = np.arange(len(rows))
        if unit_of_row is not None:
            units = np.unique(unit_of_row[rows], return_inverse=True)[1].reshape(-1)
        found.units[part] = units.max() + 1
        own = losses.at(rows)
        sums = own.columns.sum(0)
        with np.errstate(divide="ignore", invalid="ignore"):
            index = 1 - sums[fused] / sums[best] + 0.0  # no negative zero
        found.eci[part] = np.where(np.isfinite(index), index, np.nan)
        if found.units[part] < FEWEST:
            continue
        compared = Compared(
            subsets, share * len(rows), confidence, own.moments(units), found.eci[part]
        )
        low, high, p_better = compared.interval
        over = intervals.compare(compared.moments, fused, best, compared.columns)
        found.low[part], found.high[part], found.p_better[part] = low, high, p_better
        found.p_worse[part] = _worse(compared, over)
        found.log_ratio[part], found.standard_error[part] = over.log_ratio, over.standard_error
    return found


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


def _worse(compared: Compared, over: Comparisons) -> np.ndarray:
    """(i,) p that a set is worse than its best single, than the best of its members here, and than
    those tied with that: of all that an interval's upper end is over."""
    degrees, pairs = compared.moments.degrees, compared.with_members
    among = intervals.tied_with_best(compared.moments, pairs, compared.columns, compared.z)
    of_members = np.where(among, 1 - pairs.p_value(degrees), 0.0)
    starts = np.searchsorted(pairs.fused, over.fused)
    return np.maximum(1 - over.p_value(degrees), np.maximum.reduceat(of_members, starts))


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
