"""Score bootstraps: means of the rows' losses over units that are drawn with replacement.

Units (rows, blocks or groups) are drawn; what was fitted stays as it is, and so does the best
single. Losses are those that intervals of kind `ratio` rest on, see `intervals`. One matrix product
gives the replicates of the mean losses of all sets of all tasks:

    means* (b, m) = counts (b, g) · losses (g, m) / g,

in which counts say how often each unit was drawn. They are drawn `CHUNK` replicates at a time, each
chunk from a seed of its own, so that neither how many are multiplied at once nor how many are asked
for changes any of them. On the host: the counts take as long as the product, and are drawn there.

The ends of an interval are bias-corrected and accelerated (BCa; Efron, "Better bootstrap confidence
intervals", 1987): of a statistic θ with replicates θ*, the quantiles of θ* at the levels

    Φ(z₀ + (z₀ ± z)/(1 − a(z₀ ± z))),   Φ(z₀) = share of θ* below θ,   a = Σ u³ / (6 (Σ u²)^1.5),

u being each unit's influence on θ (the infinitesimal jackknife, in closed form). Where that is
undefined they are the plain quantiles at Φ(±z).

Axes: b replicates, g units, m columns of losses, j statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

CHUNK = 64  # replicates that share a seed: part of what is drawn, not to be tuned
TILE = 4  # chunks that are multiplied at once
TIE = 1e-12  # of an estimate, which rounding may move a replicate by


class Replicates(NamedTuple):
    """Of the mean losses of one task by one metric.

    Attributes:
      means: (m, b) over the units drawn.
      z: normal quantile of the level at which ends are found.
    """

    means: np.ndarray
    z: float


def counts(units: int, chunk: int, seed: int) -> np.ndarray:
    """(CHUNK, g) how often each of g units is drawn, out of g, in the replicates of one chunk."""
    rng = np.random.default_rng([seed, chunk])
    drawn = rng.integers(units, size=(CHUNK, units), dtype=np.int64)
    drawn += units * np.arange(CHUNK)[:, None]
    return np.bincount(drawn.ravel(), minlength=CHUNK * units).reshape(CHUNK, units)


def mean_losses(
    losses: Sequence[np.ndarray], bootstraps: int, seed: int, tile: int = TILE
) -> list[np.ndarray]:
    """Replicates of the means of several tasks' losses.

    Args:
      losses: (g, m) each, of the units. Those with as many units share what is drawn.
      tile: chunks that are multiplied at once.

    Returns:
      (m, b) for each of them.
    """
    found = [np.empty((table.shape[1], bootstraps)) for table in losses]
    for units in sorted({len(table) for table in losses}):
        alike = [i for i, table in enumerate(losses) if len(table) == units]
        together = np.concatenate([losses[i] for i in alike], axis=1)
        stops = np.cumsum([losses[i].shape[1] for i in alike])[:-1]
        for start in range(0, bootstraps, tile * CHUNK):
            some = range(start // CHUNK, -(-min(bootstraps, start + tile * CHUNK) // CHUNK))
            drawn = np.concatenate([counts(units, chunk, seed) for chunk in some])
            with np.errstate(invalid="ignore"):  # a class absent from a fold: infinite log-loss
                means = drawn[: bootstraps - start].astype(np.float64) @ together
            for i, part in zip(alike, np.split(means, stops, axis=1), strict=True):
                found[i][:, start : start + len(part)] = part.T / units
    return found


def bca_ends(
    replicates: np.ndarray, estimate: np.ndarray, influence: np.ndarray, z: float
) -> np.ndarray:
    """Ends (2, j) of BCa intervals.

    Args:
      replicates: (j, b).
      estimate: (j,); the ends of those that are NaN are NaN.
      influence: (g, j) of the units on the estimate, adding up to 0.
      z: normal quantile of the level.
    """
    b = replicates.shape[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        off = replicates - estimate[:, None]
        equal = np.abs(off) <= TIE * np.abs(estimate[:, None])  # as those of errors often are
        below = ((off < 0) & ~equal).sum(1) + equal.sum(1) / 2
        bias = special.ndtri(below / b)
        squares = influence**2
        acceleration = (squares * influence).sum(0) / (6 * squares.sum(0) ** 1.5)
        sides = z * np.array([[-1.0], [1.0]])  # (2, 1)
        slope = 1 - acceleration * (bias + sides)
        corrected = bias + (bias + sides) / slope
    corrected = np.where((slope > 0) & np.isfinite(corrected), corrected, sides)
    return _quantiles(np.sort(replicates, axis=1), special.ndtr(corrected))


def _quantiles(ordered: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """(2, j) of ordered (j, b) at levels (2, j), between neighbours along a straight line.

    The k-th smallest of b stands at the level k/(b + 1).
    """
    j, b = ordered.shape
    place = np.clip(levels * (b + 1) - 1, 0, b - 1)
    low = np.minimum(place.astype(int), max(b - 2, 0))
    rows, part = np.arange(j), place - low
    return (1 - part) * ordered[rows, low] + part * ordered[rows, np.minimum(low + 1, b - 1)]
