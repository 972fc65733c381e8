"""Second moments of the rows' losses, which intervals are made from.

Axes: n rows, g units, s subsets, m columns of `RowMoments`, i fused sets, r seeds, k folds, c
composites.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ecjax.bootstrap import Replicates
from ecjax.standard_errors import NestedErrors, RefitErrors


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
      replicates: what intervals of kind `bootstrap` are made from, else None.
      errors: the standard errors of kinds `refit` and `nested`, else None. With neither, intervals
        are made from the moments alone, kind `ratio`.

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
    errors: RefitErrors | NestedErrors | None = None


class RowLosses(NamedTuple):
    """What each row lost, summed over targets and averaged over seeds, and what that is divided by.

    Attributes:
      columns: (n, m − 2) as those of `RowMoments`, up to the composites.
      spread: (n,) of the targets.
      constant: the last column.
      single: as `RowMoments`.
    """

    columns: np.ndarray
    spread: np.ndarray
    constant: float
    single: np.ndarray | None

    def at(self, rows: np.ndarray) -> RowLosses:
        """Of some rows."""
        return self._replace(columns=self.columns[rows], spread=self.spread[rows])

    def moments(self, unit_of_row: np.ndarray | None = None, keep: bool = False) -> RowMoments:
        """As `row_moments`."""
        return row_moments(*self, unit_of_row, keep)


def row_losses(
    losses: np.ndarray,
    empty: np.ndarray,
    spread: np.ndarray,
    constant: float,
    fold_of_row: np.ndarray,
    by_fold: np.ndarray | None,
) -> RowLosses:
    """Of losses (n, s), and (n, 1) of the empty set, summed over the r seeds.

    Args:
      spread, constant: as `RowLosses`.
      fold_of_row: (r, n).
      by_fold: as `complementarity.Index`.
    """
    seeds = len(fold_of_row)
    if seeds > 1:
        losses, empty = losses / seeds, empty / seeds
    parts, single = [losses, empty], None
    if by_fold is not None:
        composite, single = composites(losses, by_fold, fold_of_row)
        parts.append(composite)
    return RowLosses(np.column_stack(parts), spread, constant, single)


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
    columns = _columns(losses, spread, constant)
    with np.errstate(invalid="ignore"):  # a class absent from a fold has infinite log-loss
        if unit_of_row is None:
            cross, kept = columns.T @ columns / n, columns if keep else None
            return RowMoments(n, cross[-1] / constant, cross, n, np.inf, single, kept)
        columns = unit_sums(columns, unit_of_row)
        g, kept = len(columns), columns if keep else None
        cross = columns.T @ columns / g
        return RowMoments(n, columns.mean(0), cross, g, g - 1, single, kept)


def _columns(losses: np.ndarray, spread: np.ndarray, constant: float) -> np.ndarray:
    """(n, m) the columns of `RowMoments`."""
    return np.column_stack([losses, spread, np.full(len(losses), constant)])


class GrowingMoments:
    """`RowMoments` of rows that come batch by batch.

    Attributes:
      rows: n so far.
      cross: (m, m) sums of products; of rows, where each is its own unit.
      sums: (m,) of rows.
      of_units: (u, m) sums over the rows of each unit; (0, m) where each row is its own.
    """

    def __init__(self, m: int, single: np.ndarray | None, units: int | None):
        """Of no rows yet.

        Args:
          m, single: as of `RowMoments`.
          units: how many there may be; None: each row is its own.
        """
        self.rows, self.units, self.single = 0, units, single
        self.cross, self.sums = np.zeros((m, m)), np.zeros(m)
        self.of_units = np.zeros((units or 0, m))

    def add(self, batch: RowLosses, unit_of_row: np.ndarray | None) -> None:
        """Adds rows; unit_of_row (n,) 0 … u − 1 where there are units."""
        columns = _columns(batch.columns, batch.spread, batch.constant)
        self.rows += len(columns)
        if self.units is not None:
            self.of_units[np.unique(unit_of_row)] += unit_sums(columns, unit_of_row)
            return
        with np.errstate(invalid="ignore"):  # as in `row_moments`
            self.cross += columns.T @ columns
        self.sums += columns.sum(0)

    def add_up(self, summed: Callable[[tuple], tuple]) -> None:
        """Adds the rows of others; summed: gives the sums of arrays over all of them."""
        rows, self.cross, self.sums, self.of_units = summed(
            (np.array(self.rows), self.cross, self.sums, self.of_units)
        )
        self.rows = int(rows)

    def moments(self) -> RowMoments:
        """Of all rows so far; units without rows are none."""
        n = self.rows
        if self.units is None:
            return RowMoments(n, self.sums / n, self.cross / n, n, np.inf, self.single)
        columns = self.of_units[self.of_units[:, -1] > 0]  # the constant tells
        g = len(columns)
        with np.errstate(invalid="ignore"):
            cross = columns.T @ columns / g
        return RowMoments(n, columns.mean(0), cross, g, g - 1, self.single)


def with_training(
    losses: np.ndarray, slope: np.ndarray, mean: np.ndarray | None = None
) -> np.ndarray:
    """Losses (n, m) with what each row does to others by being trained on, as `intervals` says.

    Args:
      slope: (n, m) derivatives with respect to log λ or −log C; their mean is left out, so that
        the mean losses stay.
      mean: (m,) of them, where the n rows are not all there are.
    """
    return losses - (slope - (slope.mean(0) if mean is None else mean))


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
    kinds, column = composite_kinds(by_fold, losses.shape[1])
    row, found = np.arange(len(losses)), []
    for kind in kinds:
        of_seeds = zip(kind, fold_of_row, strict=True)
        found.append(np.mean([losses[row, own[fold]] for own, fold in of_seeds], axis=0))
    return np.array(found).reshape(-1, len(losses)).T, column


def composite_kinds(by_fold: np.ndarray, subsets: int) -> tuple[np.ndarray, np.ndarray]:
    """(c, r, k) the single of each fold in each composite, and (i,) columns as `composites`."""
    flat = by_fold.reshape(-1, math.prod(by_fold.shape[1:]))
    kinds, place = np.unique(flat, axis=0, return_inverse=True)
    kinds = kinds.reshape(-1, *by_fold.shape[1:])
    one = (kinds == kinds[:, :1, :1]).all((1, 2))
    column = np.where(one, kinds[:, 0, 0], subsets + np.cumsum(~one))
    return kinds[~one], column[place.reshape(-1)]
