"""L-BFGS whose every evaluation is dear: a pass over rows that do not fit in memory.

H₀ is the inverse Hessian of a sample of the rows, applied by conjugate gradients, so that few
evaluations are needed. It differs from step to step; the recursion of two loops (Nocedal 1980)
takes it as it comes. A step is tried at full length first, and is good enough if it decreases the
objective (Armijo); else it is shortened to where the slopes at both ends say that the minimum is.

Axes: q fits, a of them, c classes, p columns with the intercept's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

from ecjax.lbfgs import DECREASE, LINE_SEARCH_TRIALS, LOSS_NOISE

MOST_EVALUATIONS = 200  # of a fit
PAIRS = 6  # kept; evaluations are few
NOISE = LOSS_NOISE["float64"]
SHORTEST, LONGEST = 0.1, 0.5  # of the last trial, that the next may be


class Descent:
    """Fits that are advanced side by side, each at its own place.

    Attributes:
      weights, gradient: (q, c, p) where they stand.
      norm: (q,) largest absolute entry of the gradient; inf before the first evaluation.
      evaluations: (q,).
      stalled: (q,) no further decrease can be found.
    """

    def __init__(self, weights: np.ndarray):
        """To be evaluated at these weights first."""
        q = len(weights)
        self.weights, self.gradient = weights.copy(), np.zeros_like(weights)
        self.loss, self.norm = np.full(q, np.inf), np.full(q, np.inf)
        self.evaluations, self.stalled = np.zeros(q, int), np.zeros(q, bool)
        self._along, self._slope = np.zeros_like(weights), np.zeros(q)
        self._step, self._tries = np.zeros(q), np.zeros(q, int)
        self._pairs: deque = deque(maxlen=PAIRS)

    def unfinished(self, tolerance: float) -> np.ndarray:
        """Numbers of the fits above the tolerance that can still move."""
        may = ~self.stalled & (self.evaluations < MOST_EVALUATIONS)
        return np.flatnonzero((self.norm > tolerance) & may)

    def trials(self, some: np.ndarray) -> np.ndarray:
        """(a, c, p) where some fits are to be evaluated."""
        return self.weights[some] + self._step[some, None, None] * self._along[some]

    def take(self, some: np.ndarray, loss: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """What the evaluations of some fits (a,) gave; those that need another direction."""
        first = self.evaluations[some] == 0
        self.evaluations[some] += 1
        step, slope = self._step[some], self._slope[some]
        slack = NOISE * np.abs(self.loss[some])
        # A trial may have been so far that it overflowed.
        with np.errstate(divide="ignore", invalid="ignore"):
            good = first | (loss - self.loss[some] <= DECREASE * step * slope + slack)
            end = _inner(gradient, self._along[some])
            shorter = step * slope / (slope - end)
        self._remember(some[good & ~first], gradient[good & ~first])
        kept = some[good]
        self.weights[kept] = self.trials(kept)
        self.loss[kept], self.gradient[kept] = loss[good], gradient[good]
        self.norm[kept] = np.abs(gradient[good]).max((1, 2))
        shorter = np.where(np.isfinite(shorter), shorter, 0)
        self._step[some] = np.clip(shorter, SHORTEST * step, LONGEST * step)
        self._tries[some] = np.where(good, 0, self._tries[some] + 1)
        # As in `lbfgs`: tried once more without memory before the fit gives up.
        stuck = some[self._tries[some] == LINE_SEARCH_TRIALS]
        self.stalled[stuck] = ~self._recalls(stuck)
        self._forget(stuck)
        return np.concatenate([kept, stuck])

    def turn(self, some: np.ndarray, solve: Callable[[np.ndarray], np.ndarray]) -> None:
        """Sets the directions of some fits (a,).

        Args:
          solve: (a, c, p) → H₀ times it.
        """
        direction = -self._two_loops(some, solve)
        slope = _inner(direction, self.gradient[some])
        if not (slope < 0).all():  # pairs that rounding has spoilt
            uphill = ~(slope < 0)
            self._forget(some[uphill])
            direction[uphill] = -solve(self.gradient[some])[uphill]
            slope = _inner(direction, self.gradient[some])
        self._along[some], self._slope[some] = direction, slope
        self._step[some], self._tries[some] = 1, 0

    def _two_loops(self, some: np.ndarray, solve) -> np.ndarray:
        left, shares = self.gradient[some], []
        for step, change, inverse in reversed(self._pairs):
            share = inverse[some] * _inner(step[some], left)
            left = left - share[:, None, None] * change[some]
            shares.append(share)
        found = solve(left)
        for (step, change, inverse), share in zip(self._pairs, reversed(shares), strict=True):
            back = inverse[some] * _inner(change[some], found)
            found = found + (share - back)[:, None, None] * step[some]
        return found

    def _remember(self, some: np.ndarray, gradient: np.ndarray) -> None:
        if not len(some):
            return
        step, change = np.zeros_like(self.weights), np.zeros_like(self.weights)
        step[some] = self._step[some, None, None] * self._along[some]
        change[some] = gradient - self.gradient[some]
        bend = _inner(step, change)
        inverse = np.divide(1, bend, out=np.zeros_like(bend), where=bend > 0)
        self._pairs.append((step, change, inverse))

    def _recalls(self, some: np.ndarray) -> np.ndarray:
        """Whether a pair has effect on some fits (a,)."""
        found = np.zeros(len(some), bool)
        for *_, inverse in self._pairs:
            found |= inverse[some] > 0
        return found

    def _forget(self, some: np.ndarray) -> None:
        for *_, inverse in self._pairs:
            inverse[some] = 0


def _inner(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum((1, 2))
