"""Shapley values: how much of a full set's score each embedding brings.

Of a score v(S) over the sets of M embeddings, the share of embedding m is

    φ_m = Σ over S without m of |S|!(M − |S| − 1)!/M! · (v(S ∪ m) − v(S)),

the mean gain of adding m over all orders of adding (Shapley, "A value for n-person games", 1953).
They add up to v(all) − v(none), where none is the intercept alone.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np


@functools.cache
def weights(subsets: tuple[tuple[int, ...], ...], models: int) -> np.ndarray | None:
    """(M, s + 1): φ = weights @ (scores of the s subsets, and of the empty set last).

    None if subsets of the M models are missing: the values need all of them.
    """
    if len(subsets) < 2**models - 1:
        return None
    where = {frozenset(subset): i for i, subset in enumerate(subsets)}
    where[frozenset()] = len(subsets)
    found = np.zeros((models, len(subsets) + 1))
    for subset, i in where.items():
        size = len(subset)
        for m in range(models):
            if m not in subset:
                share = math.factorial(size) * math.factorial(models - size - 1)
                share /= math.factorial(models)
                found[m, i] -= share
                found[m, where[subset | {m}]] += share
    return found


def values(
    subsets: Sequence[tuple[int, ...]], models: int, scores: np.ndarray, empty: float
) -> np.ndarray:
    """(M,) Shapley values of scores (s,); NaN if subsets are missing or a score is undefined."""
    of = weights(tuple(subsets), models)
    if of is None:
        return np.full(models, np.nan)
    return of @ np.append(scores, empty)
