"""Sums that further fits leave, and the standard errors that are made from them.

Axes: b replicates, r seeds, k folds, n rows, s subsets, t targets, g units, m columns of
`loss_moments.RowMoments`, c composites.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ecjax.loss_moments import RowMoments, unit_sums
from ecjax.standard_errors import NestedErrors, RefitErrors


class RefitSums(NamedTuple):
    """Of replicates in which rows have weights.

    Attributes:
      squared_error: (b, r, k, s + 1, t) weighted sums over each fold's rows, as `kept.fit`.
      spread: (b, t) squared deviations of the scored rows from their mean, weighted too.
      rows: (b,) how many scored rows were drawn.
    """

    squared_error: np.ndarray
    spread: np.ndarray
    rows: np.ndarray

    def of_targets(self, targets: Sequence[int]) -> RefitSums:
        chosen = list(targets)
        return RefitSums(self.squared_error[..., chosen], self.spread[:, chosen], self.rows)


class NestedSums(NamedTuple):
    """Of cross-validation within what each fold leaves; all rows are scored.

    Attributes:
      squared_error: (r, k, k, s + 1, t) of fits that know neither of two folds, over the rows of
        the second.
      inside: (r, k, n) the rows that are not set aside with each fold.
      row_error: (r, t, n, s + 1) of each row by the usual fits.
    """

    squared_error: np.ndarray
    inside: np.ndarray
    row_error: np.ndarray

    def of_targets(self, targets: Sequence[int]) -> NestedSums:
        chosen = list(targets)
        parts = self.squared_error[..., chosen], self.inside, self.row_error[:, chosen]
        return NestedSums(*parts)


def refit_errors(sums: RefitSums, kinds: np.ndarray, moments: RowMoments) -> RefitErrors:
    """From the sums of the targets that count.

    Args:
      kinds: (c, r, k) the single of each fold in each composite.
      moments: of the rows' losses.
    """
    by_fold = sums.squared_error.sum(-1)  # (b, r, k, s + 1)
    seeds, targets = by_fold.shape[1], sums.spread.shape[1]
    r, k = np.indices(by_fold.shape[1:3])
    composites = [by_fold[:, r, k, kind].sum((1, 2)) for kind in kinds]
    losses = [*by_fold.sum((1, 2)).T, *composites]
    losses = [loss / seeds for loss in losses]
    whole = np.array([*losses, sums.spread.sum(1), targets * sums.rows])
    return RefitErrors(whole, moments.units)


def nested_errors(
    sums: NestedSums,
    kinds: np.ndarray,
    moments: RowMoments,
    spread: np.ndarray,
    fold_of_row: np.ndarray,
    unit_of_row: np.ndarray | None,
) -> NestedErrors:
    """From the sums of the targets that count.

    Args:
      kinds, moments: as for `refit_errors`.
      spread: (n,) as in the moments.
      fold_of_row: (r, n).
      unit_of_row: (n,) as for `loss_moments.row_moments`.
    """
    n, targets = len(spread), sums.row_error.shape[1]
    seeds, k = sums.inside.shape[:2]
    row, folds = np.arange(n), np.arange(k)
    unit_of_row = row if unit_of_row is None else unit_of_row
    mse = np.zeros_like(moments.cross)
    for r in range(seeds):
        outer = sums.row_error[r].sum(0)  # (n, s + 1)
        fold, own = fold_of_row[r], [kind[r] for kind in kinds]
        parts = [outer, *(outer[row, single[fold]] for single in own), spread, np.full(n, targets)]
        columns = np.column_stack(parts)  # (n, m)
        inner = sums.squared_error[r].sum(-1)  # (k, k, s + 1)
        for j in range(k):
            inside, out = sums.inside[r, j], columns[fold == j]
            among = [*inner[j].sum(0), *(inner[j, folds, single].sum() for single in own)]
            count = inside.sum()
            mean_in = np.array([*among, spread[inside].sum(), targets * count]) / count
            mean_out = out.mean(0)
            gap = mean_in - mean_out
            of_units = unit_sums(out - mean_out, unit_of_row[fold == j])
            g = len(of_units)
            mse += np.outer(gap, gap) - of_units.T @ of_units * (g / (g - 1) / len(out) ** 2)
    # The moments are of units, which have n/g rows each.
    mse *= (n / moments.units) ** 2 / (seeds * k)
    return NestedErrors(moments.mean, moments.cross / (moments.units - 1), mse, k)
