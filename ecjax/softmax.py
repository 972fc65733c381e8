"""The objective of multinomial logistic regression, for a batch of problems that share their rows.

For a problem with m training rows, as scikit-learn's `LogisticRegression(C)` divided by C·m:

    f(W, b) = (1/m) Σᵢ [logsumexp(zᵢ) − zᵢ,yᵢ] + ‖W‖² / (2·C·m),   zᵢ = W xᵢ + b,  b not penalised.

Two classes are fitted as scikit-learn does, with one coefficient vector w: that is the softmax form
at W = (−w/2, w/2), whose penalty is half as large, so λ is doubled. Its gradient in w equals the
gradient in W's second row, so one convergence test serves both.

Axes: b problems (folds), c classes, n rows, p columns with the intercept's column of ones last.
Columns x are stored (p, n): both products with them are then fast on a CPU.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ecjax.gram import matmul


class Scaling(NamedTuple):
    """z-scores (x − μ)/d of each problem, without a copy of x for each.

    Weights V on x are W = V·d on the z-scores, with the intercept b + V·μ. So the penalty is
    λ‖V·d‖², and the gradient in W is (∂f/∂V − μ·∂f/∂b)/d. A column that is constant among a
    problem's rows keeps weight 0.

    Attributes:
      mean: (b, p) μ, 0 for the intercept.
      inverse: (b, p) 1/d, 1 for the intercept, 0 for constant columns.
      square: (b, p) d², 0 for the intercept and for constant columns.
    """

    mean: Array
    inverse: Array
    square: Array


class Problem(NamedTuple):
    """What a batch of fits shares: everything but the columns of x.

    Attributes:
      onehot: (c, n) indicator of each row's class.
      weights: (b, n) 1/m on the m training rows of a problem, else 0.
      present: (b, c) whether a class occurs in the training rows.
      penalty: (b,) λ = 1/(C·m), doubled where two classes are present.
      scaling: of the columns by each problem's own rows; None: the columns are scaled as they are.
    """

    onehot: Array
    weights: Array
    present: Array
    penalty: Array
    scaling: Scaling | None = None


class Pass(NamedTuple):
    """What one pass over the logits gives.

    Attributes:
      loss: (b,) mean log-loss of the training rows.
      residuals: (b, c, n) weighted probability less indicator; XᵀR is the gradient of the loss.
    """

    loss: Array
    residuals: Array


def make_problem(labels: Array, classes: int, training: Array, logistic_c: Array, dtype) -> Problem:
    """Builds the shared part from labels (n,) and training rows (b, n).

    A problem without training rows is solved by zero.
    """
    onehot = (labels[None, :] == jnp.arange(classes)[:, None]).astype(dtype)
    training = training.astype(dtype)
    rows = jnp.maximum(training.sum(1), 1)
    present = matmul(training, onehot.T) > 0
    doubled = jnp.where(present.sum(1) == 2, 2.0, 1.0)
    return Problem(
        onehot, training / rows[:, None], present, (doubled / (logistic_c * rows)).astype(dtype)
    )


def cast(tree, dtype):
    """The arrays of a tree with floating-point ones in another precision."""
    return jax.tree.map(
        lambda a: a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree
    )


def inner(a: Array, b: Array) -> Array:
    """Inner products of two batches (b, c, p): (b,)."""
    return (a * b).sum((1, 2))


def centre(directions: Array, present: Array) -> Array:
    """Subtracts the mean over the present classes; softmax does not see it, but L-BFGS would."""
    shown = jnp.where(present[:, :, None], directions, 0.0)
    mean = shown.sum(1, keepdims=True) / jnp.maximum(present.sum(1), 1)[:, None, None]
    return jnp.where(present[:, :, None], shown - mean.astype(shown.dtype), 0.0)


def logits_of(x: Array, weights: Array) -> Array:
    """Logits W x of all rows: (b, c, n)."""
    b, c, p = weights.shape
    return matmul(weights.reshape(b * c, p), x).reshape(b, c, -1)


def penalised(x: Array) -> Array:
    """(p,) one for coefficients, zero for the intercept, which is last."""
    return jnp.ones(len(x), x.dtype).at[-1].set(0.0)


def penalty_weights(x: Array, problem: Problem) -> Array:
    """What the squares of weights (b, c, p) count in the penalty."""
    if problem.scaling is None:
        return penalised(x)
    return problem.scaling.square[:, None]


def movable(directions: Array, problem: Problem) -> Array:
    """Directions (b, c, p) that leave columns constant among a problem's rows alone."""
    if problem.scaling is None:
        return directions
    return jnp.where(problem.scaling.inverse[:, None] > 0, directions, 0)


def largest_entry(gradient: Array, problem: Problem) -> Array:
    """(b,) largest absolute entry of a gradient (b, c, p), in the problem's own z-scores."""
    if problem.scaling is not None:
        of_intercept = gradient[:, :, -1:] * problem.scaling.mean[:, None]
        gradient = (gradient - of_intercept) * problem.scaling.inverse[:, None]
    return jnp.abs(gradient).max((1, 2))


def forward(logits: Array, problem: Problem) -> Pass:
    """Losses and residuals at logits (b, c, n), those of absent classes whatever they are."""
    shown = jnp.where(problem.present[:, :, None], logits, -jnp.inf)
    top = shown.max(1, keepdims=True)
    top = jnp.where(jnp.isfinite(top), top, 0.0)
    powers = jnp.exp(shown - top)
    total = powers.sum(1, keepdims=True)
    training = problem.weights > 0
    own = jnp.where(problem.onehot > 0, logits - top, 0.0).sum(1)
    loss = jnp.where(training, jnp.log(total[:, 0]) - own, 0.0) * problem.weights
    residuals = (powers / total - problem.onehot) * problem.weights[:, None]
    # Summed in double precision: near the solution a step gains less than single precision shows.
    loss = loss.astype(jnp.result_type(float)).sum(1)
    return Pass(loss, jnp.where(training[:, None], residuals, 0.0))


def gradient_of(x: Array, weights: Array, residuals: Array, problem: Problem) -> Array:
    """Gradient of f at W, whose residuals are given: (b, c, p)."""
    b, c, p = weights.shape
    data = matmul(residuals.reshape(b * c, -1), x.T).reshape(b, c, p)
    pull = problem.penalty[:, None, None] * penalty_weights(x, problem) * weights
    return movable(data + pull, problem)


def probabilities_of(logits: Array, present: Array) -> Array:
    """Probabilities (b, c, n), absent classes 0."""
    return jax.nn.softmax(jnp.where(present[:, :, None], logits, -jnp.inf), axis=1)
