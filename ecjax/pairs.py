"""Pairs of places that are near each other, block by block, so that memory stays bounded.

Places are dealt to blocks that are small on the map (halves of halves along the longest side), and
two blocks farther apart than wanted are skipped as a whole.

Axes: n places, t targets.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ecjax import sphere

BLOCK = 512  # places; two blocks' pairs, some 30 arrays of them at a time, are looked at together


class Curve(NamedTuple):
    """What a range was fitted to: difference by distance, and the model of it.

    Attributes:
      km: (b,) distances, rising.
      value: (b,) how much values differ there, in the estimator's unit.
      fitted: (b,) the model.
    """

    km: np.ndarray
    value: np.ndarray
    fitted: np.ndarray


NO_CURVE = Curve(*np.empty((3, 0)))


class Scale(NamedTuple):
    """How far values of a target are alike.

    Attributes:
      range_km: where the difference of values has risen by 1 − 1/e from what it is close by towards
        what it is far away; NaN where that cannot be told.
      reason: why not; "" where it can.
      curve: that the range is of; empty where there is none.
    """

    range_km: float
    reason: str = ""
    curve: Curve = NO_CURVE


class Pairs(NamedTuple):
    """Some pairs of places: numbers of both (k,), and their distance (k,) in km."""

    first: np.ndarray
    second: np.ndarray
    distance_km: np.ndarray


def settled_order(lat: np.ndarray, lon: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(n,) rows by latitude, then by values (n,) or (n, t), then by longitude.

    What is summed or drawn in this order does not depend on the order of the rows.
    """
    columns = y.reshape(len(y), -1).T
    return np.lexsort((lon, *columns, lat))


def near_pairs(places: np.ndarray, km: float, block: int = BLOCK) -> Iterator[Pairs]:
    """Every pair of different rows nearer than a distance, once.

    Args:
      places: (n, 3) unit vectors.
      km: along the great circle.
      block: most places of a block; changes nothing but time, memory and the pairs' order.
    """
    blocks = list(_blocks(places, block))
    middles = np.array([places[rows].mean(0) for rows in blocks])
    radii = np.array([_radius(places[r], m) for r, m in zip(blocks, middles, strict=True)])
    chord = sphere.chord(km) * (1 + sphere.BLUR)
    for a, rows in enumerate(blocks):
        apart = np.sqrt(((middles[a:] - middles[a]) ** 2).sum(1))
        for b in a + np.flatnonzero(apart <= radii[a:] + radii[a] + chord):
            found = _pairs(places, rows, blocks[b], chord, a == b)
            near = found.distance_km < km
            if near.any():
                yield Pairs(*(part[near] for part in found))


def _pairs(
    places: np.ndarray, rows: np.ndarray, others: np.ndarray, chord: float, same: bool
) -> Pairs:
    """Pairs of two blocks, or within one, up to about a distance.

    Products of unit vectors, which are quick, tell who is near; differences, which are exact also
    for neighbours, how near.
    """
    near = places[rows] @ places[others].T >= 1 - chord**2 / 2 - sphere.BLUR
    i, j = np.nonzero(np.triu(near, 1) if same else near)
    i, j = rows[i], others[j]
    lines = np.sqrt(((places[i] - places[j]) ** 2).sum(1))
    return Pairs(i, j, 2 * sphere.EARTH_RADIUS_KM * np.arcsin(np.minimum(lines / 2, 1)))


def _blocks(places: np.ndarray, block: int) -> Iterator[np.ndarray]:
    waiting = [np.arange(len(places))]
    while waiting:
        rows = waiting.pop()
        if len(rows) <= block:
            yield rows
            continue
        axis = np.ptp(places[rows], axis=0).argmax()
        middle = len(rows) // 2
        order = rows[np.argpartition(places[rows, axis], middle)]
        waiting += [order[:middle], order[middle:]]


def _radius(places: np.ndarray, middle: np.ndarray) -> float:
    return float(np.sqrt(((places - middle) ** 2).sum(1).max()))
