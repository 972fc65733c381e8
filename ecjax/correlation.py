"""How far the errors of neighbouring rows are alike: the range of their correlation.

The range a of residuals is where their correlation c·exp(−h/a) at the distance h has fallen to c/e
(c < 1 where a part of them is each row's own). Signed residuals are not at hand. But intervals
of the index rest on differences of losses, and squares of Gaussian residuals with correlation ρ,
their sums and their differences, are correlated by ρ², which falls twice as fast. So the range is
taken as twice that of the differences, or of their signed roots, which are less skewed and
correlated nearly so. Classes have no such residuals; theirs is by the same rule, so that as many
ranges mean as much for blocks.

All pairs of rows give the correlogram in bins of distance; the curve is the one with the least
squares over pairs. What independent rows would give now and then is no correlation: range 0.

Axes: n rows, b bins, q candidates.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ecjax import sphere

FEWEST = 50  # rows
SAMPLE = 2_000  # rows, all pairs of which are looked at
MOST = 100_000  # rows that are looked at in all
OCTAVES = 12  # from the largest distance down to the smallest bin
LEAST_KM, LARGEST_KM = 1e-3, 5_000.0  # of the largest distance
LEAST_PAIRS = 10  # that speak for a candidate, as Σ N k²
CLEAR = 3.0  # standard errors of independent rows; the nearest candidate's is compared
TOO_FEW = f"fewer than {FEWEST} rows"
ALL_ALIKE = "losses differ between no rows, or are undefined"
ONE_PLACE = "all rows are at one place"


class Correlation(NamedTuple):
    """Of the residuals of rows in space.

    Attributes:
      range_km: a as above, two digits of it; 0 where none is found, NaN where undefined.
      neighbour_km: half of the rows have another one at most this far away; NaN where undefined.
      reason: why they are undefined; "" where they are not.
    """

    range_km: float
    neighbour_km: float
    reason: str = ""


def estimate(lat: np.ndarray, lon: np.ndarray, differences: np.ndarray) -> Correlation:
    """The range for rows at places (n,) in degrees, from differences of their losses (n,).

    Of more than SAMPLE rows, pairs far from each other are taken from as many drawn rows, pairs
    near each other from all, or from MOST drawn ones.
    """
    if len(differences) < FEWEST:
        return Correlation(np.nan, np.nan, TOO_FEW)
    if len(differences) > MOST:
        drawn = drawn_rows(len(differences), MOST)
        lat, lon, differences = lat[drawn], lon[drawn], differences[drawn]
    roots = np.sign(differences) * np.sqrt(np.abs(differences))
    spread = roots.std()
    if not (np.isfinite(spread) and spread > 1e-12 * np.abs(roots).max()):
        return Correlation(np.nan, np.nan, ALL_ALIKE)
    places = sphere.unit_vectors(lat, lon)
    edges = bin_edges(places)
    if edges[-1] < LEAST_KM:
        return Correlation(np.nan, np.nan, ONE_PLACE)
    found = _range(edges, *_pairs(places, (roots - roots.mean()) / spread, edges))
    chord = np.median(sphere.nearest(places, places, 2, np.inf))
    neighbour_km = 2 * np.arcsin(chord / 2) * sphere.EARTH_RADIUS_KM
    return Correlation(float(f"{found:.2g}"), float(neighbour_km))


def drawn_rows(n: int, count: int) -> np.ndarray:
    """Numbers of some of n rows, always the same."""
    return np.sort(np.random.default_rng(0).choice(n, count, replace=False))


def bin_edges(places: np.ndarray) -> np.ndarray:
    """(b + 1,) km: 0 and half octaves up to √2 root mean squares from the middle of the map.

    That is a good half of the side of a square map.
    """
    middle = places.mean(0)
    middle /= np.linalg.norm(middle) or 1.0
    radius = np.sqrt(2 * ((places - middle) ** 2).sum(1).mean()) * sphere.EARTH_RADIUS_KM
    return np.append(0.0, min(radius, LARGEST_KM) * 2 ** (np.arange(-2 * OCTAVES, 1) / 2))


def _pairs(places: np.ndarray, values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """(2, b): number of pairs in each bin of distance, and the sum of products of their values."""
    n = len(values)
    if n <= SAMPLE:
        return _binned(places, values, edges)
    drawn = drawn_rows(n, SAMPLE)
    found = _binned(places[drawn], values[drawn], edges)
    # All rows, up to where they have about as many pairs as the drawn ones in all.
    near = np.cumsum(found[0]) * (n / SAMPLE) ** 2 <= SAMPLE**2 / 2
    bins = np.count_nonzero(near)
    if bins:
        found[:, :bins] = _binned(places, values, edges[: bins + 1])
    return found


def _binned(places: np.ndarray, values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    from scipy import spatial  # here, because importing it takes a third of a second

    tree = spatial.cKDTree(places)
    chords = np.array([sphere.chord(km) for km in edges])
    sums = np.array(
        [
            tree.count_neighbors(tree, chords, weights=weights).astype(float) - itself
            for weights, itself in ((None, len(values)), ((values, values), values @ values))
        ]
    )
    sums[:, 0] = 0  # rows at one place are pairs, a row with itself is none
    return np.diff(sums, axis=1) / 2  # each pair is counted from both its ends


def _range(edges: np.ndarray, pairs: np.ndarray, products: np.ndarray) -> float:
    """Twice the range a' of the curve c·k, k = exp(−h/a'), c ≤ 1, that is nearest; or 0.

    It has the least Σ N (r − c·k)² over bins with N pairs of mean product r. Of independent rows
    products of pairs are uncorrelated with variance 1, so that Σ N r k has the standard error
    √(Σ N k²).
    """
    distance = (edges[1:] + edges[:-1]) / 2
    ranges = edges[-1] / 4 * 2 ** (np.arange(-8 * OCTAVES, 1) / 8)
    curves = np.exp(-distance / ranges[:, None])  # (q, b)
    along, squares = curves @ products, curves**2 @ pairs
    known = squares >= LEAST_PAIRS
    along, squares, ranges = along[known], squares[known], ranges[known]
    if not len(ranges):
        return 0.0
    height = np.clip(along / squares, 0, 1)
    best = (2 * height * along - height**2 * squares).argmax()
    return float(2 * ranges[best]) if along[best] > CLEAR * np.sqrt(squares[best]) else 0.0
