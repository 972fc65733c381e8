"""L-BFGS on a batch of logistic problems, with line searches on carried logits.

A step costs one pair of matrix products: the logits of the direction, and the gradient at the end.
The line search between them needs none, because logits are linear in the weights.

The memory is kept in its compact form (Byrd, Nocedal & Schnabel 1994, theorem 2.2): with steps S,
changes of the gradient Y, V = H₀Y for the preconditioner H₀, R the upper triangle of SᵀY in order
of age and D its diagonal,

    H g = H₀ g + S R⁻ᵀ[(D + YᵀV) R⁻¹ Sᵀg − Vᵀg] − V R⁻¹ Sᵀg,

so that a direction takes two products with S and V, and H₀ is applied once a step. R⁻¹ is updated,
never solved for: forgetting the oldest pair clears its row and column, and a new pair adds one
column. Axes as in `softmax`; h pairs.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from ecjax.gram import PRECISION
from ecjax.softmax import (
    Problem,
    centre,
    forward,
    gradient_of,
    inner,
    largest_entry,
    logits_of,
    movable,
    penalty_weights,
)

HISTORY = 10  # pairs kept; 20 gain nothing on real crops, 5 cost one product in ten
MAX_ITERATIONS = 1000
LINE_SEARCH_TRIALS = 12
DECREASE = 1e-4
CURVATURE = 0.3  # the slope's remaining share: 0.1 saves no matrix products, 0.9 costs some
LOSS_NOISE = {"float32": 1e-6, "float64": 1e-12}  # a relative increase that rounding may make


class Memory(NamedTuple):
    """The pairs, in slots that are used in turn; an empty slot is zero.

    Attributes:
      steps, changes: (b, h, c·p) S and V.
      products: (b, h, h) YᵀV.
      inverse: (b, h, h) R⁻¹.
      diagonal: (b, h) D.
    """

    steps: Array
    changes: Array
    products: Array
    inverse: Array
    diagonal: Array

    def forget(self, which: Array) -> Memory:
        """The memory without the pairs of some problems (b,): without R⁻¹ no pair has effect."""
        return self._replace(
            inverse=jnp.where(which[:, None, None], 0, self.inverse),
            diagonal=jnp.where(which[:, None], 0, self.diagonal),
        )

    def oldest_first(self, count: Array) -> Memory:
        """The same pairs, in slots that are used from the first on again."""
        turn = -count
        return Memory(
            jnp.roll(self.steps, turn, 1),
            jnp.roll(self.changes, turn, 1),
            jnp.roll(self.products, (turn, turn), (1, 2)),
            jnp.roll(self.inverse, (turn, turn), (1, 2)),
            jnp.roll(self.diagonal, turn, 1),
        )


class State(NamedTuple):
    """Where a batch of fits stands.

    Attributes:
      weights: (b, c, p) coefficients, the intercept last; zero for absent classes.
      logits: (b, c, n) of all rows.
      loss: (b,) mean log-loss of the training rows.
      gradient, scaled: (b, c, p) the gradient, and H₀ times it.
      gradient_norm: (b,) its largest absolute entry, see `softmax.largest_entry`.
      stalled: (b,) no further decrease can be found.
      iterations: (b,) pairs of matrix products taken.
      count: () steps taken since the memory was cleared.
    """

    weights: Array
    logits: Array
    loss: Array
    gradient: Array
    scaled: Array
    gradient_norm: Array
    memory: Memory
    stalled: Array
    iterations: Array
    count: Array


class Preconditioner(NamedTuple):
    """H₀, an inverse Hessian of each class up to cross terms.

    Attributes:
      inverse: (c, p, p), or (1, p, p) where the classes share it.
      scale: (c,) what a class's inverse is multiplied by.
    """

    inverse: Array
    scale: Array


def precondition(preconditioner: Preconditioner, gradient: Array, problem: Problem) -> Array:
    """H₀ times the gradient (b, c, p), class-centred."""
    inverse = preconditioner.inverse
    if len(inverse) == 1:
        scaled = jnp.matmul(gradient.astype(inverse.dtype), inverse[0], precision=PRECISION)
    else:
        scaled = lax.dot_general(
            inverse,
            gradient.astype(inverse.dtype),
            (((2,), (2,)), ((0,), (1,))),
            precision=PRECISION,
        ).transpose(2, 0, 1)
    scaled = scaled * preconditioner.scale[:, None]
    return movable(centre(scaled.astype(gradient.dtype), problem.present), problem)


def begin(x: Array, problem: Problem, weights: Array, preconditioner: Preconditioner) -> State:
    """The state at given weights, with an empty memory."""
    b, c, p = weights.shape
    logits = logits_of(x, weights)
    loss, residuals = forward(logits, problem)
    gradient = gradient_of(x, weights, residuals, problem)
    none = jnp.zeros((b, HISTORY, c * p), x.dtype)
    square = jnp.zeros((b, HISTORY, HISTORY), x.dtype)
    return State(
        weights,
        logits,
        loss,
        gradient,
        precondition(preconditioner, gradient, problem),
        largest_entry(gradient, problem),
        Memory(none, none, square, square, square[:, 0]),
        jnp.zeros(b, bool),
        jnp.zeros(b, jnp.int32),
        jnp.zeros((), jnp.int32),
    )


def _dot(spec: str, a: Array, b: Array) -> Array:
    return jnp.einsum(spec, a, b, precision=PRECISION)


def _direction(state: State) -> Array:
    """−H g."""
    memory, shape = state.memory, state.gradient.shape
    flat = state.gradient.reshape(shape[0], -1)
    w = _dot("bij,bj->bi", memory.inverse, _dot("bhk,bk->bh", memory.steps, flat))
    right = memory.diagonal * w + _dot("bij,bj->bi", memory.products, w)
    right = right - _dot("bhk,bk->bh", memory.changes, flat)
    along_steps = _dot("bji,bj->bi", memory.inverse, right)
    recalled = _dot("bh,bhk->bk", along_steps, memory.steps)
    recalled = recalled - _dot("bh,bhk->bk", w, memory.changes)
    return -(state.scaled + recalled.reshape(shape))


def _remember(memory: Memory, slot: Array, step, change, scaled_change) -> Memory:
    """Puts a pair s, y, H₀y, each (b, c, p), into a slot; a pair without curvature leaves zeros."""
    b = step.shape[0]
    sy = inner(step, change)
    keep = sy > 0
    s, y, v = (jnp.where(keep[:, None], a.reshape(b, -1), 0) for a in (step, change, scaled_change))
    sy = jnp.where(keep, sy, 0)
    others = jnp.arange(HISTORY) != slot
    steps = memory.steps.at[:, slot].set(s)
    changes = memory.changes.at[:, slot].set(v)
    products = _dot("bhk,bk->bh", changes, y)
    inverse = memory.inverse * (others[:, None] & others)
    above = _dot("bhk,bk->bh", steps, y) * others
    safe = jnp.where(keep, sy, 1)[:, None]
    column = -_dot("bij,bj->bi", inverse, above) / safe
    column = jnp.where(others, column, 1 / safe) * keep[:, None]
    return Memory(
        steps,
        changes,
        memory.products.at[:, slot].set(products).at[:, :, slot].set(products),
        inverse.at[:, :, slot].set(column),
        memory.diagonal.at[:, slot].set(sy),
    )


class _Search(NamedTuple):
    """A line search: the trial step, the bracket, the last trial and what it gave."""

    step: Array
    low: Array
    high: Array
    before: Array
    slope_before: Array
    done: Array
    count: Array
    accepted: Array
    loss: Array
    residuals: Array


def _line_search(state: State, d: Array, turn: Array, problem: Problem, mask: Array, going: Array):
    """Steps (b,), and the loss and residuals there.

    Secant steps inside a shrinking bracket. A step must decrease f as well as flatten its slope:
    from zero, slope alone diverges. f is convex, so slopes are monotone.
    """
    d_in = d * mask
    wd, dd = inner(state.weights, d_in), inner(d, d_in)
    slope0 = inner(state.gradient, d)
    slack = LOSS_NOISE[turn.dtype.name] * jnp.abs(state.loss)

    def trial(s: _Search) -> _Search:
        loss, residuals = forward(state.logits + s.step[:, None, None] * turn, problem)
        slope = inner(residuals, turn) + problem.penalty * (wd + s.step * dd)
        gain = loss - state.loss + problem.penalty * s.step * (wd + 0.5 * s.step * dd)
        decreased = gain <= DECREASE * s.step * slope0 + slack
        done = s.done | (decreased & (jnp.abs(slope) <= CURVATURE * jnp.abs(slope0)))
        low = jnp.where((slope < 0) & decreased, s.step, s.low)
        high = jnp.where((slope >= 0) | ~decreased, s.step, s.high)
        bend = (slope - s.slope_before) / (s.step - s.before)
        secant = s.step - slope / jnp.where(bend > 0, bend, jnp.inf)
        midpoint = jnp.where(jnp.isinf(high), 4 * s.step, 0.5 * (low + high))
        inside = (secant > low) & (secant < jnp.minimum(high, 10 * s.step)) & (bend > 0)
        proposal = jnp.where(inside, secant, midpoint)
        # The last trial takes the best step known: `low` has always decreased f.
        last = s.count == LINE_SEARCH_TRIALS - 2
        proposal = jnp.where(last, low, proposal)
        count = s.count + 1
        return _Search(
            jnp.where(done, s.step, proposal),
            low,
            high,
            s.step,
            slope,
            done | (count == LINE_SEARCH_TRIALS),
            count,
            s.step,
            loss,
            residuals,
        )

    zero = jnp.zeros_like(slope0)
    start = jnp.where(going, zero + 1, zero)
    first = _Search(
        start, zero, zero + jnp.inf, zero, slope0, ~going, jnp.zeros((), jnp.int32),
        start, state.loss, jnp.zeros_like(turn),
    )  # fmt: skip
    return lax.while_loop(lambda s: (~s.done).any() | (s.count == 0), trial, first)


def unfinished(state: State, tolerance: Array) -> Array:
    """(b,) problems that are above the tolerance and can still move."""
    return (state.gradient_norm > tolerance) & ~state.stalled


def minimise(
    x: Array,
    problem: Problem,
    state: State,
    preconditioner: Preconditioner,
    tolerance: Array,
    stragglers: int = 0,
) -> State:
    """Goes on until each problem has ‖gradient‖∞ ≤ tolerance or stalls.

    Args:
      x: (p, n) with the column of ones last.
      preconditioner: symmetric positive definite for every class.
      tolerance: ().
      stragglers: stop when no more problems than these are unfinished.
    """
    mask = penalty_weights(x, problem)

    def advance(state: State) -> State:
        active = unfinished(state, tolerance)
        d = _direction(state)
        # Pairs that rounding has spoilt may point uphill.
        uphill = inner(state.gradient, d) >= 0
        state = state._replace(memory=state.memory.forget(uphill))
        d = jnp.where(uphill[:, None, None], -state.scaled, d)
        turn = logits_of(x, d)
        found = _line_search(state, d, turn, problem, mask, active)
        step = jnp.where(active, found.accepted, 0)[:, None, None]
        # A search that finds nothing is tried once more without memory before the fit gives up.
        stuck = active & (step[:, 0, 0] == 0)
        fresh = (state.memory.diagonal == 0).all(1)
        weights = state.weights + step * d
        gradient = gradient_of(x, weights, found.residuals, problem)
        scaled = precondition(preconditioner, gradient, problem)
        slot = state.count % HISTORY
        memory = _remember(
            state.memory, slot, step * d, gradient - state.gradient, scaled - state.scaled
        )
        return State(
            weights,
            state.logits + step * turn,
            found.loss,
            gradient,
            scaled,
            largest_entry(gradient, problem),
            memory.forget(stuck),
            state.stalled | (stuck & fresh),
            state.iterations + active,
            state.count + 1,
        )

    def running(state: State) -> Array:
        left = unfinished(state, tolerance).sum()
        return (left > stragglers) & (state.count < MAX_ITERATIONS)

    return lax.while_loop(running, advance, state)
