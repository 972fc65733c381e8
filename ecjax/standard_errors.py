"""Standard errors that rest on further fits, for intervals of kinds `refit` and `nested`.

`refit`: units (rows, blocks or groups) are drawn with replacement, a row's copies keep its fold,
and every fit is repeated on what was drawn, with the penalties and the best singles of the original
fits. The standard error of a log ratio of pooled losses, or of a linear combination of them, is its
standard deviation over the replicates, times √(g/(g − 1)): means of g units vary by that much more
than those of units that are drawn from these. It is used about the original estimate, because
quantiles of the replicates would be off centre: fits to repeated rows overfit.

`nested`: nested cross-validation (Bates, Hastie & Tibshirani, "Cross-validation: what does it
estimate and how well does it do it?", 2021, arXiv 2104.00673, algorithm 1; bounds as in the
authors' R package nestedcv). Of the k folds each one, j, is set aside, and the others are
cross-validated among themselves. With e_out the losses of its n_j rows by the usual fit and e_in
those of all other rows by fits that knew neither fold j nor their own,

    a_j = (mean(e_in) − mean(e_out))²,   b_j = var(e_out)/n_j,   MSE = mean over j of a_j − b_j,

and over seeds. The standard error is √((k − 1)/k · MSE), because MSE is that of n(k − 1)/k rows,
yet no less than the naive one, that of means over independent rows, and no more than √k times it.
In the place of losses stands what a row adds to a log ratio of pooled losses, e_f/L_f − e_m/L_m, or
to a linear combination of them. Where units are blocks or groups, b_j is of their sums over the
fold: g_j/(g_j − 1) · Σ_u (Σ_i∈u (e_i − ē))²/n_j². The paper moves the estimate by one of its bias
against training on all n rows; here it stays, because it is meant for n(1 − 1/k) rows.

Axes: b replicates, g units, m columns of `loss_moments.RowMoments`, j comparisons or combinations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

CELLS = 2**22  # of an array of comparisons and replicates


class RefitErrors(NamedTuple):
    """Of replicates whose fits were repeated.

    Attributes:
      losses: (m, b) pooled ones.
      units: g.
    """

    losses: np.ndarray
    units: int

    def of_ratios(self, fused: np.ndarray, over: np.ndarray) -> np.ndarray:
        """(j,) of log ratios of losses; NaN where fewer than two replicates have one."""
        sd = [_deviation(ratios)[1] for ratios in self._log_ratios(fused, over)]
        return np.concatenate([*sd, np.zeros(0)]) * self._few

    def of_combinations(self, weights: np.ndarray, unit: int) -> np.ndarray:
        """(j,) of linear combinations with weights (j, m), divided by the column `unit`."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return _deviation(weights @ self.losses / self.losses[unit])[1] * self._few

    def largest(self, fused: np.ndarray, over: np.ndarray) -> np.ndarray:
        """(b,) the largest |error about the mean| ÷ standard deviation of log ratios, sorted."""
        largest = np.zeros(self.losses.shape[1])
        for ratios in self._log_ratios(fused, over):
            mean, sd = _deviation(ratios)
            with np.errstate(divide="ignore", invalid="ignore"):
                t = np.abs(ratios - mean[:, None]) / sd[:, None]
            largest = np.maximum(largest, np.where(np.isfinite(t), t, 0).max(0, initial=0))
        return np.sort(largest)

    @property
    def _few(self) -> float:
        return np.sqrt(self.units / (self.units - 1)) if self.units > 1 else np.nan

    def _log_ratios(self, fused: np.ndarray, over: np.ndarray) -> Iterator[np.ndarray]:
        """(j', b) of some comparisons after the others."""
        step = max(1, CELLS // self.losses.shape[1])
        for start in range(0, len(fused), step):
            some = slice(start, start + step)
            with np.errstate(divide="ignore", invalid="ignore"):
                yield np.log(self.losses[fused[some]] / self.losses[over[some]])


def _deviation(drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (ddof 1) of (j, b) over the replicates where it is finite."""
    known = np.isfinite(drawn)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(known, drawn, 0).sum(1) / known.sum(1)
        squares = np.where(known, (drawn - mean[:, None]) ** 2, 0).sum(1)
        return mean, np.sqrt(np.where(known.sum(1) > 1, squares / (known.sum(1) - 1), np.nan))


class NestedErrors(NamedTuple):
    """Of nested cross-validation, as quadratic forms in the weights of the columns.

    Attributes:
      mean, naive: (m,) mean losses and (m, m) what a combination of them varies by, naively.
      mse: (m, m) mean over folds and seeds of a − b, on the same scale.
      folds: k.
    """

    mean: np.ndarray
    naive: np.ndarray
    mse: np.ndarray
    folds: int

    def of_ratios(self, fused: np.ndarray, over: np.ndarray) -> np.ndarray:
        """(j,) of log ratios of losses; NaN where one is zero or undefined."""
        with np.errstate(divide="ignore", invalid="ignore"):
            a, b = 1 / self.mean[fused], -1 / self.mean[over]

        def of(form: np.ndarray) -> np.ndarray:
            squares = form[fused, fused] * a * a + form[over, over] * b * b
            return squares + (form[fused, over] + form[over, fused]) * a * b

        with np.errstate(invalid="ignore"):
            return self._within(of)

    def of_combinations(self, weights: np.ndarray, unit: int) -> np.ndarray:
        """As those of `RefitErrors`."""
        own = np.array(weights, float)
        own[:, unit] -= own @ self.mean / self.mean[unit]
        return self._within(lambda form: np.einsum("jm,jm->j", own @ form, own)) / self.mean[unit]

    def _within(self, of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """The standard error, between the naive one and √k times it."""
        naive, k = np.maximum(of(self.naive), 0), self.folds
        return np.sqrt(np.clip((k - 1) / k * of(self.mse), naive, k * naive))
