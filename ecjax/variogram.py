"""The range of a target's variogram: how far apart rows must be to differ as any two do.

The empirical variogram (Matheron, 1962) is half the mean squared difference of the pairs of rows in
a bin of distance, γ(h) = Σ (z_i − z_j)²/2N. That of classes is the sum of their indicators'
variograms, the share of pairs that differ. It is Matheron's form and not a robust one, because
differences of indicators and of shares, many of which are 0, are nothing like the Gaussian ones
that robust forms (Cressie and Hawkins, 1980) are made for; skewed targets are better transformed.

The model is exponential, γ(h) = c₀ + c·(1 − exp(−h/a)), c₀, c ≥ 0, fitted by weighted least squares
(Cressie, 1985): bins weigh N/γ(h)², first with the empirical γ and then with the model's. The range
is a; three times it, where 95 % of c are reached, is what geostatistics calls the practical range.

Bins are half octaves, and of many rows a sample serves the far ones, as in `correlation`.

Axes: n rows, t targets, b bins, q values of a target: one, or its classes' indicators.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ecjax import sphere
from ecjax.correlation import CLEAR, LEAST_KM, bin_edges, drawn_rows
from ecjax.pairs import BLOCK, Curve, Scale, near_pairs, settled_order

SAMPLE = 4_000  # rows, all pairs of which are looked at
LEAST_PAIRS = 30  # of a bin (Journel and Huijbregts, 1978)
FEWEST_BINS = 5  # more than the model has parameters
TRIED = 200  # ranges
ROUNDS = 3  # of weights: of the empirical variogram, then twice of the model
PRACTICAL = 3.0  # the practical range over a: 1 − exp(−3) is 95 %
ALL_EQUAL = "the target is the same in all rows"
ONE_PLACE = "all rows are at one place"
TOO_FEW = f"fewer than {FEWEST_BINS} bins of distance hold {LEAST_PAIRS} pairs of rows"
NO_STRUCTURE = "near rows are no more alike than independent ones may be"
TOO_SHORT = "the range is shorter than distances between rows can tell"
TOO_LONG = "the practical range is beyond the largest distance looked at, {:,.0f} km"


def estimate(
    lat: np.ndarray, lon: np.ndarray, y: np.ndarray, kind: str, block: int = BLOCK
) -> tuple[Scale, ...]:
    """Scales of t targets at places (n,) in degrees; the same for any order of rows.

    Args:
      y: (n, t) numbers, or of kind "classification" (n,) codes of classes, one target.
      block: as `pairs.near_pairs` takes it.
    """
    order = settled_order(lat, lon, y)
    places, y = sphere.unit_vectors(lat[order], lon[order]), y[order]
    columns = [y] if kind == "classification" else list(y.T)
    varied = [not (column == column[0]).all() for column in columns]
    edges = bin_edges(places)
    if edges[-1] < LEAST_KM:
        found = (Scale(np.nan, ONE_PLACE) for _ in columns)
    else:
        vectors = [_vectors(c, kind) for c, varies in zip(columns, varied, strict=True) if varies]
        sums = empirical(places, vectors, edges, block)
        variances = [(z**2).sum(1).mean() for z in vectors]
        found = (fit(of, edges[-1], var) for of, var in zip(sums, variances, strict=True))
    return tuple(next(found) if varies else Scale(np.nan, ALL_EQUAL) for varies in varied)


def _vectors(y: np.ndarray, kind: str) -> np.ndarray:
    """(n, 1) values or (n, c) indicators z, centred and scaled.

    Products z_i·z_j of independent rows have mean 0 and variance 1.
    """
    z = np.eye(y.max() + 1)[y] if kind == "classification" else y[:, None].astype(float)
    z = z - z.mean(0)
    z /= np.abs(z).max()
    return z / np.sqrt(np.linalg.norm(z.T @ z / len(z)))


def empirical(
    places: np.ndarray, vectors: Sequence[np.ndarray], edges: np.ndarray, block: int = BLOCK
) -> np.ndarray:
    """(t, 4, b): number of pairs, and sums of distance, of |z_i − z_j|²/2 and of z_i·z_j.

    Args:
      places: (n, 3) unit vectors.
      vectors: of each target, z (n, q).
      edges: (b + 1,) km. Pairs at one place tell nothing about distance and are left out.
    """
    n = len(places)
    if n <= SAMPLE or not vectors:
        return _sums(places, vectors, edges, block)
    drawn = drawn_rows(n, SAMPLE)
    found = _sums(places[drawn], [z[drawn] for z in vectors], edges, block)
    # All rows, up to where they have about as many pairs as the drawn ones in all.
    bins = np.count_nonzero(np.cumsum(found[0, 0]) * (n / SAMPLE) ** 2 <= SAMPLE**2 / 2)
    if bins:
        found[:, :, :bins] = _sums(places, vectors, edges[: bins + 1], block)
    return found


def _sums(
    places: np.ndarray, vectors: Sequence[np.ndarray], edges: np.ndarray, block: int
) -> np.ndarray:
    b = len(edges) - 1
    found = np.zeros((len(vectors), 4, b))
    squares = [(z**2).sum(1) for z in vectors]
    for pairs in near_pairs(places, edges[-1], block):
        apart = pairs.distance_km > 0
        i, j, distance = (part[apart] for part in pairs)
        bins = np.searchsorted(edges, distance, side="right") - 1
        found[:, :2] += [np.bincount(bins, part, minlength=b) for part in (None, distance)]
        for target, (z, square) in enumerate(zip(vectors, squares, strict=True)):
            product = sum(column[i] * column[j] for column in z.T)
            halves = (square[i] + square[j]) / 2 - product
            found[target, 2:] += [np.bincount(bins, w, minlength=b) for w in (halves, product)]
    return found


def fit(sums: np.ndarray, largest_km: float, variance: float = 1.0) -> Scale:
    """The scale from sums (4, b) over pairs up to a largest distance.

    In its curve γ is over the variance, the mean of |z_i|² over rows, so that 1 is how much any two
    rows differ; distances are the mean ones of the bins' pairs.

    Of independent rows the products are uncorrelated with variance 1, so that Σ k Σ z_i·z_j, with
    k = exp(−h/a), has the standard error √(Σ N k²).
    """
    from scipy import optimize  # here, because importing it takes a third of a second

    pairs, distance, halves, products = sums[:, sums[0] >= LEAST_PAIRS]
    if len(pairs) < FEWEST_BINS:
        return Scale(np.nan, TOO_FEW)
    h, gamma = distance / pairs, halves / pairs
    tried = np.log(np.geomspace(h[0] / PRACTICAL, 10 * largest_km, TRIED))
    model = gamma
    for _ in range(ROUNDS):
        weights = pairs / model**2
        best = int(np.argmin([_fit_of(h, gamma, weights, log_a).error for log_a in tried]))
        model = _fit_of(h, gamma, weights, tried[best]).model
    k = np.exp(-h / np.exp(tried[best]))
    if np.ptp(model) == 0 or k @ products <= CLEAR * np.sqrt(k**2 @ pairs):
        return Scale(np.nan, NO_STRUCTURE)
    if best == 0:
        return Scale(np.nan, TOO_SHORT)
    between = tried[best - 1], tried[min(best + 1, TRIED - 1)]
    done = optimize.minimize_scalar(
        lambda log_a: _fit_of(h, gamma, weights, log_a).error,
        bounds=between,
        method="bounded",
        options={"xatol": 1e-9},
    )
    a = float(np.exp(done.x))
    if PRACTICAL * a > largest_km:
        return Scale(np.nan, TOO_LONG.format(largest_km))
    model = _fit_of(h, gamma, weights, done.x).model
    return Scale(a, curve=Curve(h, gamma / variance, model / variance))


class _Fit(NamedTuple):
    """A fitted model: its values (b,) in the bins, and the weighted mean squared error."""

    model: np.ndarray
    error: float


def _fit_of(h: np.ndarray, gamma: np.ndarray, weights: np.ndarray, log_a: float) -> _Fit:
    """The model with a given range that is nearest to γ (b,) at distances h (b,) in km."""
    rise = -np.expm1(-h / np.exp(log_a))
    w = weights / weights.sum()
    mean_rise, mean = w @ rise, w @ gamma
    c = w @ ((rise - mean_rise) * gamma) / (w @ (rise - mean_rise) ** 2)
    if c <= 0:
        model = np.full(len(h), mean)
    elif c * mean_rise > mean:  # c₀ would be below 0
        model = w @ (rise * gamma) / (w @ rise**2) * rise
    else:
        model = mean + c * (rise - mean_rise)
    return _Fit(model, float(w @ (gamma - model) ** 2))
