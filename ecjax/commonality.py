"""Commonality of two models: which part of their score together is of one, of either, of both.

With v(∅), v(a), v(b) and v(ab) the scores of no embedding, of each and of the pair, and
c = v(a) + v(b) − v(ab) − v(∅) what both tell:

    shared = max(c, 0),   synergy = max(−c, 0),
    unique_a = min(v(a) − v(∅), v(ab) − v(b)),   unique_b likewise.

Where c > 0 these are the coefficients of commonality analysis (Newton and Spurrell, 1967); where
c < 0, "suppression" there, each model has what it reaches alone and the pair the rest. v(∅) and the
four parts add up to v(ab). A unique part below zero is what a model costs the pair.

Axes: s subsets, m columns of `RowMoments`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

PARTS = ("intercept", "unique_a", "unique_b", "shared", "synergy")
# Of v(∅), v(a), v(b), v(ab): the intercept, a alone, a beyond b, b alone, b beyond a, and c.
_LINEAR = np.array(
    [
        [1, 0, 0, 0],
        [-1, 1, 0, 0],
        [0, 0, -1, 1],
        [-1, 0, 1, 0],
        [0, -1, 0, 1],
        [-1, 1, 1, -1],
    ],
    float,
)


class Pair(NamedTuple):
    """Two models and the positions of v(∅), v(a), v(b), v(ab) among the scores."""

    a: int
    b: int
    places: tuple[int, int, int, int]


def pairs(subsets: Sequence[tuple[int, ...]]) -> list[Pair]:
    """The pairs among the subsets; the empty set's score comes after those of all subsets."""
    where = {subset: i for i, subset in enumerate(subsets)}
    empty = len(subsets)
    return [
        Pair(*subset, (empty, where[subset[:1]], where[subset[1:]], i))
        for subset, i in where.items()
        if len(subset) == 2
    ]


def linear_weights(pair: Pair, columns: int) -> np.ndarray:
    """(6, m): what the parts are made from, as combinations of the m columns' scores."""
    weights = np.zeros((len(_LINEAR), columns))
    weights[:, list(pair.places)] = _LINEAR
    return weights


def parts(linear: np.ndarray) -> np.ndarray:
    """(5, …) parts in the order of PARTS from the six combinations (6, …).

    Every part rises with what it is made from, or falls; so ends of intervals of the combinations
    give ends of the parts' (see `ends`).
    """
    intercept, a, a_more, b, b_more, common = linear
    return np.stack(
        [
            intercept,
            np.minimum(a, a_more),
            np.minimum(b, b_more),
            np.maximum(common, 0) + 0.0,
            np.maximum(-common, 0) + 0.0,
        ]
    )


def ends(linear: np.ndarray, below: np.ndarray, above: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(5,) lower and upper ends of the parts.

    Args:
      linear, below, above: (6,) the combinations, and how far their intervals reach to either side.
    """
    low, high = parts(linear - below), parts(linear + above)
    synergy = PARTS.index("synergy")
    low[synergy], high[synergy] = high[synergy], low[synergy]  # it falls with what both tell
    return low, high
