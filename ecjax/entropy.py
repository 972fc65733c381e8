"""The paper's spatial scale of a target: how fast the entropy of similarity grows with distance.

Of all pairs of places nearer than 1,000 km a histogram is made, 100 bins of distance × 100 bins of
similarity 1 − (difference of the target)² between 0 and 1, each pair with the larger of its two
values as weight. Entropies of the columns (one distance each), divided by the largest of them, rise
from h₀ in the first column, and the curve 1 − (1 − h₀)·exp(−t/d) is fitted to them by least squares
over d alone; t are the bins' left edges divided by the last of them, 990 km. The scale is d times
the last outer edge, 1,000 km. Source: van der Plas et al., "Better Together", arXiv 2605.18667.

Similarities and weights are those of shares: a target must lie between 0 and 1. Others are not
scaled to it, because the two extremes that set the scale would decide how alike all else seems,
and because a target and its negative would have different scales.

Axes: n rows, t targets, b = 100 bins of distance, and as many of similarity.
"""

from __future__ import annotations

import numpy as np

from ecjax import sphere
from ecjax.pairs import BLOCK, Curve, Scale, near_pairs, settled_order

LARGEST_KM, BINS = 1_000.0, 100
# Ranges d that are tried, of the largest distance: a tenth of a bin to half around the Earth.
LEAST, MOST, TRIED = 1e-3, np.pi * sphere.EARTH_RADIUS_KM / LARGEST_KM, 400
NO_SHARE = "the target does not lie between 0 and 1, which this estimator is made for"
NONE_NEAR = (
    f"no two rows, at least one with a target above 0, are nearer than {LARGEST_KM / BINS:g} km"
)
NO_GROWTH = "the entropy of similarity does not grow with distance"
TOO_SHORT = f"the range is far below {LARGEST_KM / BINS:g} km, one bin of distance"
TOO_LONG = (
    "the entropy of similarity grows too little with distance: the fitted range is longer than "
    "half the Earth's circumference"
)


def estimate(
    lat: np.ndarray, lon: np.ndarray, y: np.ndarray, block: int = BLOCK
) -> tuple[Scale, ...]:
    """Scales of targets (n, t) at places (n,) in degrees; the same for any order of rows.

    Args:
      block: as `pairs.near_pairs` takes it.
    """
    shares = ((y >= 0) & (y <= 1)).all(0)  # (t,)
    found = iter(histograms(lat, lon, y[:, shares], block))
    return tuple(
        fit(entropies(next(found))) if share else Scale(np.nan, NO_SHARE) for share in shares
    )


def histograms(lat: np.ndarray, lon: np.ndarray, y: np.ndarray, block: int = BLOCK) -> np.ndarray:
    """(t, b, b) weight of the pairs by distance and similarity, of shares (n, t)."""
    t = y.shape[1]
    found = np.zeros((t, BINS * BINS))
    if not t:
        return found.reshape(t, BINS, BINS)
    order = settled_order(lat, lon, y)
    values = np.ascontiguousarray(y[order].T, np.float64)
    distances, similarities = np.linspace(0, LARGEST_KM, BINS + 1), np.linspace(0, 1, BINS + 1)
    places = sphere.unit_vectors(lat[order], lon[order])
    for pairs in near_pairs(places, LARGEST_KM, block):
        column = BINS * _bins(pairs.distance_km, distances)
        for target, own in enumerate(values):
            one, other = own[pairs.first], own[pairs.second]
            cell = column + _bins(1 - (one - other) ** 2, similarities)
            weight = np.maximum(one, other)
            found[target] += np.bincount(cell, weight, minlength=BINS * BINS)
    return found.reshape(t, BINS, BINS)


def _bins(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Bins of equal width that values belong to: each holds its left edge, the last one both."""
    last = len(edges) - 2
    found = np.minimum((values * ((last + 1) / edges[-1])).astype(np.int64), last)
    found -= values < edges[found]  # rounding may have gone past an edge
    found += (values >= edges[found + 1]) & (found < last)
    return found


def entropies(histogram: np.ndarray) -> np.ndarray:
    """(b,) of the columns of a histogram (b, b), over the largest; NaN where one has no weight."""
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = histogram / histogram.sum(1, keepdims=True)
        found = -np.where(shares > 0, shares * np.log(shares), 0 * shares).sum(1)
    return found / (np.nanmax(found, initial=0) or 1.0)


def fit(curve: np.ndarray) -> Scale:
    """The scale of entropies (b,), over columns that have any.

    The slope of the squared error by d is followed to its zero, so that d is exact to rounding. In
    its curve distances are t times the last outer edge, as the scale is d times it; each lies in
    its bin.
    """
    from scipy import optimize  # here, because importing it takes a third of a second

    t = np.arange(BINS) / (BINS - 1)
    known = ~np.isnan(curve)
    if not known[0]:
        return Scale(np.nan, NONE_NEAR)
    t, gain, h = t[known], 1 - curve[0], curve[known]
    if not gain > 0:
        return Scale(np.nan, NO_GROWTH)

    def slope(log_d: float) -> float:
        """Half of the squared error's derivative by log d, over 1 − h₀."""
        decay = np.exp(-t / np.exp(log_d))
        return float(((h - 1 + gain * decay) * decay * t).sum() / np.exp(log_d))

    tried = np.linspace(np.log(LEAST), np.log(MOST), TRIED)
    errors = [((h - 1 + gain * np.exp(-t / np.exp(log_d))) ** 2).sum() for log_d in tried]
    best = int(np.argmin(errors))
    if best in (0, TRIED - 1):
        return Scale(np.nan, TOO_LONG if best else TOO_SHORT)
    left, right = tried[best - 1], tried[best + 1]
    if not slope(left) < 0 < slope(right):
        return Scale(np.nan, NO_GROWTH)
    d = np.exp(optimize.brentq(slope, left, right, xtol=1e-15))
    fitted = Curve(t * LARGEST_KM, h, 1 - gain * np.exp(-t / d))
    return Scale(float(d * LARGEST_KM), curve=fitted)
