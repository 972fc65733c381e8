"""Columns of few values among columns of many: codes of a source, a class or a category.

Which columns are looked at: those whose values repeat where the other columns' do not, and are not
those of other columns, as all numbers of a quantised embedding are.

Axes: n rows, p columns, k values of a column, g groups, t targets, c classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ecjax.leaks import ranks
from ecjax.near_copies import Likeness, Table

REPEATING = 0.9  # of the screen's rows: a column that has no more values repeats them
FEWER = 1 / 3  # of the values that the median column has: a column of no more has few
SHARED = 0.7  # of a column's values: where other columns have so many of them, it is no code
ROWS_EACH = 4  # that most values of a code have
BY_CHANCE = 1e-9  # probability that makes a suspicion
LEAST_VALUES = 4  # whose means may lie on a line
LEAST_TOLD = 0.1  # of a target, by a code that may be no feature: these tell a little by nature
BLOCKS, FEWER_BLOCKS = 2, 0.1  # per value at most, and of as many as chance makes


class Column(NamedTuple):
    """One column: j, its k values, and (n,) which of them each row has."""

    j: int
    values: np.ndarray
    code: np.ndarray

    @property
    def rows(self) -> np.ndarray:
        """(k,) of each value."""
        return np.bincount(self.code, minlength=len(self.values))


def odd_columns(table: Table) -> list[Column]:
    """The columns that this module looks at, if they are fewer than the others."""
    ordered = np.sort(table.screen, axis=0)
    new = np.ones(ordered.shape, bool)
    new[1:] = ordered[1:] > ordered[:-1]
    distinct = new.sum(axis=0)  # (p,)
    few = distinct <= FEWER * np.median(distinct)
    repeating = (distinct > 1) & (distinct <= REPEATING * len(ordered))
    if not repeating.any():
        return []
    known, times = np.unique(
        ordered[:, repeating & ~few][new[:, repeating & ~few]], return_counts=True
    )
    odd = []
    for j in np.flatnonzero(repeating):
        own = ordered[new[:, j], j]
        others = times[np.isin(known, own, assume_unique=True)] - (not few[j])
        if (others > 0).sum() < SHARED * len(own):
            odd.append(j)
    if len(odd) > len(few) / 2:  # each column has values of its own
        odd = [j for j in odd if few[j]]
    columns = [_column(table.matrix, j) for j in odd] if len(odd) <= len(few) / 2 else []
    return [column for column in columns if np.median(column.rows) >= ROWS_EACH]


def _column(matrix: np.ndarray, j: int) -> Column:
    values, code = np.unique(matrix[:, j], return_inverse=True)
    return Column(int(j), values.astype(np.float64), code)


def means(columns: list[Column], targets: Mapping[str, np.ndarray]) -> list[Likeness]:
    """Columns whose values are means of a target over the rows that have them.

    Any feature may be linear in the target; the means of a noisy one then scatter about the line.
    Here they lie on it, far nearer than chance has it: the lower tail of the F test for lack of
    fit.

    Args:
      targets: numbers or indicators of classes, each (n,).
    """
    from scipy import special  # here, because importing it takes a while

    found = []
    for column in columns:
        k, n = len(column.values), len(column.code)
        if k < LEAST_VALUES:
            continue
        x = column.values - (column.rows @ column.values) / n
        x /= np.abs(x).max()
        for what, y in targets.items():
            mean = np.bincount(column.code, y) / column.rows
            within = ((y - mean[column.code]) ** 2).sum()
            apart = mean - y.mean()
            slope = (column.rows * x) @ apart / (column.rows @ x**2)
            lack = column.rows @ (apart - slope * x) ** 2
            between = column.rows @ apart**2
            if not within or not between:
                continue
            f = (lack / (k - 2)) / (within / (n - k))
            if special.fdtr(k - 2, n - k, f) < BY_CHANCE:
                found.append(Likeness(column.j, what, 1 - lack / between, lack / between))
    return found


def blocks(columns: list[Column], orders: Mapping[str, np.ndarray]) -> list[Likeness]:
    """Codes that change so rarely along an order of the rows that it must have made them.

    Args:
      orders: what the rows are ordered by, each (n,).
    """
    found = []
    for column in columns:
        k, n = len(column.values), len(column.code)
        by_chance = n * (1 - ((column.rows / n) ** 2).sum())
        for what, values in orders.items():
            along = column.code[np.argsort(values, kind="stable")]
            changes = int((along[1:] != along[:-1]).sum())
            if changes < BLOCKS * k and changes <= FEWER_BLOCKS * by_chance:
                share = changes / by_chance
                found.append(Likeness(column.j, what, 1 - share, share))
    return found


def functions(columns: list[Column], sources: Mapping[str, np.ndarray]) -> list[Likeness]:
    """Codes that are the same in all rows of a source, for every source.

    Args:
      sources: codes 0 … g-1, each (n,).
    """
    found = []
    for column in columns:
        for what, source in sources.items():
            groups = np.bincount(source)
            pairs = len(np.unique(source.astype(np.int64) * len(column.values) + column.code))
            if pairs == np.count_nonzero(groups) and ROWS_EACH * pairs <= len(source):
                found.append(Likeness(column.j, what, 1.0, 0.0))
    return found


def telling(columns: list[Column], targets: Mapping[str, np.ndarray]) -> list[Likeness]:
    """Codes that tell a target's ranks more than chance has it, by Kruskal and Wallis's H."""
    from scipy import special

    found = []
    for column in columns:
        for what, y in targets.items():
            rank = ranks(y)
            mean = np.bincount(column.code, rank) / column.rows
            spread = ((rank - rank.mean()) ** 2).sum()
            told = (column.rows * (mean - rank.mean()) ** 2).sum() / spread if spread else 0.0
            by_chance = special.chdtrc(len(mean) - 1, (len(y) - 1) * told)
            if told > LEAST_TOLD and by_chance < BY_CHANCE:
                found.append(Likeness(column.j, what, told, 1 - told))
    return found


def telling_class(columns: list[Column], labels: np.ndarray, what: str) -> list[Likeness]:
    """Codes that tell the class (n,) more than chance has it, by Pearson's χ²."""
    from scipy import special

    found, n, c = [], len(labels), int(labels.max()) + 1
    for column in columns:
        k = len(column.values)
        counts = np.bincount(column.code * c + labels, minlength=k * c).reshape(k, c)
        expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / n
        chi2 = ((counts - expected) ** 2 / np.maximum(expected, 1 / n)).sum()
        told = chi2 / (n * max(1, min(k - 1, c - 1)))  # Cramér's V, squared
        if told > LEAST_TOLD and special.chdtrc((k - 1) * (c - 1), chi2) < BY_CHANCE:
            found.append(Likeness(column.j, what, told, 1 - told))
    return found
