"""L-BFGS on a batch of logistic problems, with exact line searches on carried logits.

A step costs one pair of matrix products: the logits of the direction, and the gradient at the end.
The line search between them needs none, because logits are linear in the weights.
Axes as in `softmax`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from ecjax.gram import PRECISION
from ecjax.softmax import Problem, along, centre, gradient_of, inner, logits_of, penalised

HISTORY = 10  # pairs kept; 20 gains nothing on real crops
MAX_ITERATIONS = 1000
LINE_SEARCH_TRIALS = 20
MAX_FIRST_STEP = 10.0
CURVATURE = 0.1  # the slope's remaining share: a near-exact search saves matrix products


class Fit(NamedTuple):
    """Fits of a batch.

    Attributes:
      weights: (b, c, p) coefficients, the intercept last; zero for absent classes.
      logits: (b, c, n) of all rows; −inf for absent classes.
      gradient_norm: (b,) largest absolute entry of the gradient, recomputed from the weights.
      iterations: (b,) pairs of matrix products taken.
    """

    weights: Array
    logits: Array
    gradient_norm: Array
    iterations: Array


def _line_search(logits, turn, quadratic, problem: Problem, active) -> Array:
    """Newton's method along the direction, kept inside a shrinking bracket; steps (b,).

    A step must decrease f as well as flatten its slope: from zero, slope alone diverges.
    """
    zero = jnp.zeros_like(problem.penalty)
    value0, slope0, curvature0 = along(zero, logits, turn, quadratic, problem)
    slack = 1e-12 * jnp.abs(value0)

    def trial(state):
        step, low, high, done, count = state
        value, slope, curvature = along(step, logits, turn, quadratic, problem)
        decreased = value <= value0 + 1e-4 * step * slope0 + slack
        done = done | (decreased & (jnp.abs(slope) <= CURVATURE * jnp.abs(slope0)))
        low = jnp.where((slope < 0) & decreased, step, low)
        high = jnp.where((slope >= 0) | ~decreased, step, high)
        newton = step - slope / jnp.maximum(curvature, jnp.finfo(step.dtype).tiny)
        midpoint = jnp.where(jnp.isinf(high), 2 * step, 0.5 * (low + high))
        proposal = jnp.where((newton > low) & (newton < high), newton, midpoint)
        return jnp.where(done, step, proposal), low, high, done, count + 1

    first = -slope0 / jnp.maximum(curvature0, jnp.finfo(zero.dtype).tiny)
    start = (jnp.minimum(first, MAX_FIRST_STEP), zero, zero + jnp.inf, ~active, 0)
    step, low, _, done, _ = lax.while_loop(
        lambda state: (~state[3]).any() & (state[4] < LINE_SEARCH_TRIALS), trial, start
    )
    # `low` always decreased f, so an exhausted search still takes a safe step.
    return jnp.where(active, jnp.where(done, step, low), 0.0)


class _State(NamedTuple):
    weights: Array
    logits: Array
    gradient: Array
    pairs_s: Array  # (HISTORY, b, c, p) steps
    pairs_y: Array  # (HISTORY, b, c, p) changes of the gradient
    rho: Array  # (HISTORY, b) 1/(s·y), 0 where there is no pair
    stalled: Array
    iterations: Array
    count: Array


def _direction(state: _State, preconditioner: Array, present: Array) -> Array:
    """L-BFGS two-loop recursion; the preconditioner (c, p, p) is the initial inverse Hessian."""

    def backward(i, carry):
        q, alphas = carry
        j = (state.count - 1 - i) % HISTORY
        alpha = state.rho[j] * inner(state.pairs_s[j], q)
        return q - alpha[:, None, None] * state.pairs_y[j], alphas.at[j].set(alpha)

    def forward(i, r):
        j = (state.count + i) % HISTORY
        beta = state.rho[j] * inner(state.pairs_y[j], r)
        return r + (alphas[j] - beta)[:, None, None] * state.pairs_s[j]

    q, alphas = lax.fori_loop(0, HISTORY, backward, (state.gradient, jnp.zeros_like(state.rho)))
    r = lax.dot_general(
        preconditioner,
        q.astype(preconditioner.dtype),
        (((2,), (2,)), ((0,), (1,))),
        precision=PRECISION,
    )  # (c, p, b)
    r = centre(r.transpose(2, 0, 1).astype(q.dtype), present)
    return -lax.fori_loop(0, HISTORY, forward, r)


def minimise(
    x: Array, problem: Problem, start: Array, preconditioner: Array, tolerance: Array
) -> Fit:
    """Minimises all problems of a batch until each has ‖gradient‖∞ ≤ tolerance or stalls.

    Args:
      x: (n, p) with the column of ones last.
      start: (b, c, p), class-centred.
      preconditioner: (c, p, p), symmetric positive definite for every class.
      tolerance: ().
    """
    mask = penalised(x)

    def active(state: _State) -> Array:
        return (jnp.abs(state.gradient).max((1, 2)) > tolerance) & ~state.stalled

    def advance(state: _State) -> _State:
        going = active(state)
        d = _direction(state, preconditioner, problem.present)
        turn = logits_of(x, d)
        w_in, d_in = state.weights * mask, d * mask
        quadratic = (inner(w_in, w_in), inner(w_in, d_in), inner(d_in, d_in))
        step = _line_search(state.logits, turn, quadratic, problem, going)[:, None, None]
        weights = state.weights + step * d
        logits = state.logits + step * turn
        gradient = gradient_of(x, weights, logits, problem)
        s, y = step * d, gradient - state.gradient
        sy = inner(s, y)
        slot = state.count % HISTORY
        return _State(
            weights,
            logits,
            gradient,
            state.pairs_s.at[slot].set(s),
            state.pairs_y.at[slot].set(y),
            state.rho.at[slot].set(jnp.where(sy > 0, 1 / jnp.where(sy > 0, sy, 1.0), 0.0)),
            state.stalled | (going & (step[:, 0, 0] == 0)),
            state.iterations + going,
            state.count + 1,
        )

    b = start.shape[0]
    logits = logits_of(x, start)
    pairs = jnp.zeros((HISTORY, *start.shape), start.dtype)
    state = _State(
        start,
        logits,
        gradient_of(x, start, logits, problem),
        pairs,
        pairs,
        jnp.zeros((HISTORY, b), start.dtype),
        jnp.zeros(b, bool),
        jnp.zeros(b, jnp.int32),
        jnp.zeros((), jnp.int32),
    )
    state = lax.while_loop(lambda s: active(s).any() & (s.count < MAX_ITERATIONS), advance, state)
    return Fit(state.weights, state.logits, jnp.abs(state.gradient).max((1, 2)), state.iterations)
