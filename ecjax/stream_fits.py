"""Ridge fits from the moments of a stream, and what they leave on rows that pass again.

The fits themselves are those of `host_folds`, whatever the device: their time does not grow with
the rows. Moments are first told in the table's standard deviations, as rows in memory are.

Axes: m rows of a batch, p columns, t targets, q = p + t, r seeds, k folds, s subsets, f 1 or 2 fits
of a kind (see `host_folds.Fits`), l penalties, b bands.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ecjax import blas, gram, host
from ecjax.gram import is_constant
from ecjax.host_folds import STEP, Fits, Scatter, fold_of, union, united
from ecjax.stream_moments import (
    ROWS_AT_ONCE,
    Moments,
    by_cell,
    side_by_side,
    side_by_side_on_cores,
)
from ecjax.subsets import Lattice


class Table(NamedTuple):
    """The moments of a table's folds, in its standard deviations about its means.

    Attributes:
      rows: n.
      mean: (q,) of all rows, in the columns' own units.
      inverse: (q,) 1/deviation, 0 for a constant column.
      parts: r × k, the rows that each fold scores.
      rest: r, those that no fold scores, or None.
      dealt: r × k, inner groups of each fold's training rows, where rows were dealt to them; else
        None.
      low, high: (r, k, t) extremes of the targets that each fold scores, in their own units.
    """

    rows: int
    mean: np.ndarray
    inverse: np.ndarray
    parts: list[list[Scatter]]
    rest: list[Scatter | None]
    dealt: list[list[list[Scatter]]] | None
    low: np.ndarray
    high: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """(r, k) rows that each fold scores."""
        return np.array([[part.count for part in parts] for parts in self.parts])

    @property
    def scored(self) -> Scatter:
        """Of all rows that some fold scores, the same for every seed."""
        return union(self.parts[0])

    @property
    def deviation(self) -> np.ndarray:
        """(q,) of columns, 0 for a constant one."""
        return np.divide(1, self.inverse, out=np.zeros_like(self.inverse), where=self.inverse > 0)


class MomentFits(NamedTuple):
    """Fits to all but the rows of each fold.

    Attributes:
      squared_error: (r, k, s, t) of each fold's rows, from their moments.
      slope: (r, k, s, t) their derivatives with respect to log λ; 0 where penalties are fixed.
      empty_error: (r, k, t) squared errors by the mean of the training rows.
      chosen: (r, k, s, t, b) penalties, None where they are fixed.
      inner_loss: (r, k, s, t) as `nested`, None where penalties are fixed.
      fits: r × k.
    """

    squared_error: np.ndarray
    slope: np.ndarray
    empty_error: np.ndarray
    chosen: np.ndarray | None
    inner_loss: np.ndarray | None
    fits: list[list[Fits]]


def table_of(moments: Moments, seeds: int, folds: int, groups: int = 1) -> Table:
    """Tells moments in standard deviations, in place.

    Args:
      moments: of r × (k or k + 1) × groups cells; the last of k + 1 holds the rows that no fold
        scores.
      groups: that rows are dealt to within each fold, and with them those of the one other fold's
        training rows; 1: they are not.
    """
    parts = [
        Scatter(int(n), mean, products)
        for n, mean, products in zip(moments.count, moments.mean, moments.products, strict=True)
    ]
    whole = union([part for part in parts[: len(parts) // seeds] if part.count])
    variance = np.diagonal(whole.products) / whole.count
    constant = is_constant(whole.mean, variance, whole.count)
    inverse = np.where(constant, 0.0, 1 / np.sqrt(np.where(constant, 1.0, variance)))
    for part in parts:
        part.mean[...] = (part.mean - whole.mean) * inverse
        np.multiply(part.products, inverse, out=part.products)
        np.multiply(part.products, inverse[:, None], out=part.products)
    shape = seeds, -1, groups, moments.low.shape[1]
    low, high = (ends.reshape(shape)[:, :folds] for ends in (moments.low, moments.high))
    by_part = [
        [part for part in parts[i : i + groups] if part.count] for i in range(0, len(parts), groups)
    ]
    number = len(by_part) // seeds
    by_seed = [by_part[i : i + number] for i in range(0, len(by_part), number)]
    dealt = None
    if groups > 1:  # to train on there is one part beside each fold
        dealt = [[of_seed[1 - fold] for fold in range(folds)] for of_seed in by_seed]
    return Table(
        rows=whole.count,
        mean=whole.mean,
        inverse=inverse,
        parts=[[_united(cells) for cells in of_seed[:folds]] for of_seed in by_seed],
        rest=[_united(of_seed[folds]) if number > folds else None for of_seed in by_seed],
        dealt=dealt,
        low=low.min(2),
        high=high.max(2),
    )


def _united(cells: list[Scatter]) -> Scatter:
    return cells[0] if len(cells) == 1 else union(cells)


def fit(
    table: Table,
    grid: np.ndarray,
    groups: np.ndarray | None,
    tasks: Sequence[tuple[int, int]],
    lattice: Lattice,
    bands: Sequence[int] = (),
) -> MomentFits:
    """Fits every subset to the training rows of every fold and seed.

    Args:
      table: whose columns are the lattice's, and then the targets.
      grid: (r, k, l) penalties to choose from, the strongest first; (r, k, 1) fixed ones.
      groups: (k, k) as `inner.groups_of_folds`; None where rows were dealt to inner groups, or
        where penalties are fixed, and columns are scaled by the whole table.
      tasks, bands: as for `nested.fit`.
    """
    (r, k, _), p, s = grid.shape, lattice.starts[-1], len(lattice.subsets)
    t, fixed = len(table.mean) - p, groups is None and table.dealt is None
    error, slope, loss = (np.zeros((r, k, s, t)) for _ in range(3))
    empty = np.empty((r, k, t))
    chosen = np.empty((r, k, s, t, len(bands) or 1))
    fits: list[list[Fits]] = [[None] * k for _ in range(r)]

    def one(place: tuple[int, int]) -> None:
        seed, fold = place
        solver = fold_of(lattice, t, grid[seed, fold], tasks, bands)
        parts = table.parts[seed]
        if fixed:
            others = [part for i, part in enumerate(parts) if i != fold] + [table.rest[seed]]
            training = union([part for part in others if part is not None and part.count])
            position, inverse = np.zeros((s, t), int), np.sign(table.inverse[:p])
            found = solver.fits(training, position, inverse, further=False)
        else:
            dealt = table.dealt
            own = dealt[seed][fold] if dealt else list(united(parts, groups[fold]))
            position, loss[place] = solver.choose(own)
            chosen[place] = solver.penalties(position)
            training = union(own)
            found = solver.fits(training, position)
        tested = parts[fold]
        error[place], slope[place] = solver.losses(found, tested)
        gap = tested.mean[p:] - training.mean[p:]
        empty[place] = np.diagonal(tested.products)[p:] + tested.count * gap**2
        fits[seed][fold] = found

    with blas.one_thread(), ThreadPoolExecutor(host.available_cores()) as pool:
        list(pool.map(one, itertools.product(range(r), range(k))))
    if fixed:
        return MomentFits(error, slope, empty, None, None, fits)
    return MomentFits(error, slope, empty, chosen, loss, fits)


class Left(NamedTuple):
    """What fits leave on a batch's rows that took no part in them, in standard deviations.

    Attributes:
      row_error, row_slope: (m, s, t) squared errors, summed over seeds, and their derivatives with
        respect to log λ; the latter None where penalties are fixed.
      row_empty: (m, t) squared errors by the mean of the training rows, summed over seeds.
      residuals: (r, m, s, t), or None.
      squared_error, empty_error: (r, k, s, t) and (r, k, t) sums over each fold's rows.
    """

    row_error: np.ndarray
    row_slope: np.ndarray | None
    row_empty: np.ndarray
    residuals: np.ndarray | None
    squared_error: np.ndarray
    empty_error: np.ndarray


class HeldOutRows:
    """The fits of all folds, ready for rows in their own units."""

    def __init__(self, table: Table, found: MomentFits, device: jax.Device | None = None):
        """device: as for `stream_moments.Gathered`."""
        self.device = device
        first = found.fits[0][0].weights
        self.p, self.s, self.t = first.shape[1:]
        self.mean, self.inverse = table.mean[self.p :], table.inverse[self.p :]
        self.folds = len(found.fits[0])
        deviation, self.deviation = np.split(table.deviation, [self.p])
        self.cells = []
        for fits in itertools.chain.from_iterable(found.fits):
            own = fits.mean[: self.p] * deviation + table.mean[: self.p]
            scale = (table.inverse[: self.p] * fits.inverse)[:, None]
            weights = np.moveaxis(fits.weights, 0, 1).reshape(self.p, -1) * scale
            self.cells.append((own, weights, fits.mean[self.p :]))

    def left(
        self, blocks: Sequence[np.ndarray], y: np.ndarray, cells: np.ndarray, residuals: bool
    ) -> Left:
        """Of a batch; arguments as for `Gathered.add`, with cells 0 … rk − 1.

        Args:
          residuals: whether they are kept.
        """
        (r, m), s, t, k = cells.shape, self.s, self.t, self.folds
        f = self.cells[0][1].shape[1] // (s * t)
        scaled = (y - self.mean) * self.inverse
        error = np.zeros((m, s, t))
        slope = np.zeros((m, s, t)) if f > 1 else None
        row_empty, kept = np.zeros((m, t)), np.zeros((r, m, s, t)) if residuals else None
        sums, empty = np.zeros((r * k, s, t)), np.zeros((r * k, t))

        def one(part) -> None:
            cell, rows = part
            own, weights, mean = self.cells[cell]
            x = side_by_side(blocks, rows, own)
            target = scaled[rows] - mean
            left = np.tile(target, f * s)
            self._subtract(x, weights, left)
            left = left.reshape(len(rows), f, s, t)
            squares = left[:, 0] ** 2
            sums[cell], empty[cell] = squares.sum(0), (target**2).sum(0)
            error[rows] += squares
            row_empty[rows] += target**2
            if slope is not None:
                slope[rows] += 2 / STEP * left[:, 0] * (left[:, 1] - left[:, 0])
            if kept is not None:
                kept[cell // k, rows] = left[:, 0]

        for own in cells:  # one seed after the other: the folds of one share no row
            side_by_side_on_cores(one, by_cell(own))
        sums, empty = sums.reshape(r, k, s, t), empty.reshape(r, k, t)
        return Left(error, slope, row_empty, kept, sums, empty)

    def _subtract(self, x: np.ndarray, weights: np.ndarray, left: np.ndarray) -> None:
        """left −= x weights."""
        if self.device is None:
            blas.multiply(x, weights, left, subtract=True)
            return
        with jax.enable_x64(True), jax.default_device(self.device):
            for start in range(0, len(x), ROWS_AT_ONCE):
                some = x[start : start + ROWS_AT_ONCE]
                padded = np.pad(some, ((0, ROWS_AT_ONCE - len(some)), (0, 0)))
                left[start : start + len(some)] -= _product(padded, weights)[: len(some)]

    def predictions(self, left: Left, y: np.ndarray) -> np.ndarray:
        """(r, s, m, t) out of fold, in the targets' own units (m, t), of rows with residuals."""
        return (y[:, None] - left.residuals * self.deviation).swapaxes(1, 2)


@jax.jit
def _product(x, weights):
    return gram.matmul(jnp.asarray(x), weights)
