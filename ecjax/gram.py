"""Standardised columns and the moments of training rows.

Axes: n rows, p columns, t targets, k folds, h held-out rows of a fold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

PRECISION = lax.Precision.HIGHEST
PANEL = 256  # columns
MOST_KEPT = 4  # folds' moments are kept where they are no larger than so many times the table


def matmul(a: Array, b: Array) -> Array:
    """Matrix product at full precision: a GPU must never fall back to TF32."""
    return jnp.matmul(a, b, precision=PRECISION)


def standardise(x: Array) -> tuple[Array, Array]:
    """z-scores over all rows (population deviation, ddof 0), as scikit-learn's StandardScaler.

    Args:
      x: (n, p).

    Returns:
      (n, p) standardised columns, and (p,) deviations. A constant column, by scikit-learn's test
      (its variance is no larger than rounding makes it), becomes zeros with deviation 0.
    """
    mean = jnp.mean(x, axis=0)
    centred = x - mean
    # The second pass removes what rounding left in the mean of columns with a large offset.
    centred = centred - jnp.mean(centred, axis=0)
    variance = jnp.mean(centred**2, axis=0)
    constant = is_constant(mean, variance, x.shape[0])
    scale = jnp.where(constant, 1.0, jnp.sqrt(variance))
    z = jnp.where(constant, 0.0, centred / scale)
    return z, jnp.where(constant, 0.0, scale)


def is_constant(mean: Array, variance: Array, n: int) -> Array:
    """Whether columns of n rows are constant, by scikit-learn's test; JAX's or NumPy's arrays."""
    eps = jnp.finfo(mean.dtype).eps
    return variance <= n * eps * variance + (n * eps * mean) ** 2


class Moments(NamedTuple):
    """Sums over rows: count (), x (p,), y (t,), xx (p, p) lower triangle only, xy (p, t)."""

    count: Array
    x: Array
    y: Array
    xx: Array
    xy: Array


def lower_gram(x: Array) -> Array:
    """The lower triangle of XᵀX for x (n, p); what stands above the diagonal is of no use.

    Panels of rows end at the diagonal, which saves nearly half of the products.
    """
    p = x.shape[1]
    # Without the barrier a CPU multiplies by the transposed rows as they lie, at a third of the
    # rate.
    rows = lax.optimization_barrier(x.T)
    panels = []
    for start in range(0, p, PANEL):
        stop = min(start + PANEL, p)
        panel = matmul(rows[start:stop], x[:, :stop])
        panels.append(jnp.pad(panel, ((0, 0), (0, p - stop))))
    return jnp.concatenate(panels)


def moments(x: Array, y: Array, count: Array) -> Moments:
    """Moments of the rows of x (n, p) and y (n, t); rows that do not count must be zero."""
    return Moments(count, x.sum(0), y.sum(0), lower_gram(x), matmul(x.T, y))


def keeps_moments(p: int, folds: int, n: int) -> bool:
    """Whether `over_folds` keeps every fold's moments."""
    return folds * p <= MOST_KEPT * n


def over_folds(
    moments_of: Callable[[Array], Moments], folds: int, n: int, total: Moments | None = None
):
    """Moments of the whole table, and a function that gives those of a fold.

    A fold's moments are kept where all of them together are no more than a few tables of n rows;
    else they are computed again when they are needed.

    Args:
      moments_of: of a fold, by its number ().
      total: of the whole table, where that is not the sum over the folds.
    """
    p = jax.eval_shape(moments_of, jnp.zeros((), int)).x.shape[0]
    numbers = jnp.arange(folds)
    if keeps_moments(p, folds, n):
        kept = lax.map(moments_of, numbers)
        if total is None:
            total = jax.tree.map(lambda a: a.sum(0), kept)
        return total, lambda fold: jax.tree.map(lambda a: a[fold], kept)

    if total is not None:
        return total, moments_of

    def add(total: Moments, fold: Array):
        return jax.tree.map(jnp.add, total, moments_of(fold)), None

    nothing = jax.tree.map(jnp.zeros_like, jax.eval_shape(moments_of, numbers[0]))
    return lax.scan(add, nothing, numbers)[0], moments_of


def training_system(total: Moments, held_out: Moments) -> tuple[Array, Array, Array, Array]:
    """Centred normal equations of the training rows: the whole table less the held-out rows.

    Returns:
      gram (p, p) and rhs (p, t) about the training means, and those means (p,) and (t,).
    """
    count = total.count - held_out.count
    mean_x = (total.x - held_out.x) / count
    mean_y = (total.y - held_out.y) / count
    gram = total.xx - held_out.xx - count * mean_x[:, None] * mean_x[None, :]
    rhs = total.xy - held_out.xy - count * mean_x[:, None] * mean_y[None, :]
    return gram, rhs, mean_x, mean_y
