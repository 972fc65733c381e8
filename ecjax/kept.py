"""Ridge regression of every subset to weighted rows, with penalties that were chosen before.

What intervals of kinds `refit` and `nested` repeat. A replicate gives every row a weight: how often
it was drawn, or 0 for rows that are set aside. A row keeps its fold, so that its copies are all
tested or all trained on. Fits are those of the protocols: columns are scaled by the weighted
training rows of each fit (`strict`), or by all rows with weight (`paper`).

Moments of training rows are unions of the other folds' (see `nested`), or, where folds do not
divide the rows, made from the rows.

Axes: c replicates, n rows, p columns, t targets, q = p + t, r seeds, k folds, h rows of a fold, s
subsets, l penalties of a grid, b bands: blocks of the lattice, or 1 where a subset's share theirs.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from ecjax import banded, gram, host_call, nested, ridge
from ecjax.host_kept import KeptFits
from ecjax.nested import Scatter
from ecjax.subsets import Lattice

matmul = gram.matmul


class How(NamedTuple):
    """What is compiled.

    Attributes:
      lattice: subsets and order of elimination.
      divided: whether the folds divide the rows between them.
      own_scale: whether columns are scaled by the training rows of each fit.
      row_error: whether every row's squares are returned.
      on_host: whether the host's BLAS does it (see `host_kept`).
      at_once: folds side by side; 1 on a CPU, see `ridge.lattice_solve`.
    """

    lattice: Lattice
    divided: bool
    own_scale: bool
    row_error: bool
    on_host: bool
    at_once: int


@functools.partial(jax.jit, static_argnums=0)
def fit(
    how: How,
    blocks: Sequence[Array],
    y: Array,
    weights: Array,
    tested: Array,
    left_out: Array,
    grid: Array,
    places: Array,
) -> KeptFits:
    """Fits all replicates, seeds and folds.

    Args:
      blocks: (n, p_m) for each block of the lattice, as stored.
      y: (n, t).
      weights: (c, n).
      tested, left_out: (r, k, h) the rows that each fold tests, and those not trained on, n for
        none.
      grid: (c or 1, r, k, l) penalties, for each replicate or for all of them.
      places: (c or 1, r, k, s, t, b) where on it those of each fit stand; −1 for a band that a
        subset leaves out.
    """
    arrays = weights, tested, left_out, grid, places
    if how.on_host:
        return host_call.fit_kept(blocks, y, *arrays, *how[:4])
    z, _ = gram.standardise(jnp.concatenate([block.astype(float) for block in blocks], axis=1))
    scaled, _ = gram.standardise(y.astype(float))
    table = jnp.concatenate([z, scaled], axis=1)

    def replicate(arguments):
        weight, grids, all_places = arguments
        return lax.map(
            lambda seed: _seed(how, table, z.shape[1], weight, *seed),
            (tested, left_out, grids, all_places),
        )

    each = (jnp.broadcast_to(a, (len(weights), *a.shape[1:])) for a in (grid, places))
    return lax.map(replicate, (weights, *each))


def _seed(how: How, table, p: int, weights, tested, left_out, grid, places) -> KeptFits:
    """The folds of one seed and replicate: (k, s + 1, t) and (t, n, s + 1)."""
    n, q = table.shape
    k, s, t = len(tested), len(how.lattice.subsets), q - p

    def rows_of(rows: Array) -> tuple[Array, Array]:
        """Rows (h, q) and their weights (h,), zero for none."""
        take = functools.partial(jnp.take, indices=rows, axis=0, mode="fill", fill_value=0)
        return take(table), take(weights)

    if how.divided:
        parts = lax.map(lambda rows: weighted_scatter(*rows_of(rows)), left_out)
    inverse = None
    if not how.own_scale:
        inverse = nested.inverse_deviations(weighted_scatter(table, weights), p)

    def fold(i: Array):
        if how.divided:
            training = nested.union(parts, jnp.arange(k) != i)
        else:
            others = weights.at[left_out[i]].set(0, mode="drop")
            training = weighted_scatter(table, others)
        own = nested.inverse_deviations(training, p) if inverse is None else inverse
        system, rhs = nested.scaled(training, own)
        solution = _weights(how, system, rhs, grid[i], places[i])  # (s, p, t)
        rows, weight = rows_of(tested[i])
        rows = rows - training.mean
        columns = jnp.moveaxis(solution * own[:, None], 0, 1).reshape(p, s * t)
        predicted = matmul(rows[:, :p], columns).reshape(-1, s, t)
        left = jnp.concatenate([rows[:, None, p:] - predicted, rows[:, None, p:]], axis=1)
        squares = jnp.where((weight > 0)[:, None, None], left**2, 0)
        sums = (jnp.where(weight > 0, weight, 0)[:, None, None] * squares).sum(0)
        return sums, squares if how.row_error else squares[:0]

    side_by_side = how.at_once if how.at_once > 1 else None
    sums, squares = lax.map(fold, jnp.arange(k), batch_size=side_by_side)
    row_error = jnp.zeros((t, n if how.row_error else 0, s + 1), table.dtype)
    if how.row_error:
        row_error = row_error.at[:, tested].add(jnp.moveaxis(squares, 3, 0), mode="drop")
    return KeptFits(sums, row_error)


def _weights(how: How, system, rhs, grid, places) -> Array:
    """(s, p, t) with the penalties at places (s, t, b) of the grid (l,)."""
    lattice = how.lattice
    if places.shape[2] > 1:
        return banded.fit(system, rhs, grid, places, lattice)

    def solve(kept: Array, number: Array):
        found = ridge.lattice_solve(system, rhs, grid[number], lattice, how.at_once)
        return jnp.where((places[..., 0] == number)[:, None], found, kept), None

    start = jnp.zeros((len(lattice.subsets), *rhs.shape), rhs.dtype)
    return lax.scan(solve, start, jnp.arange(len(grid)))[0]


def weighted_scatter(rows: Array, weights: Array) -> Scatter:
    """Of rows (h, q) with weights (h,); those without count for nothing. No rows: count 0."""
    keep, count = (weights > 0)[:, None], weights.sum()
    among = jnp.where(count > 0, count, 1)
    share = (weights / among)[:, None]
    mean = (share * rows).sum(0)
    centred = jnp.where(keep, rows - mean, 0)
    rest = (share * centred).sum(0)  # what rounding left in the mean
    centred = jnp.where(keep, centred - rest, 0) * jnp.sqrt(weights)[:, None]
    lower = jnp.tril(gram.lower_gram(centred))
    return Scatter(count, mean + rest, lower + jnp.tril(lower, -1).T)
