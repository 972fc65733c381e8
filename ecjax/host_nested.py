"""`nested.fit` on the host's BLAS: one outer fold on each core, by the elimination of `host`.

Axes as in `nested`. Symmetric matrices (q, q) are lower triangles unless it is said otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from ecjax import blas, host
from ecjax.host_folds import STEP, Scatter, fold_of, union, united
from ecjax.subsets import Lattice


class NestedFits(NamedTuple):
    """Out-of-fold results of all subsets, of targets in the table's standard deviations.

    Attributes:
      squared_error: (r, k, s, t) sums over each fold's rows.
      row_error: (t, n, s) squares of each row's residual, summed over seeds.
      row_slope: (t, n, s) derivatives of `row_error` with respect to log λ, all λ of a fit moving
        together, up to `STEP` of the next one.
      residuals: (r, k, h, s, t), zeros in the padding; (r, k, 0, s, t) where nobody asked.
      chosen: (r, k, s, t, b) the penalty, of each band or the only one; NaN for a band that a
        subset leaves out.
      inner_loss: (r, k, s, t) squared error of its inner fits, summed over the training rows.
    """

    squared_error: np.ndarray
    row_error: np.ndarray
    row_slope: np.ndarray
    residuals: np.ndarray
    chosen: np.ndarray
    inner_loss: np.ndarray


def fit(
    blocks: Sequence[np.ndarray],
    y: np.ndarray,
    tested: np.ndarray,
    grid: np.ndarray,
    inner_rows: np.ndarray | None,
    groups: np.ndarray | None,
    tasks: Sequence[tuple[int, int]],
    lattice: Lattice,
    residuals: bool,
    bands: Sequence[int] = (),
) -> NestedFits:
    """As `nested.fit`, from blocks (n, p_m) as stored and targets (n, t) in their own units."""
    r, k, h = tested.shape
    n, t = y.shape
    s = len(lattice.subsets)
    found = NestedFits(
        np.empty((r, k, s, t)),
        np.zeros((t, n, s)),
        np.zeros((t, n, s)),
        np.zeros((r, k, h if residuals else 0, s, t)),
        np.empty((r, k, s, t, len(bands) or 1)),
        np.empty((r, k, s, t)),
    )
    cores = host.available_cores()
    with ThreadPoolExecutor(cores) as pool:
        z = host.standardised(pool, [*blocks, y])

        def lane(seed: int, folds: range, parts: list[Scatter] | None) -> None:
            for fold in folds:
                if parts is None:
                    own = [scatter_of(z, rows) for rows in inner_rows[seed, fold]]
                else:
                    own = united(parts, groups[fold])
                own = [group for group in own if group.count]
                one = fold_of(lattice, t, grid[seed, fold], tasks, bands)
                position, found.inner_loss[seed, fold] = one.choose(own)
                found.chosen[seed, fold] = one.penalties(position)
                rows = tested[seed, fold]
                rows = rows[rows < n]
                left, further = one.residuals(union(own), position, z[rows])
                squares = left**2
                found.squared_error[seed, fold] = squares.sum(axis=0)
                found.row_error[:, rows] += squares.transpose(2, 0, 1)
                slope = 2 / STEP * left * (further - left)
                found.row_slope[:, rows] += slope.transpose(2, 0, 1)
                if residuals:
                    found.residuals[seed, fold, : len(left)] = left

        for seed in range(r):  # one after the other: the folds of one share no row
            parts = None
            if inner_rows is None:
                parts = list(pool.map(lambda rows: scatter_of(z, rows), tested[seed]))
            lanes = [range(i, k, cores) for i in range(cores)]
            list(pool.map(lambda own: lane(seed, own, parts), lanes))  # noqa: B023
    return found


def scatter_of(z: np.ndarray, rows: np.ndarray) -> Scatter:
    """Of some rows of z (n, q); n stands for none."""
    own = z[rows[rows < len(z)]]
    q = z.shape[1]
    products = np.zeros((q, q))
    if not len(own):
        return Scatter(0, np.zeros(q), products)
    mean = own.mean(axis=0)
    own -= mean
    rest = own.mean(axis=0)  # what rounding left in the mean
    own -= rest
    blas.gram(own, products)
    return Scatter(len(own), mean + rest, products)
