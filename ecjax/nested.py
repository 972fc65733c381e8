"""Ridge regression with λ chosen by inner cross-validation, for every subset, task and outer fold.

All of it comes from moments: of each fold (or inner group) the number of rows, the mean, and the
products about that mean. Those of any union are

    S = Σ Sⱼ + Σ nⱼ (μⱼ − μ)(μⱼ − μ)ᵀ,   μ = Σ nⱼ μⱼ / Σ nⱼ

(Chan, Golub & LeVeque 1979): a sum of positive terms, from which nothing is taken away, so that a
column that hardly varies among the training rows keeps its digits. Columns are scaled by the
training rows of each fit: with deviations D, G = D⁻¹SD⁻¹. Columns that are constant among them get
weight 0.

The inner loss of weights W on a group with the moments E about the training mean is

    Σ (y − xW)² = E_yy − 2·Wᵀ E_xy + Wᵀ E_xx W.

It loses digits as 1 − R² shrinks: to 1e-16/(1 − R²) of itself, which is far finer than the
differences between penalties that it has to tell apart.

Axes: n rows, p columns, t targets, q = p + t, r seeds, k folds, h held-out rows, m groups, s
subsets, l penalties.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from ecjax import banded, gram, ridge
from ecjax.banded import Inner
from ecjax.host_folds import STEP
from ecjax.host_nested import NestedFits
from ecjax.subsets import Lattice

matmul = gram.matmul


class Scatter(NamedTuple):
    """Moments of some rows: count (), mean (q,), and products about the mean (q, q)."""

    count: Array
    mean: Array
    products: Array


def scatter_of(rows: Array, inside: Array) -> Scatter:
    """Of rows (h, q), those that count marked in (h,)."""
    keep = inside[:, None]
    count = inside.sum().astype(rows.dtype)
    among = jnp.maximum(count, 1)
    mean = jnp.where(keep, rows, 0).sum(0) / among
    centred = jnp.where(keep, rows - mean, 0)
    rest = centred.sum(0) / among  # what rounding left in the mean
    centred = jnp.where(keep, centred - rest, 0)
    lower = jnp.tril(gram.lower_gram(centred))
    return Scatter(count, mean + rest, lower + jnp.tril(lower, -1).T)


def union(parts: Scatter, taken: Array) -> Scatter:
    """Of the rows of those parts that are marked in (m,)."""
    counts = jnp.where(taken, parts.count, 0)
    count = counts.sum()
    mean = (counts[:, None] * parts.mean).sum(0) / count
    gap = jnp.where(taken[:, None], parts.mean - mean, 0)
    m, q = parts.mean.shape
    products = matmul(taken.astype(gap.dtype), parts.products.reshape(m, q * q)).reshape(q, q)
    return Scatter(count, mean, products + matmul((counts[:, None] * gap).T, gap))


def united(parts: Scatter, group_of: Array, count: int) -> Scatter:
    """Of the rows of each of so many groups of parts, (count, …); zeros where they have none.

    Args:
      group_of: (m,) the group of each part, −1 for none.
    """

    def group(number: Array) -> Scatter:
        found = union(parts, group_of == number)
        return jax.tree.map(lambda a: jnp.where(found.count > 0, a, 0), found)

    return lax.map(group, jnp.arange(count))


def standardised(training: Scatter, p: int) -> tuple[Array, Array, Array]:
    """G (p, p), right-hand sides (p, t), and 1/deviation (p,), 0 for a constant column."""
    inverse = inverse_deviations(training, p)
    return *scaled(training, inverse), inverse


def inverse_deviations(training: Scatter, p: int) -> Array:
    """(p,) 1/deviation of columns, 0 for a constant one."""
    variance = _diagonal(training.products)[:p] / training.count
    constant = gram.is_constant(training.mean[:p], variance, training.count)
    return jnp.where(constant, 0, 1 / jnp.sqrt(jnp.where(constant, 1, variance)))


def scaled(training: Scatter, inverse: Array) -> tuple[Array, Array]:
    """G (p, p) and right-hand sides (p, t) of columns times 1/deviation (p,)."""
    p = len(inverse)
    products = training.products[:, :p] * inverse
    return products[:p] * inverse[:, None], products[p:].T


def _diagonal(matrix: Array) -> Array:
    return matrix[jnp.arange(len(matrix)), jnp.arange(len(matrix))]


def inner_fits(groups: Scatter, p: int) -> Inner:
    """What each group (m, …) of an outer fold's training rows is predicted from and tested by."""
    numbers = jnp.arange(len(groups.count))

    def group(g: Array) -> Inner:
        training = union(groups, numbers != g)
        system, rhs, inverse = standardised(training, p)
        gap = groups.mean[g] - training.mean
        tested = groups.products[g] + groups.count[g] * gap[:, None] * gap
        xx = tested[:p, :p] * inverse[:, None] * inverse
        return Inner(system, rhs, xx, tested[:p, p:] * inverse[:, None], _diagonal(tested)[p:])

    return lax.map(group, numbers)


def inner_losses(inner: Inner, grid: Array, lattice: Lattice, at_once: int) -> Array:
    """(l, s, t) squared errors of all groups by the fits to the others, for penalties (l,)."""
    p = inner.rhs.shape[1]

    def group(part: Inner) -> Array:
        def loss(ridge_lambda: Array) -> Array:
            weights = ridge.lattice_solve(part.system, part.rhs, ridge_lambda, lattice, at_once)
            weights = jnp.moveaxis(weights, 0, 1)  # (p, s, t)
            product = matmul(part.xx, weights.reshape(p, -1)).reshape(weights.shape)
            return part.yy + (weights * (product - 2 * part.xy[:, None])).sum(0)

        return lax.map(loss, grid)

    return lax.map(group, inner).sum(0)


def choose(losses: Array, tasks: Sequence[tuple[int, int]]) -> tuple[Array, Array]:
    """The position in the grid (s, t) with the least loss of each task, and that loss (s, t).

    The first of equals is taken, which is the strongest penalty.

    Args:
      losses: (l, s, t); not a number where a system is singular.
      tasks: first target of each task and the one after its last.
    """
    chosen = []
    for start, stop in tasks:
        of_task = losses[:, :, start:stop].sum(2)
        best = jnp.argmin(jnp.where(jnp.isnan(of_task), jnp.inf, of_task), axis=0)
        chosen.append(jnp.broadcast_to(best[:, None], (len(best), stop - start)))
    position = jnp.concatenate(chosen, axis=1)
    return position, jnp.take_along_axis(losses, position[None], axis=0)[0]


def choose_by(
    groups: Scatter,
    p: int,
    grid: Array,
    tasks: Sequence[tuple[int, int]],
    lattice: Lattice,
    bands: Sequence[int],
    at_once: int,
) -> tuple[Array, Array]:
    """Chooses the penalties of an outer fold by its inner groups (m, …).

    Args:
      grid: (l,) penalties.
      tasks, bands, at_once: as for `fit`.

    Returns:
      Places on the grid (s, t), or (s, t, b) where there are bands, and inner losses (s, t).
    """
    inner = inner_fits(groups, p)
    position, loss = choose(inner_losses(inner, grid, lattice, at_once), tasks)
    if not bands:
        return position, loss
    return banded.choose(inner, grid, position, tasks, lattice, bands, groups.count.sum())


def fit(
    z: Array,
    scaled: Array,
    tested: Array,
    grid: Array,
    inner_rows: Array | None,
    groups: np.ndarray | None,
    tasks: Sequence[tuple[int, int]],
    lattice: Lattice,
    residuals: bool,
    bands: Sequence[int] = (),
    at_once: int = 1,
) -> NestedFits:
    """Chooses λ and fits, for all subsets, tasks, seeds and outer folds.

    Args:
      z: (n, p) columns in lattice order, standardised over the table, which only tames numbers.
      scaled: (n, t) targets, likewise.
      tested: (r, k, h) the rows that each fold scores, n for none. Where `inner_rows` is None all
        others are training rows.
      grid, inner_rows: as `inner.Choices`.
      groups: (k, k) as `inner.groups_of_folds`, where `inner_rows` is None.
      tasks: as for `choose`.
      residuals: whether they are kept.
      bands: the place of each block among the study's embeddings, for a penalty of its own; () for
        one that all share.
      at_once: folds side by side; must be 1 on a CPU, see `ridge.lattice_solve`.
    """
    n, p = z.shape
    table = jnp.concatenate([z, scaled], axis=1)

    def rows_of(rows: Array) -> Array:
        return jnp.take(table, rows, axis=0, mode="fill", fill_value=0)

    def parts(rows: Array) -> Scatter:
        """Of each of several lists of rows (m, g)."""
        return lax.map(lambda own: scatter_of(rows_of(own), own < n), rows)

    def seed(row_sums: tuple[Array, Array], arguments):
        rows, penalties, inner = arguments
        of_folds = parts(rows) if inner is None else None

        def fold(i: Array):
            if inner is None:
                of_groups = united(of_folds, jnp.asarray(groups)[i], groups.max() + 1)
            else:
                of_groups = parts(inner[i])
            how = tasks, lattice, bands, at_once
            position, loss = choose_by(of_groups, p, penalties[i], *how)
            training = union(of_groups, of_groups.count > 0)
            system, rhs, inverse = standardised(training, p)

            def weights_of(penalties: Array) -> Array:
                """(s, p, t) of the fits whose places are chosen."""
                if bands:
                    return banded.fit(system, rhs, penalties, position, lattice)

                def solve(kept: Array, number: Array):
                    weights = ridge.lattice_solve(system, rhs, penalties[number], lattice, at_once)
                    return jnp.where((position == number)[:, None], weights, kept), None

                start = jnp.zeros((*position.shape[:1], p, position.shape[1]), z.dtype)
                return lax.scan(solve, start, jnp.arange(len(penalties)))[0]

            inside = rows[i] < n
            own = rows_of(rows[i]) - training.mean

            def residuals_of(penalties: Array) -> Array:
                weights = jnp.moveaxis(weights_of(penalties) * inverse[:, None], 0, 1)  # (p, s, t)
                flat = matmul(own[:, :p], weights.reshape(p, -1))
                predicted = flat.reshape(-1, *weights.shape[1:])
                return jnp.where(inside[:, None, None], own[:, None, p:] - predicted, 0)

            left, further = lax.map(residuals_of, penalties[i] * np.exp([[0], [STEP]]))
            place = position if bands else position[..., None]
            chosen = jnp.where(place < 0, jnp.nan, penalties[i][place])
            kept = (left,) if residuals else ()  # `lax.map` takes no empty array side by side
            return left**2, 2 / STEP * left * (further - left), kept, chosen, loss

        side_by_side = at_once if at_once > 1 else None
        squares, slopes, *rest = lax.map(fold, jnp.arange(len(rows)), batch_size=side_by_side)
        row_sums = tuple(
            sums.at[:, rows].add(jnp.moveaxis(own, 3, 0), mode="drop")  # (t, k, h, s)
            for sums, own in zip(row_sums, (squares, slopes), strict=True)
        )
        return row_sums, (squares.sum(1), *rest)

    nothing = jnp.zeros((scaled.shape[1], n, len(lattice.subsets)), z.dtype)
    row_sums, (error, kept, *rest) = lax.scan(seed, (nothing, nothing), (tested, grid, inner_rows))
    none = jnp.zeros((*error.shape[:2], 0, *error.shape[2:]), z.dtype)
    return NestedFits(error, *row_sums, *(kept or (none,)), *rest)
