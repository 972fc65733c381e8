"""How sure a score or an index is: standard errors, paired tests and their adjustment."""

from __future__ import annotations

import functools

import numpy as np

ALL_EQUAL = "all fold differences are zero"
ONE_FOLD = "one fold only"
EXACT = 50  # folds up to which SciPy's test is exact


def standard_error(fold: np.ndarray) -> np.ndarray:
    """std (ddof 0) over folds / √folds, the paper's SEM; folds on the last axis."""
    folds = fold.shape[-1]
    if folds < 2:
        return np.full(fold.shape[:-1], np.nan)
    return fold.std(axis=-1) / np.sqrt(folds)


def within_one_error(scores: np.ndarray, errors: np.ndarray, larger_is_better: bool) -> np.ndarray:
    """Which scores are within one standard error of the best one, by the best one's error.

    The rule of Breiman, Friedman, Olshen and Stone (1984) for choosing among nested models.

    Args:
      scores: (s,), NaN where undefined.
      errors: (s,) standard errors.

    Returns:
      (s,) objects: True, False, or None where a score or the best one's error is undefined.
    """
    found = np.full(len(scores), None)
    known = np.flatnonzero(~np.isnan(scores))
    losses = -scores[known] if larger_is_better else scores[known]
    if len(known) and not np.isnan(errors[known[losses.argmin()]]):
        best = losses.argmin()
        found[known] = losses <= losses[best] + errors[known[best]]
    return found


def wilcoxon(differences: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """One-sided Wilcoxon signed-rank tests that differences are above zero.

    Args:
      differences: (m, k) one test a row, folds on the last axis; rows with NaN give NaN.

    Returns:
      (m,) p-values as `scipy.stats.wilcoxon(d, alternative="greater")`, and m reasons, "" where the
      p-value is defined or the difference is not.
    """
    m, k = differences.shape
    p_values, reasons = np.full(m, np.nan), np.full(m, "", object)
    defined = ~np.isnan(differences).any(axis=1)
    if k < 2:
        reasons[defined] = ONE_FOLD
        return p_values, list(reasons)
    size = np.abs(differences)
    order = size.argsort(axis=1)
    ordered = np.take_along_axis(size, order, axis=1)
    equal = defined & (ordered[:, -1] == 0)
    reasons[equal] = ALL_EQUAL
    distinct = (ordered[:, 0] > 0) & (ordered[:, 1:] != ordered[:, :-1]).all(axis=1)
    exact = defined & distinct if k <= EXACT else np.zeros(m, bool)
    rank = np.arange(1, k + 1)
    positive = np.take_along_axis(differences, order, axis=1) > 0
    p_values[exact] = _signed_ranks(k)[(positive[exact] * rank).sum(axis=1)]
    for i in np.flatnonzero(defined & ~equal & ~exact):
        from scipy import stats  # here, because importing it takes longer than all the rest

        p_values[i] = stats.wilcoxon(differences[i], alternative="greater").pvalue
    return p_values, list(reasons)


@functools.cache
def _signed_ranks(n: int) -> np.ndarray:
    """P(W ≥ w), w = 0 … n(n + 1)/2, of the sum W of the positive ranks where signs are random."""
    ways = np.ones(1)
    for rank in range(1, n + 1):
        ways = np.pad(ways, (0, rank)) + np.pad(ways, (rank, 0))
    return ways[::-1].cumsum()[::-1] / 2.0**n


def benjamini_hochberg(p_values: np.ndarray) -> np.ndarray:
    """Adjusted p-values of one family; NaN stays NaN and does not count."""
    adjusted = np.full(len(p_values), np.nan)
    known = np.flatnonzero(~np.isnan(p_values))
    order = known[np.argsort(p_values[known])]
    scaled = p_values[order] * len(order) / np.arange(1, len(order) + 1)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1)
    return adjusted
