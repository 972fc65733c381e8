"""A probe of the user's own in the place of ridge and logistic regression.

A probe is a JAX function

    fit_predict(X, Y, weights, X_test, penalty) → predictions

of the columns X (n, p) of a set, standardised; the targets Y (n, t), standardised over the table,
or classes as zeros and ones (n, c); weights (n,), 1 for a training row and 0 for any other; the
tested rows X_test (h, p); and the penalty (), λ of `ridge_lambda` or, for classes, C of
`logistic_c`. It predicts (h, t) targets, or (h, c) probabilities. It must make no use of rows of
weight 0: their targets are the answer.

It runs for every subset, seed and fold inside the study's compiled call. Columns are standardised
over the table under `paper`; under `strict` by the training rows of each fit, and the penalty is
chosen by the same inner folds as ridge's and logistic regression's, by squared error or log-loss.

Axes: n rows, p columns, t targets, c classes, r seeds, k folds, h tested rows of a fold, m groups,
g rows of a group, s subsets, l penalties.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from ecjax import gram
from ecjax.subsets import Lattice

Probe = Callable[[Array, Array, Array, Array, Array], Array]


class Fits(NamedTuple):
    """Out-of-fold predictions of all subsets.

    Attributes:
      predictions: (r, k, h, s, t) of the tested rows; classes stand for targets.
      chosen, inner_loss: (r, k, s, t) under `strict`, as `nested.NestedFits`; else None.
    """

    predictions: Array
    chosen: Array | None
    inner_loss: Array | None


class Folds(NamedTuple):
    """Rows of each seed and fold, n for none.

    Attributes:
      held_out: (r, k, h) that take no part in training.
      tested: (r, k, h').
      grid: (r, k, l) penalties; one under `paper`.
      groups: (r, k, m, g) training rows of the inner folds; None under `paper`.
    """

    held_out: Array
    tested: Array
    grid: Array
    groups: Array | None


def squared_error(predictions: Array, y: Array) -> Array:
    """(h, t) of each row and target."""
    return (y - predictions) ** 2


def log_loss(probabilities: Array, onehot: Array) -> Array:
    """(h, c) of each row, at its class; rows whose class has no probability count for nothing."""
    loss = -jnp.log(probabilities)
    return jnp.where((onehot > 0) & jnp.isfinite(loss), loss, 0)


def fit(
    probe: Probe,
    z: Array,
    y: Array,
    folds: Folds,
    tasks: Sequence[tuple[int, int]],
    lattice: Lattice,
    loss: Callable[[Array, Array], Array],
    at_once: int = 1,
) -> Fits:
    """Fits the probe to all subsets, seeds and folds.

    Args:
      z: (n, p) columns in lattice order, standardised over the table.
      y: (n, t).
      tasks: first target of each task and the one after its last; each has a penalty of its own.
      loss: of predictions and targets, by which penalties are chosen.
      at_once: folds side by side.
    """
    n = len(z)

    def of_subset(columns: np.ndarray, held_out: Array, tested: Array, grid: Array, groups):
        """Predictions (h, t), penalties (t,) and inner losses (t,) of one fold."""
        x = z[:, columns]

        def predict(left_out: Array, rows: Array, penalty: Array) -> Array:
            """Of rows (h,), from all rows that are not marked in (n,)."""
            weights = jnp.where(left_out, 0.0, 1.0)
            own = x if groups is None else _standardised(x, weights)
            x_test = jnp.take(own, rows, axis=0, mode="fill", fill_value=0)
            return probe(own, y, weights, x_test, penalty)

        outside = jnp.zeros(n, bool).at[held_out].set(True, mode="drop")
        if groups is None:
            penalty = jnp.broadcast_to(grid[0], y.shape[1])
            return predict(outside, tested, grid[0]), penalty, jnp.zeros(y.shape[1])

        def inner(arguments) -> Array:
            """(t,) losses of one group with one penalty."""
            rows, penalty = arguments
            left_out = outside.at[rows].set(True, mode="drop")
            truth = jnp.take(y, rows, axis=0, mode="fill", fill_value=0)
            lost = loss(predict(left_out, rows, penalty), truth)
            return jnp.where((rows < n)[:, None], lost, 0).sum(0)

        def total(penalty: Array) -> Array:
            return lax.map(lambda rows: inner((rows, penalty)), groups).sum(0)

        losses = lax.map(total, grid)  # (l, t)
        predictions, chosen, least = [], [], []
        for start, stop in tasks:
            of_task = losses[:, start:stop].sum(1)
            best = jnp.argmin(jnp.where(jnp.isnan(of_task), jnp.inf, of_task))
            predictions.append(predict(outside, tested, grid[best])[:, start:stop])
            chosen.append(jnp.broadcast_to(grid[best], stop - start))
            least.append(losses[best, start:stop])
        return tuple(jnp.concatenate(own, axis=-1) for own in (predictions, chosen, least))

    def fold(arguments):
        found = [
            of_subset(np.array(lattice.columns(subset)), *arguments) for subset in lattice.subsets
        ]
        predictions, chosen, least = zip(*found, strict=True)
        return jnp.stack(predictions, 1), jnp.stack(chosen), jnp.stack(least)

    side_by_side = at_once if at_once > 1 else None
    seeds = lax.map(lambda own: lax.map(fold, own, batch_size=side_by_side), tuple(folds))
    predictions, chosen, least = seeds
    return Fits(predictions, *((None, None) if folds.groups is None else (chosen, least)))


def _standardised(x: Array, weights: Array) -> Array:
    """Columns (n, p) in z-scores of the rows of weight 1; 0 where they are constant there."""
    count = weights.sum()
    mean = weights @ x / count
    centred = x - mean
    centred = centred - weights @ centred / count  # what rounding left in the mean
    variance = weights @ centred**2 / count
    constant = gram.is_constant(mean, variance, count)
    return jnp.where(constant, 0, centred / jnp.sqrt(jnp.where(constant, 1, variance)))
