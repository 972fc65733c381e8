"""Logistic regression with C chosen by inner cross-validation, for every subset and outer fold.

The fits of a seed are the problems of one batch: of every outer fold its m inner fits, each to all
groups but one, the fit to all of them, and that fit once more with a penalty larger by `STEP`, from
which derivatives are taken. They are solved for one C after the other, the strongest penalty first.
A fit starts from the same rows' fit with the C before, and a larger subset from its parents' fits
of the same rows.

Columns are scaled by the rows of each problem, see `softmax.Scaling`. Of the tested rows those
count whose class the inner training rows have: the others' loss is infinite whatever the C.

Axes: n rows, p columns, c classes, r seeds, k folds, h held-out rows, m groups, g rows of a group,
s subsets, l penalties, b problems.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from ecjax import gram
from ecjax.logistic import fit_subsets, no_fits
from ecjax.softmax import Scaling, make_problem
from ecjax.subsets import Lattice

STEP = 0.25  # in −log C, over which derivatives are taken; far above what the tolerance leaves open


class NestedFits(NamedTuple):
    """Out-of-fold results of all subsets.

    Attributes:
      log_probability: (r, s, n, c), gradient_norm, iterations: (r, s, k) as `logistic.LatticeFits`.
      chosen: (r, s, k) the C.
      inner_loss: (r, s, k) log-loss of its inner fits, summed over the training rows.
      row_slope: (r, s, n) derivatives of each row's log-loss with respect to −log C, up to `STEP`
        of the next one; 0 where the loss is infinite. None of fits that do not tell.
    """

    log_probability: Array
    gradient_norm: Array
    iterations: Array
    chosen: Array
    inner_loss: Array
    row_slope: Array | None


class _Rows(NamedTuple):
    """Of the m + 2 problems of an outer fold: training rows (m + 2, n), and their scaling."""

    training: Array
    scaling: Scaling


def _rows_of(z: Array, tested: Array) -> _Rows:
    """Problems of one fold from the groups (m, g) of its training rows."""
    n, p = z.shape
    m = len(tested)

    def spread(rows: Array):
        """Number, mean (p,) and squared deviations (p,) of some rows (g,)."""
        keep = (rows < n)[:, None]
        count = jnp.maximum(keep.sum(), 1)
        own = jnp.take(z, rows, axis=0, mode="fill", fill_value=0)
        mean = own.sum(0) / count
        centred = jnp.where(keep, own - mean, 0)
        rest = centred.sum(0) / count  # what rounding left in the mean
        return keep.sum(), mean + rest, (jnp.where(keep, centred - rest, 0) ** 2).sum(0)

    counts, means, squares = lax.map(spread, tested)
    group = jnp.arange(m)
    member = jnp.zeros((m, n), bool).at[group[:, None], tested].set(True, mode="drop")

    def problem(j: Array):
        taken = group != j  # all of them for the last two
        weights = jnp.where(taken, counts, 0)[:, None]
        count = jnp.maximum(weights.sum(), 1)
        mean = (weights * means).sum(0) / count
        # As in `nested`: sums of positive terms keep the digits of columns that hardly vary.
        apart = (weights * (means - mean) ** 2).sum(0)
        variance = (jnp.where(taken[:, None], squares, 0).sum(0) + apart) / count
        constant = gram.is_constant(mean, variance, count)
        square = jnp.where(constant, 0, variance)
        inverse = jnp.where(constant, 0, 1 / jnp.sqrt(jnp.where(constant, 1, variance)))
        # The intercept and the padding, as `logistic.fit_subsets` has them.
        ends = (jnp.zeros(2), jnp.ones(2), jnp.zeros(2))
        scaling = (jnp.append(a, end) for a, end in zip((mean, inverse, square), ends, strict=True))
        return _Rows((member & taken[:, None]).any(0), Scaling(*scaling))

    return lax.map(problem, jnp.arange(m + 2))


def fit(
    z: Array,
    labels: Array,
    classes: int,
    tested: Array,
    grid: Array,
    inner_rows: Array,
    tolerance: Array,
    lattice: Lattice,
    at_once: int,
) -> NestedFits:
    """Chooses C and fits, for all subsets, seeds and outer folds.

    Args:
      z: (n, p) columns in lattice order, standardised over the table, which only tames numbers.
      labels: (n,) class codes.
      tested: (r, k, h) the rows that each fold scores, n for none.
      grid, inner_rows: as `inner.Choices`.
      at_once: fits side by side.
    """
    n, p = z.shape
    k, h = tested.shape[1:]
    one = jnp.ones((1, n), z.dtype)
    x = jnp.concatenate([z.T, one, 0 * one])
    everything = jnp.ones((1, n), bool)

    def seed(arguments) -> NestedFits:
        outer, penalties, inner = arguments
        m, width = inner.shape[1], max(inner.shape[2], h)
        problems = lax.map(lambda rows: _rows_of(z, rows), inner)  # (k, m + 2, …)
        scored = outer[:, None]
        rows = jnp.concatenate([_widen(a, width, n) for a in (inner, scored, scored)], axis=1)
        b = k * (m + 2)
        of_c = jnp.ones(m + 2).at[m + 1].set(np.exp(-STEP))
        batches = -(-b // at_once)
        side_by_side = -(-b // batches)
        idle = batches * side_by_side - b  # problems without training rows

        def flat(a: Array, fill=0) -> Array:
            a = a.reshape(b, *a.shape[2:])
            return jnp.pad(a, ((0, idle), *[(0, 0)] * (a.ndim - 1)), constant_values=fill)

        training, scaling = flat(problems.training), jax.tree.map(flat, problems.scaling)
        rows = flat(rows, n)
        own_label = jnp.append(labels, 0)[rows]

        def solve(tables, logistic_c: Array):
            """All problems with one C of each fold (k,)."""
            of_problems = flat(logistic_c[:, None] * of_c, 1)
            batch = make_problem(labels, classes, training, of_problems, z.dtype)
            whole = make_problem(labels, classes, everything, logistic_c[:1], z.dtype)
            whole = whole._replace(penalty=batch.penalty[:b].mean(keepdims=True))
            batch = batch._replace(scaling=scaling)
            tables, (log_probability, norm, iterations) = fit_subsets(
                x, batch, whole, rows, tables, tolerance, lattice, side_by_side
            )
            own = jnp.take_along_axis(log_probability, own_label[None, :, None], axis=2)[:, :, 0]

            def of_folds(a: Array) -> Array:
                """(s, b, …) → (s, k, m + 2, …)."""
                return a[:, :b].reshape(len(a), k, m + 2, *a.shape[2:])

            losses = of_folds(-jnp.where((rows < n) & jnp.isfinite(own), own, 0))
            inner_loss = losses[:, :, :m].sum((2, 3))
            slope = (losses[:, :, m + 1, :h] - losses[:, :, m, :h]) / STEP
            outer = (of_folds(a)[:, :, m] for a in (log_probability[..., :h], norm, iterations))
            return tables, (inner_loss, slope, *outer)

        tables = no_fits(lattice, b + idle, classes, z.dtype)
        _, found = lax.scan(solve, tables, penalties.T)
        losses = found[0]  # (l, s, k)
        position = jnp.argmin(losses, axis=0)  # of equals the first, the strongest
        best = [
            jnp.take_along_axis(a, position.reshape(1, *position.shape, *[1] * (a.ndim - 3)), 0)[0]
            for a in found
        ]
        loss, slope, log_probability, norm, iterations = best
        by_row = jnp.zeros((n, len(position), classes), z.dtype)
        by_row = by_row.at[outer].set(log_probability.transpose(1, 3, 0, 2), mode="drop")
        slopes = jnp.zeros((len(position), n), z.dtype).at[:, outer].set(slope, mode="drop")
        chosen = penalties[jnp.arange(k), position]
        return NestedFits(by_row.swapaxes(0, 1), norm, iterations, chosen, loss, slopes)

    return lax.map(seed, (tested, grid, inner_rows))


def _widen(rows: Array, width: int, n: int) -> Array:
    """(k, m, g) rows with padding up to a width."""
    padding = ((0, 0), (0, 0), (0, width - rows.shape[2]))
    return jnp.pad(rows, padding, constant_values=n)
