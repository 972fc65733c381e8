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

DEPENDENT = 1e-12  # eigenvalues smaller than so many times the largest are no direction
CLEAR = 2e-14  # and those smaller than this are clearly rounding
SAME = 1e-6  # of a mean: what lies along a direction in which nothing varies, but for rounding
SINGULAR = 1e-8  # of white columns, squares of pivots at which some rows have dependent columns
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


class White(NamedTuple):
    """What makes an embedding's centred columns white.

    Attributes:
      weights: (p, r) T with TᵀGT = 1 to rounding, of the r directions that there are.
      constant: whether some direction is the same in all rows and not 0, so that raw columns span
        the constant as well.
      doubtful: whether a direction is neither clearly there nor clearly rounding.
    """

    weights: np.ndarray
    constant: bool
    doubtful: bool

    @property
    def raw(self) -> int:
        """Dimensions of the raw columns' span."""
        return self.weights.shape[1] + self.constant


def whitening(products: np.ndarray, mean: np.ndarray) -> White:
    """Of columns with these products (p, p) about the mean, and this mean (p,).

    Columns are brought to one scale first; a direction whose eigenvalue is less than `DEPENDENT` of
    the largest is none.
    """
    scale = np.sqrt(np.diagonal(products))
    varies = scale > 0
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=varies)
    values, vectors = scipy.linalg.eigh(products * inverse * inverse[:, None])
    there = values > max(DEPENDENT * values[-1], 0)
    weights = inverse[:, None] * vectors[:, there] / np.sqrt(values[there])
    offset = mean * inverse
    along = (offset @ vectors[:, ~there])[: np.count_nonzero(~there)]
    constant = np.abs(along).max(initial=0) > SAME * np.linalg.norm(offset)
    doubtful = (values[~there] > CLEAR * values[-1]).any()
    return White(weights, bool(constant or mean[~varies].any()), bool(doubtful))


def canonical(
    moments: Moments, r: int, origin: np.ndarray, constant: tuple[bool, bool]
) -> tuple[float, float, float]:
    """Squared canonical correlations ρ² (Hotelling 1936) of the spans of two sets of columns.

    In coordinates in which centred columns are orthonormal, M holds their products. Raw columns are
    those plus m times the constant 1/√n; their span has the orthonormal basis
    E = [1 − m mᵀ/(1 + s + √(1 + s)); mᵀ/√(1 + s)] with s = ‖m‖², so that the raw form is
    Eᵀ [M 0; 0 1] E', which loses nothing to offsets, however large.

    Args:
      moments: of white columns, r of the first embedding and then those of the second.
      origin: what they are about.
      constant: as `White.constant`, of both.

    Returns:
      For raw columns the mean of ρ² over as many as the smaller span has dimensions; for centred
      ones; and for raw ones Σρ²·ρ² / Σρ². NaN where the spans together have more dimensions than
      the rows, and so must meet, or where the columns are not independent on these rows.
    """
    n, c = moments.count, moments.centred
    mean = np.sqrt(n) * (origin + moments.sums / n)
    other = len(mean) - r
    if max(r + other + 1, r + other + sum(constant)) > n or not min(r, other):
        return np.nan, np.nan, np.nan
    left = _over_root(c[:r, :r], np.column_stack([c[:r, r:], mean[:r]]))
    if left is None:
        return np.nan, np.nan, np.nan
    right = _over_root(c[r:, r:], np.column_stack([left[:, :-1].T, mean[r:]]))
    if right is None:
        return np.nan, np.nan, np.nan
    inner = np.zeros((other + 1, r + 1))  # [M 0; 0 1], the second embedding's by the first's
    inner[:-1, :-1], inner[-1, -1] = right[:, :-1], 1
    bases = [_raw_basis(m[:, -1], one) for m, one in zip((left, right), constant, strict=True)]
    raw, total = _squares(bases[1].T @ inner @ bases[0])
    _, about = _squares(inner[:-1, :-1])
    smaller = min(basis.shape[1] for basis in bases)
    return total / smaller, about / min(r, other), (raw**2).sum() / total if total else np.nan


def _squares(m: np.ndarray) -> tuple[np.ndarray, float]:
    """A matrix whose eigenvalues are ρ² and zeros, and Σρ²."""
    squares = m.T @ m if m.shape[1] < m.shape[0] else m @ m.T
    return squares, float(np.trace(squares))


def _raw_basis(m: np.ndarray, constant: bool) -> np.ndarray:
    """(r + 1, r) E of `canonical`; where the span holds the constant itself, (r + 1, r + 1)."""
    if constant:
        return np.eye(len(m) + 1)
    s = m @ m
    top = np.eye(len(m)) - np.outer(m, m) / (1 + s + np.sqrt(1 + s))
    return np.vstack([top, m / np.sqrt(1 + s)])


def _over_root(own: np.ndarray, right: np.ndarray) -> np.ndarray | None:
    """L⁻¹ right with L Lᵀ = own (r, r), nearly white; None where its columns are dependent."""
    try:
        factor = scipy.linalg.cholesky(own, lower=True)
    except np.linalg.LinAlgError:
        return None
    if np.diagonal(factor).min() ** 2 <= SINGULAR:
        return None
    return scipy.linalg.solve_triangular(factor, right, lower=True)


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
