"""Which rows logistic fits are trained on, and how these scale columns, from moments of cells.

Cells are the rows of a fold of a seed, or of an inner group in it. Their moments are added up batch
by batch as in `stream_moments`, of each column alone.

Axes: m rows, p columns, c classes, r seeds, d cells of a seed, u sets of training rows, k folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ecjax.gram import is_constant
from ecjax.stream_moments import Peers, by_cell, side_by_side, side_by_side_on_cores


class Spread:
    """Moments of the columns of each cell, growing batch by batch.

    Attributes:
      count: (rd,), mean, squares: (rd, p) means, and squared deviations from them.
    """

    def __init__(self, cells: int, p: int):
        self._shift: np.ndarray | None = None
        self.count = np.zeros(cells)
        self.mean, self.squares = np.zeros((cells, p)), np.zeros((cells, p))

    def add(self, blocks: Sequence[np.ndarray], cells: np.ndarray) -> None:
        """Adds a batch; blocks (m, p_j) and cells (r, m) as for `stream_moments.Gathered`."""
        if self._shift is None:
            self._shift = np.concatenate([x.mean(axis=0, dtype=float) for x in blocks])

        def one(part) -> None:
            cell, rows = part
            own = side_by_side(blocks, rows, self._shift)
            middle = own.mean(axis=0)
            own -= middle
            gap = middle - self.mean[cell]
            total = self.count[cell] + len(rows)
            self.squares[cell] += np.einsum("ij,ij->j", own, own)
            self.squares[cell] += gap**2 * (len(rows) * self.count[cell] / total)
            self.mean[cell] += gap * (len(rows) / total)
            self.count[cell] = total

        for own in cells:
            side_by_side_on_cores(one, by_cell(own))

    def add_up(self, peers: Peers) -> None:
        """Becomes that of the rows of all processes, means in the columns' own units."""
        if self._shift is not None:
            self.mean[self.count > 0] += self._shift
            self._shift = None
        if peers.count == 1:
            return
        own, count = self.mean, self.count
        self.count, mean = peers.summed((count, count[:, None] * own))
        self.mean = mean / np.maximum(self.count, 1)[:, None]
        gaps = count[:, None] * (own - self.mean) ** 2
        (self.squares,) = peers.summed((self.squares + gaps,))


class Cells(NamedTuple):
    """Moments of the rows of each cell, in the table's z-scores.

    Attributes:
      classes: (r, d, c) rows of each class.
      mean, squares: (r, d, p) means, and squared deviations from them.
      table_mean, inverse: (p,) of the table's columns in their own units, and 1/deviation, 0 for
        a constant one.
    """

    classes: np.ndarray
    mean: np.ndarray
    squares: np.ndarray
    table_mean: np.ndarray
    inverse: np.ndarray


class Training(NamedTuple):
    """Sets of rows that fits are trained on.

    Attributes:
      seed: (u,) positions.
      member: (u, d) cells.
      classes: (u, c) rows of each class.
      mean, inverse: (u, p) as `Bundle`.
    """

    seed: np.ndarray
    member: np.ndarray
    classes: np.ndarray
    mean: np.ndarray
    inverse: np.ndarray


class Sampled:
    """Columns of some rows, in their own units.

    Attributes:
      rows: their increasing numbers.
      x: (len(rows), p), zeros for those that other processes read.
    """

    def __init__(self, rows: np.ndarray, p: int):
        self.rows, self.x = rows, np.zeros((len(rows), p))

    def add(self, numbers: np.ndarray, blocks: Sequence[np.ndarray]) -> None:
        """Takes from a batch, with the numbers (m,) of its rows, what belongs to the sample."""
        place = np.minimum(np.searchsorted(self.rows, numbers), len(self.rows) - 1)
        inside = np.flatnonzero(self.rows[place] == numbers)
        start = 0
        for x in blocks:
            self.x[place[inside], start : start + x.shape[1]] = x[inside]
            start += x.shape[1]


def cells_of(spread: Spread, classes: np.ndarray) -> Cells:
    """Moments in the table's z-scores; classes (r, d, c)."""
    r, d, _ = classes.shape
    count, means = spread.count[:d], spread.mean[:d]  # of one seed: all rows
    total = count.sum()
    mean = count @ means / total
    variance = (spread.squares[:d].sum(0) + count @ (means - mean) ** 2) / total
    constant = is_constant(mean, variance, total)
    inverse = np.where(constant, 0.0, 1 / np.sqrt(np.where(constant, 1.0, variance)))
    scaled = np.where(spread.count[:, None] > 0, (spread.mean - mean) * inverse, 0)
    squares = spread.squares * inverse**2
    shape = r, d, len(mean)
    return Cells(classes, scaled.reshape(shape), squares.reshape(shape), mean, inverse)


def training_of(cells: Cells, seed: np.ndarray, member: np.ndarray, own: bool) -> Training:
    """Sets of training rows.

    Args:
      seed, member: as `Training`.
      own: whether columns are scaled by them, and not by the whole table.
    """
    pairs = list(zip(seed, member, strict=True))
    classes = np.array([cells.classes[r][mine].sum(0) for r, mine in pairs])
    shape = len(seed), cells.mean.shape[2]
    mean, inverse = np.zeros(shape), np.tile(np.sign(cells.inverse), (shape[0], 1))
    if own:
        for i, (r, mine) in enumerate(pairs):
            counts, means = cells.classes[r][mine].sum(1), cells.mean[r][mine]
            total = max(counts.sum(), 1)
            mean[i] = counts @ means / total
            spread = cells.squares[r][mine].sum(0) + counts @ (means - mean[i]) ** 2
            variance = spread / total
            constant = is_constant(mean[i], variance, total) | (cells.inverse == 0)
            inverse[i] = np.where(constant, 0, 1 / np.sqrt(np.where(constant, 1, variance)))
    return Training(seed, member, classes, mean, inverse)


def outer_members(folds: int, parts: int, groups: int) -> np.ndarray:
    """(k, d) cells that the fits of each fold are trained on: those of all other parts."""
    part = np.arange(parts * groups) // groups
    return part != np.arange(folds)[:, None]


def inner_members(
    folds: int, parts: int, groups: int, groups_of_folds: np.ndarray | None, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """(k, m, d) cells that the inner fits of each fold are trained on, and those that test them.

    Args:
      groups_of_folds: as `inner.groups_of_folds`; None where rows were dealt to groups.
      count: m.
    """
    outer = outer_members(folds, parts, groups)
    group = np.arange(parts * groups) % groups
    if groups_of_folds is not None:
        group = groups_of_folds
    tested = outer[:, None] & (
        np.broadcast_to(group, outer.shape)[:, None] == np.arange(count)[:, None]
    )
    return outer[:, None] & ~tested, tested
