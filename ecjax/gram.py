"""Standardised columns and the moments of training rows.

Axes: n rows, p columns, t targets, k folds, h held-out rows of a fold.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

PRECISION = lax.Precision.HIGHEST


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
    n = x.shape[0]
    mean = jnp.mean(x, axis=0)
    centred = x - mean
    # The second pass removes what rounding left in the mean of columns with a large offset.
    centred = centred - jnp.mean(centred, axis=0)
    variance = jnp.mean(centred**2, axis=0)
    eps = jnp.finfo(x.dtype).eps
    constant = variance <= n * eps * variance + (n * eps * mean) ** 2
    scale = jnp.where(constant, 1.0, jnp.sqrt(variance))
    z = jnp.where(constant, 0.0, centred / scale)
    return z, jnp.where(constant, 0.0, scale)


class Moments(NamedTuple):
    """Sums over rows: count (), x (p,), y (t,), xx (p, p), xy (p, t)."""

    count: Array
    x: Array
    y: Array
    xx: Array
    xy: Array


def moments(x: Array, y: Array, count: Array) -> Moments:
    """Moments of the rows of x (n, p) and y (n, t); rows that do not count must be zero."""
    return Moments(count, x.sum(0), y.sum(0), matmul(x.T, x), matmul(x.T, y))


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
