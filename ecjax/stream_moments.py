"""Moments of the rows of each fold, added up batch by batch.

A batch's rows of a fold are taken about their own mean. With h rows of mean m, and n rows of mean μ
before them, the products about the common mean grow by

    Σ (x − m)(x − m)ᵀ + hn/(h + n) · (m − μ)(m − μ)ᵀ

(Chan, Golub & LeVeque 1979): one more row below the h. Only terms that are not negative are added,
so that nothing cancels, whatever the batches are. Columns are first moved by their mean in the
first batch, so that means keep their digits wherever columns have their zero.

Axes: m rows of a batch, h of them in one fold, p columns, t targets, q = p + t, r seeds, k folds, c
cells: a fold of a seed each.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ecjax import blas, host
from ecjax.gram import lower_gram

ROWS_AT_ONCE = 8192  # of a cell that a device is given


class Moments(NamedTuple):
    """Of the rows of each cell.

    Attributes:
      count: (c,) rows.
      mean: (c, q), 0 where there are no rows.
      products: (c, q, q) about the mean, lower triangles.
      low, high: (c, t) extremes of the targets; inf and −inf where there are no rows.
    """

    count: np.ndarray
    mean: np.ndarray
    products: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Peers(Protocol):
    """Processes each of which reads other rows.

    Attributes:
      count, index: how many there are, and which of them this one is.
    """

    count: int
    index: int

    def summed(self, arrays: Any) -> Any:
        """A pytree of NumPy arrays, float64 or int64, that every process has of the same shapes,
        added up over all."""


class Gathered:
    """Moments that grow batch by batch, on the host's BLAS or on another device."""

    def __init__(self, cells: int, p: int, t: int, device: jax.Device | None = None):
        """device: where to compute; None: on the host's BLAS."""
        q = p + t
        self.device = device
        self._shift: np.ndarray | None = None
        self.low, self.high = np.full((cells, t), np.inf), np.full((cells, t), -np.inf)
        self._state = np.zeros(cells), np.zeros((cells, q)), np.zeros((cells, q, q))
        if device is not None:
            with jax.enable_x64(True):
                self._state = jax.device_put(self._state, device)

    def add(self, blocks: Sequence[np.ndarray], y: np.ndarray, cells: np.ndarray) -> None:
        """Adds a batch.

        Args:
          blocks: (m, p_j) of each embedding.
          y: (m, t) float64.
          cells: (r, m) the cell of each row for each seed; −1 for none.
        """
        parts = [part for own in cells for part in by_cell(own)]
        for cell, rows in parts:
            self.low[cell] = np.minimum(self.low[cell], y[rows].min(0))
            self.high[cell] = np.maximum(self.high[cell], y[rows].max(0))
        columns = [*blocks, y]
        if self._shift is None:
            self._shift = np.concatenate([x.mean(axis=0, dtype=float) for x in columns])
        (self._on_host if self.device is None else self._on_device)(columns, parts)

    def moments(self) -> Moments:
        """Of all batches so far."""
        count, mean, products = map(np.array, self._state)
        if self._shift is not None:
            mean[count > 0] += self._shift
        return Moments(count, mean, products, self.low, self.high)

    def _on_host(self, columns, parts) -> None:
        count, mean, products = self._state

        def one(part) -> None:
            cell, rows = part
            own = side_by_side(columns, rows, self._shift, spare=1)
            middle = own[:-1].mean(axis=0)
            own[:-1] -= middle
            gap = middle - mean[cell]
            total = count[cell] + len(rows)
            own[-1] = gap * np.sqrt(len(rows) * count[cell] / total)
            blas.add_gram(products[cell], own)
            mean[cell] += gap * (len(rows) / total)
            count[cell] = total

        side_by_side_on_cores(one, parts)

    def _on_device(self, columns, parts) -> None:
        with jax.enable_x64(True), jax.default_device(self.device):
            for cell, rows in parts:
                for start in range(0, len(rows), ROWS_AT_ONCE):
                    some = rows[start : start + ROWS_AT_ONCE]
                    own = side_by_side(columns, some, self._shift, ROWS_AT_ONCE - len(some))
                    self._state = _add(*self._state, cell, own, len(some))


def by_cell(cells: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Each cell that has some of m rows, with their numbers; −1 in cells (m,) is none."""
    order = np.argsort(cells, kind="stable")
    known, starts = np.unique(cells[order], return_index=True)
    parts = zip(known.tolist(), np.split(order, starts[1:]), strict=True)
    return [(cell, rows) for cell, rows in parts if cell >= 0]


def side_by_side(
    columns: Sequence[np.ndarray], rows: np.ndarray, shift: np.ndarray, spare: int = 0
) -> np.ndarray:
    """(h + spare, q) float64 of some rows (h,) of several arrays, less a shift (q,).

    Zeros in the spare rows.
    """
    own, start = np.empty((len(rows) + spare, len(shift))), 0
    inside = own[: len(rows)]
    for x in columns:
        # `take`, and the shift of all at once, are three times as fast as x[rows] - shift.
        inside[:, start : start + x.shape[1]] = x.take(rows, axis=0)
        start += x.shape[1]
    inside -= shift
    own[len(rows) :] = 0
    return own


def side_by_side_on_cores(work: Callable[[Any], None], parts: Sequence) -> None:
    """Works on parts that share nothing, one on each core; on all cores where they are few."""
    cores = host.available_cores()
    if len(parts) < cores:
        for part in parts:
            work(part)
        return
    with blas.one_thread(), ThreadPoolExecutor(cores) as pool:
        list(pool.map(work, parts))


@functools.partial(jax.jit, donate_argnums=(0, 1, 2))
def _add(count: Array, mean: Array, products: Array, cell: Array, rows: Array, h: Array):
    """The state with h rows more in a cell; rows (ROWS_AT_ONCE, q), zeros below the h."""
    inside = (jnp.arange(len(rows)) < h)[:, None]
    middle = rows.sum(0) / h
    gap = middle - mean[cell]
    total = count[cell] + h
    grown = jnp.tril(lower_gram(jnp.where(inside, rows - middle, 0)))
    grown += jnp.tril(gap[:, None] * gap) * (h * count[cell] / total)
    return (
        count.at[cell].set(total),
        mean.at[cell].add(gap * (h / total)),
        products.at[cell].add(grown),
    )


def of_all(own: Moments, peers: Peers) -> Moments:
    """Moments of the rows of all processes: a sum of what finds the means, one of the products."""
    if peers.count == 1:
        return own
    ends = np.zeros((peers.count, 2, *own.low.shape))
    ends[peers.index] = own.low, own.high
    count, sums, ends = peers.summed((own.count, own.count[:, None] * own.mean, ends))
    mean = sums / np.maximum(count, 1)[:, None]
    gaps = (own.mean - mean) * np.sqrt(own.count)[:, None]
    products = own.products.copy()
    for cell, gap in enumerate(gaps):
        blas.add_gram(products[cell], gap[None])
    (products,) = peers.summed((products,))
    return Moments(count, mean, products, ends[:, 0].min(0), ends[:, 1].max(0))
