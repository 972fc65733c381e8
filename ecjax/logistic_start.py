"""What a logistic fit sets out with: the best mixture of two earlier fits, and preconditioners.

Whole-table quantities may shape the steps, through the preconditioners, but never the start: a fold
starts from zero or from fits on its own training rows, so that stopping early cannot leak its
held-out labels.

Axes: b problems (folds of all seeds), c classes, n rows, p columns, the intercept's last.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from ecjax.gram import PRECISION, matmul
from ecjax.lbfgs import Preconditioner, begin, minimise
from ecjax.softmax import (
    Problem,
    forward,
    logits_of,
    penalised,
    penalty_weights,
    probabilities_of,
)

LEAST_CURVATURE = 1e-4  # of a row in a class block: rows that are certain now may not stay so
START_TRIALS = 8
START_GAIN = 1e-3  # relative decrease below which the search for a start ends


def _inverse(matrix: Array) -> Array:
    """Inverse of a symmetric positive definite matrix (p, p), by its Cholesky factor."""
    p = matrix.shape[0]
    # What rounding may take from the smallest eigenvalue is added first; that slows, at worst.
    floor = jnp.finfo(matrix.dtype).eps * p * jnp.diagonal(matrix).max()
    identity = jnp.eye(p, dtype=matrix.dtype)
    factor = jnp.linalg.cholesky(matrix + floor * identity, symmetrize_input=False)
    half = lax.linalg.triangular_solve(factor, identity, left_side=True, lower=True)
    return matmul(half.T, half)


def _ridge_preconditioner(x: Array, onehot: Array, penalty: Array) -> Preconditioner:
    """Inverse Hessians at zero, π(1 − π)·XᵀX/n + λI, all from one factor.

    The classes share the average curvature in λ/π(1 − π) and keep their own in the scale.
    """
    n = x.shape[1]
    share = jnp.clip(onehot.mean(1), 1.0 / n, 1.0 - 1.0 / n)
    curvature = share * (1 - share)
    shift = penalty / curvature.mean() * penalised(x)
    return Preconditioner(_inverse(matmul(x, x.T) / n + jnp.diag(shift))[None], 1 / curvature)


def _class_preconditioner(x: Array, probabilities: Array, penalty: Array) -> Preconditioner:
    """Inverses of the Hessian's diagonal blocks, Xᵀ diag(p_c(1 − p_c)) X/n + λI.

    probabilities: (c, n) of a fit of the whole table.
    """
    n = x.shape[1]
    shift = jnp.diag(penalty * penalised(x))

    def block(p: Array) -> Array:
        curvature = jnp.maximum(p * (1 - p), LEAST_CURVATURE) / n
        return _inverse(matmul(x * curvature, x.T) + shift)

    return Preconditioner(lax.map(block, probabilities), jnp.ones(len(probabilities), x.dtype))


class _Search(NamedTuple):
    mixture: Array  # (b, 2)
    value: Array
    step: Array
    length: Array
    running: Array
    count: Array


def combine_parents(parents: Array, x: Array, problem: Problem) -> Array:
    """The best a·W₁ + b·W₂ of two fits on the same training rows; no matrix product per trial.

    Args:
      parents: (2, b, c, p); zeros stand for "no parent".

    Returns:
      (b, c, p) start, never worse than zero.
    """
    b = parents.shape[1]
    flat = (parents * jnp.sqrt(penalty_weights(x, problem))).reshape(2, b, -1)
    norms = jnp.einsum("ibk,jbk->bij", flat, flat, precision=PRECISION)
    logits = jnp.stack([logits_of(x, parents[0]), logits_of(x, parents[1])])  # (2, b, c, n)

    def evaluate(mixture: Array):
        mixed = mixture[:, 0, None, None] * logits[0] + mixture[:, 1, None, None] * logits[1]
        loss, residuals = forward(mixed, problem)
        pull = jnp.einsum("bij,bj->bi", norms, mixture, precision=PRECISION)
        value = loss + 0.5 * problem.penalty * (pull * mixture).sum(1)
        slope = jnp.einsum("bcn,ibcn->bi", residuals, logits, precision=PRECISION)
        slope = slope + problem.penalty[:, None] * pull
        share = residuals + problem.onehot * problem.weights[:, None]  # weighted probabilities
        weighted = share * logits  # (2, b, c, n)
        second = jnp.einsum("ibcn,jbcn->bij", weighted, logits, precision=PRECISION)
        means = weighted.sum(2)
        safe = jnp.where(problem.weights > 0, problem.weights, 1.0)
        second = second - jnp.einsum("ibn,jbn->bij", means, means / safe, precision=PRECISION)
        return value, slope, second + problem.penalty[:, None, None] * norms

    def newton(slope: Array, hessian: Array) -> Array:
        a, d = hessian[:, 0, 0] + 1e-12, hessian[:, 1, 1] + 1e-12
        off = hessian[:, 0, 1]
        determinant = jnp.maximum(a * d - off * off, 1e-6 * a * d)
        first = d * slope[:, 0] - off * slope[:, 1]
        second = a * slope[:, 1] - off * slope[:, 0]
        return -jnp.stack([first, second], 1) / determinant[:, None]

    def trial(s: _Search) -> _Search:
        proposal = s.mixture + s.length[:, None] * s.step
        value, slope, hessian = evaluate(proposal)
        better = value < s.value
        running = s.running & ~(better & (s.value - value < START_GAIN * jnp.abs(value)))
        return _Search(
            jnp.where(better[:, None], proposal, s.mixture),
            jnp.where(better, value, s.value),
            jnp.where(better[:, None], newton(slope, hessian), s.step),
            jnp.where(better, 1.0, 0.25 * s.length).astype(x.dtype),
            running,
            s.count + 1,
        )

    zero = jnp.zeros((b, 2), x.dtype)
    value, slope, hessian = evaluate(zero)
    some = (parents != 0).any((0, 2, 3))
    start = _Search(zero, value, newton(slope, hessian), jnp.ones(b, x.dtype), some, 0)
    found = lax.while_loop(
        lambda s: s.running.any() & (s.count < START_TRIALS), trial, start
    ).mixture.T
    return found[0, :, None, None] * parents[0] + found[1, :, None, None] * parents[1]


def make_preconditioners(
    x: Array, whole: Problem, parents: Array, until: Array
) -> tuple[tuple[Preconditioner, Preconditioner], Array]:
    """Both preconditioners and the whole-table weights (c, p), in single precision.

    They shape the steps and not the result, so that single precision costs nothing but steps.

    Args:
      x: (p, n) columns; whole: the problem of all rows.
      parents: (2, 1, c, p) fits of the whole table to start from.
      until: () gradient norm of the fit that shapes the class blocks.
    """
    ridge = _ridge_preconditioner(x, whole.onehot, whole.penalty[0])
    start = begin(x, whole, combine_parents(parents, x, whole), ridge)
    table = minimise(x, whole, start, ridge, until)
    probabilities = probabilities_of(table.logits, whole.present)[0]
    blocks = _class_preconditioner(x, probabilities, whole.penalty[0])
    return (ridge, blocks), table.weights[0]
