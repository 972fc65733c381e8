"""How much two embeddings of the same rows are alike, from sums over rows alone.

No n × n matrix is made: the similarity matrices K = XXᵀ and L = YYᵀ of centred rows enter by

    tr(KL) = ‖XᵀY‖²_F,   K_ii = ‖x_i‖²,   K·1 = 0,

and the Pearson correlations R_ij of rows by R_ij = z_i·z_j of rows centred and scaled to length 1.

Axes: n rows, p and p' columns of two embeddings, q = p + p', r ≤ p columns that are independent.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.special

DEPENDENT = 1e-12  # eigenvalues smaller than so many times the largest are rounding
SINGULAR = 1e-8  # pivots of whitened columns' factors below which they are factored otherwise
ALIKE = 1e-12  # variance of correlations, in squares of what rows differ by, that is rounding
ROUNDING = 1e-26  # squared distance of rows of length 1 that is
LEAST_UNBIASED = 4  # rows of the unbiased HSIC


class Moments(NamedTuple):
    """Sums over rows of any columns about any fixed origin: count, (q,), and products (q, q)."""

    count: int
    sums: np.ndarray
    products: np.ndarray

    def less(self, part: Moments) -> Moments:
        """Of the rows without those of a part."""
        kept = (whole - some for whole, some in zip(self, part, strict=True))
        return Moments(*kept)

    def of(self, columns: slice) -> Moments:
        """Of some of the columns."""
        return Moments(self.count, self.sums[columns], self.products[columns, columns])

    @property
    def centred(self) -> np.ndarray:
        """(q, q) products about the mean."""
        return self.products - np.outer(self.sums, self.sums) / self.count


def cka(moments: Moments, p: int) -> float:
    """Linear CKA of centred columns, ‖XᵀY‖²_F / (‖XᵀX‖_F ‖YᵀY‖_F); Kornblith et al. 2019.

    Args:
      moments: of the first embedding's p columns and then the second's.

    Returns:
      NaN where either is constant.
    """
    c = moments.centred
    return _ratio((c[:p, p:] ** 2).sum(), (c[:p, :p] ** 2).sum(), (c[p:, p:] ** 2).sum())


def cka_debiased(moments: Moments, p: int) -> float:
    """CKA from the unbiased HSIC of Song et al. 2012 (eq. 5), as Nguyen et al. 2021 take it.

    With K̃ = K without its diagonal, n(n − 3) HSIC is

        tr(K̃L̃) + 1ᵀK̃1·1ᵀL̃1 / ((n − 1)(n − 2)) − 2/(n − 2)·1ᵀK̃L̃1,

    which subtracting the mean from all rows does not change; then K̃1 = −d with d_i = ‖x_i‖², so
    that it is ‖XᵀY‖²_F + Σd Σd' / ((n − 1)(n − 2)) − n/(n − 2)·Σ d d'. It may be negative.

    Args:
      moments: of both embeddings' columns and, last, of two more: each row's ‖x_i‖² and ‖y_i‖²
        about the same origin.

    Returns:
      NaN with fewer than four rows, or where a denominator is not positive.
    """
    n, sums, products = moments
    if n < LEAST_UNBIASED:
        return np.nan
    q = len(sums) - 2
    c = moments.of(slice(q)).centred
    blocks = slice(0, p), slice(p, q)
    # ‖x_i − δ‖² = ‖x_i‖² − 2 x_i·δ + ‖δ‖²: a sum of columns, and a constant.
    weights, constant = np.zeros((2, q + 2)), np.zeros(2)
    for k, own in enumerate(blocks):
        delta = sums[own] / n
        weights[k, own], weights[k, q + k], constant[k] = -2 * delta, 1, delta @ delta
    totals = weights @ sums
    traces = totals + n * constant
    crossed = np.outer(totals, constant)
    norms = weights @ products @ weights.T + crossed + crossed.T + n * np.outer(constant, constant)

    def hsic(k: int, m: int) -> float:
        squares = (c[blocks[k], blocks[m]] ** 2).sum()
        return squares + traces[k] * traces[m] / ((n - 1) * (n - 2)) - n / (n - 2) * norms[k, m]

    return _ratio(hsic(0, 1), hsic(0, 0), hsic(1, 1))


def rsa(moments: Moments, origin: np.ndarray, p: int) -> float:
    """Correlation of the upper triangles of the row × row Pearson correlations of two embeddings.

    Kriegeskorte et al. 2008. With w_i = z_i − μ and c = ‖μ‖², R_ij − c = w_i·w_j + μ·w_i + μ·w_j,
    so that over all pairs, the diagonal (where R is 1) among them,

        Σ (R − c)(R' − c') = ‖WᵀW'‖²_F + 2n μᵀWᵀW'μ',   Σ (R − c) = 0.

    Nothing large cancels, however alike all rows are.

    Args:
      moments: of rows centred and scaled to length 1, the p columns of the first embedding and
        then those of the second.
      origin: (q,) what the moments are about.

    Returns:
      NaN with fewer than three rows, or where one embedding's correlations are all the same.
    """
    n = moments.count
    if n < 3:
        return np.nan
    c, mean = moments.centred, origin + moments.sums / n
    blocks = slice(0, p), slice(p, None)
    short = [np.trace(c[own, own]) / n for own in blocks]  # 1 − ‖μ‖²
    pairs = n * (n - 1)

    def covariance(k: int, m: int) -> float:
        cross = c[blocks[k], blocks[m]]
        every = (cross**2).sum() + 2 * n * (mean[blocks[k]] @ cross @ mean[blocks[m]])
        diagonal = n * short[k] * short[m]
        return (every - diagonal) / pairs - diagonal * n / pairs**2

    own = covariance(0, 0), covariance(1, 1)
    for variance, spread in zip(own, short, strict=True):
        if spread < ROUNDING or variance <= ALIKE * spread**2:
            return np.nan
    return _ratio(covariance(0, 1), *own)


def participation_ratio(moments: Moments) -> float:
    """(Σλ)² / Σλ² of the covariance's eigenvalues λ: as many dimensions, were they all alike.

    NaN where all columns are constant.
    """
    c = moments.centred
    squares = (c**2).sum()
    return float(np.trace(c) ** 2 / squares) if squares > 0 else np.nan


def whitening(products: np.ndarray) -> np.ndarray:
    """(p, r) weights T with TᵀGT = 1 to rounding, of the r columns' directions that there are.

    Args:
      products: (p, p) G. Columns are brought to one scale first; a direction whose eigenvalue is
        less than `DEPENDENT` of the largest is none.
    """
    scale = np.sqrt(np.diagonal(products))
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    values, vectors = scipy.linalg.eigh(products * inverse * inverse[:, None])
    there = values > max(DEPENDENT * values[-1], 0)
    return inverse[:, None] * vectors[:, there] / np.sqrt(values[there])


def canonical(products: np.ndarray, r: int, rows: int) -> tuple[float, float]:
    """Mean of the squared canonical correlations ρ² (Hotelling 1936), and Σρ²·ρ² / Σρ².

    Both are of the spans of the two sets of columns; the mean is over as many correlations as the
    smaller span has dimensions.

    Args:
      products: (r + r', r + r') of columns that are nearly white: about the mean for the centred
        form, about 0 for raw columns.
      rows: dimensions that there are, n for raw columns and n − 1 for centred ones.

    Returns:
      NaN where the spans together have more dimensions than that, so that they must meet.
    """
    first, own = _white(products[:r, :r], products[:r, r:])
    second, other = _white(products[r:, r:], first.T)  # (r', r)
    if not min(own, other) or own + other > rows:
        return np.nan, np.nan
    squares = second @ second.T
    total = np.trace(squares)
    return total / min(own, other), _over((squares**2).sum(), total)


def _white(own: np.ndarray, cross: np.ndarray) -> tuple[np.ndarray, int]:
    """Rows (r, r') divided by a root of (r, r), and how many of them there are."""
    try:
        factor = scipy.linalg.cholesky(own, lower=True)
        if np.diagonal(factor).min(initial=1) ** 2 > SINGULAR:
            return scipy.linalg.solve_triangular(factor, cross, lower=True), len(own)
    except np.linalg.LinAlgError:
        pass
    weights = whitening(own)
    return weights.T @ cross, weights.shape[1]


def jackknife(value: float, deleted: np.ndarray, confidence: float) -> tuple[float, float]:
    """Ends of value ± t·s of a delete-a-group jackknife (Efron & Tibshirani 1993, ch. 11).

    s² = (g − 1)/g Σ (θ₍ᵢ₎ − θ̄)² of the values (g,) without each of g groups of equal size, t with
    g − 1 degrees of freedom. NaN where one of them is.
    """
    g = len(deleted)
    error = np.sqrt((g - 1) / g * ((deleted - deleted.mean()) ** 2).sum())
    t = scipy.special.stdtrit(g - 1, (1 + confidence) / 2)
    return value - t * error, value + t * error


def _ratio(cross: float, first: float, second: float) -> float:
    if not (first > 0 and second > 0):
        return np.nan
    return float(cross / (np.sqrt(first) * np.sqrt(second)))


def _over(a: float, b: float) -> float:
    return float(a / b) if b > 0 else np.nan
