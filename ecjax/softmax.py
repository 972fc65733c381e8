"""The objective of multinomial logistic regression, for a batch of problems that share their rows.

For a problem with m training rows, as scikit-learn's `LogisticRegression(C)` divided by C·m:

    f(W, b) = (1/m) Σᵢ [logsumexp(zᵢ) − zᵢ,yᵢ] + ‖W‖² / (2·C·m),   zᵢ = W xᵢ + b,  b not penalised.

Two classes are fitted as scikit-learn does, with one coefficient vector w: that is the softmax form
at W = (−w/2, w/2), whose penalty is half as large, so λ is doubled. Its gradient in w equals the
gradient in W's second row, so one convergence test serves both.

Axes: b problems (folds), c classes, n rows, p columns with the intercept's column of ones last.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from ecjax.gram import matmul


class Problem(NamedTuple):
    """What a batch of fits shares: everything but the columns of x.

    Attributes:
      onehot: (c, n) indicator of each row's class.
      weights: (b, n) 1/m on the m training rows of a problem, else 0.
      present: (b, c) whether a class occurs in the training rows.
      penalty: (b,) λ = 1/(C·m), doubled where two classes are present.
    """

    onehot: Array
    weights: Array
    present: Array
    penalty: Array


def make_problem(labels: Array, classes: int, training: Array, logistic_c: Array, dtype) -> Problem:
    """Builds the shared part from labels (n,) and training rows (b, n)."""
    onehot = (labels[None, :] == jnp.arange(classes)[:, None]).astype(dtype)
    training = training.astype(dtype)
    rows = training.sum(1)
    present = matmul(training, onehot.T) > 0
    doubled = jnp.where(present.sum(1) == 2, 2.0, 1.0)
    return Problem(
        onehot, training / rows[:, None], present, (doubled / (logistic_c * rows)).astype(dtype)
    )


def inner(a: Array, b: Array) -> Array:
    """Inner products of two batches (b, c, p): (b,)."""
    return (a * b).sum((1, 2))


def centre(directions: Array, present: Array) -> Array:
    """Subtracts the mean over the present classes; softmax does not see it, but L-BFGS would."""
    shown = jnp.where(present[:, :, None], directions, 0.0)
    mean = shown.sum(1, keepdims=True) / present.sum(1)[:, None, None]
    return jnp.where(present[:, :, None], shown - mean, 0.0)


def logits_of(x: Array, weights: Array) -> Array:
    """Logits W x of all rows: (b, c, n)."""
    b, c, p = weights.shape
    return matmul(weights.reshape(b * c, p), x.T).reshape(b, c, -1)


def probabilities_of(logits: Array, present: Array) -> tuple[Array, Array]:
    """Probabilities (b, c, n), absent classes 0, and log-normalisers (b, n)."""
    shown = jnp.where(present[:, :, None], logits, -jnp.inf)
    top = shown.max(1, keepdims=True)
    powers = jnp.exp(shown - top)
    total = powers.sum(1, keepdims=True)
    return powers / total, (jnp.log(total) + top)[:, 0]


def penalised(x: Array) -> Array:
    """(p,) one for coefficients, zero for the intercept, which is last."""
    return jnp.ones(x.shape[1], x.dtype).at[-1].set(0.0)


def gradient_of(x: Array, weights: Array, logits: Array, problem: Problem) -> Array:
    """Gradient of f at W, whose logits are given: (b, c, p)."""
    b, c, p = weights.shape
    probabilities, _ = probabilities_of(logits, problem.present)
    residuals = (probabilities - problem.onehot) * problem.weights[:, None, :]
    data = matmul(residuals.reshape(b * c, -1), x).reshape(b, c, p)
    return data + problem.penalty[:, None, None] * penalised(x) * weights


def along(step, logits, turn, quadratic, problem: Problem):
    """Value, slope and curvature of f at W + t·D from carried logits z + t·(D x); each (b,).

    quadratic: ‖W‖², W·D and ‖D‖², without intercepts.
    """
    moved = logits + step[:, None, None] * turn
    probabilities, normaliser = probabilities_of(moved, problem.present)
    mean_turn = (probabilities * turn).sum(1)
    square = (probabilities * turn * turn).sum(1) - mean_turn**2
    ww, wd, dd = quadratic
    loss = normaliser - (moved * problem.onehot).sum(1)
    slope = mean_turn - (turn * problem.onehot).sum(1)
    w = problem.weights
    value = (w * loss).sum(1) + 0.5 * problem.penalty * (ww + 2 * step * wd + step**2 * dd)
    return (
        value,
        (w * slope).sum(1) + problem.penalty * (wd + step * dd),
        (w * square).sum(1) + problem.penalty * dd,
    )
