"""Scores from sums over held-out rows.

Axes: r seeds, s subsets, k folds, t targets, c classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ecjax.sums import ClassSums, RegressionSums

METRICS = {
    "regression": ("r2", "mse"),
    "classification": ("accuracy", "balanced_accuracy", "log_loss"),
}
PERFECT = {"r2": 1.0, "mse": 0.0, "accuracy": 1.0, "balanced_accuracy": 1.0, "log_loss": 0.0}
NOT_CONVERGED = "float32 did not converge; use --precision=float64 or a larger penalty"
PRIMARY = {"regression": "r2", "classification": "accuracy"}


@dataclasses.dataclass(frozen=True)
class Scores:
    """One metric of one task, or of one of its targets.

    Attributes:
      metric: a key of PERFECT.
      fold: (r, s, k) score of each fold; NaN where undefined.
      pooled: (r, s) score of all held-out rows together.
      loss: (s,) pooled loss, averaged over seeds, whose ratio is the pooled index: squared error,
        share of errors, 1 − mean class recall, or log-loss.
      reason: why something is undefined; "" where nothing is.
      lost, among: (r, s, k, c) and (r, k, c) of each fold: the loss of any folds together, on the
        scale of the score, is `mean_share` of their sums.
    """

    metric: str
    fold: np.ndarray
    pooled: np.ndarray
    loss: np.ndarray
    reason: str
    lost: np.ndarray
    among: np.ndarray

    @property
    def unit(self) -> int:
        """The column of `loss_moments.RowMoments` that divides losses."""
        return -2 if self.metric == "r2" else -1


def regression_scores(sums: RegressionSums, targets: Sequence[int]) -> tuple[Scores, Scores]:
    """R² (variance-weighted over targets, as scikit-learn's) and mean squared error.

    A target that is constant in a fold carries no weight there, and one that is constant in the
    table none anywhere. Squared errors are of targets divided by the table's standard deviation.

    Args:
      targets: columns of the sums to score together.
    """
    varying = varying_targets(sums, targets)
    error = sums.squared_error[..., varying]  # (r, s, k, t)
    spread = sums.spread[..., varying]  # (r, k, t)
    if not varying:
        nothing = np.full(error.shape[:3], np.nan)
        reason = "the target is constant" if len(targets) == 1 else "all targets are constant"
        parts = (nothing, nothing[..., 0], nothing[0, :, 0], reason, *_undefined(nothing))
        return Scores("r2", *parts), Scores("mse", *parts)

    total = spread.sum(-1)[:, None]  # (r, 1, k)
    weighted = np.where(spread[:, None] > 0, error, 0.0).sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = np.where(total > 0, 1 - weighted / total, np.nan)
    flat = np.argwhere(total[:, 0] == 0)
    reason = f"the target is constant in fold {flat[0, 1]}" if len(flat) else ""
    # Only fits that refinement could not bring to float64's accuracy have no error.
    failed = np.argwhere(np.isnan(error))
    unfinished = f"{NOT_CONVERGED} (fold {failed[0, 2]})" if len(failed) else ""

    pooled_error = error.sum((2, 3))  # (r, s)
    pooled_spread = sums.pooled_spread[varying].sum()  # 0 where only left-out rows differ
    pooled_spread = pooled_spread if pooled_spread > 0 else np.nan
    rows = sums.count.sum(1)[:, None]
    lost, among = error.sum(-1, keepdims=True), sums.count[..., None]
    # Each row has its share of the spread.
    per_row = pooled_spread / rows[:, :, None]
    return (
        Scores(
            "r2",
            r2,
            1 - pooled_error / pooled_spread,
            pooled_error.mean(0),
            reason or unfinished,
            lost,
            among * per_row,
        ),
        Scores(
            "mse",
            error.sum(-1) / (sums.count[:, None] * len(varying)),
            pooled_error / (rows * len(varying)),
            pooled_error.mean(0),
            unfinished,
            lost,
            among * len(varying),
        ),
    )


def varying_targets(sums: RegressionSums, targets: Sequence[int]) -> list[int]:
    """Those that are not constant in the table, and so have scores."""
    return [t for t in targets if sums.scale[t] > 0]


def class_scores(
    sums: ClassSums, why_absent: str = "a class is absent from the training rows of"
) -> tuple[Scores, Scores, Scores]:
    """Accuracy, balanced accuracy (mean recall of the classes at hand) and log-loss.

    why_absent: why a row's own class has probability 0, before the fold.
    """
    if sums.count.shape[-1] < 2:
        nothing = np.full(sums.log_loss.shape, np.nan)
        parts = (nothing, nothing[..., 0], nothing[0, :, 0], "there is only one class")
        parts = (*parts, *_undefined(nothing))
        return tuple(Scores(metric, *parts) for metric in METRICS["classification"])

    count = sums.count[:, None]  # (r, 1, k, c)
    rows = count.sum(-1)
    accuracy = sums.hits.sum(-1) / rows
    balanced = _mean_recall(sums.hits, count)
    pooled_accuracy = sums.hits.sum((2, 3)) / rows.sum(-1)
    pooled_balanced = _mean_recall(sums.hits.sum(2), count.sum(2))
    finite = np.where(np.isfinite(sums.log_loss), sums.log_loss, np.nan)
    log_loss = finite / rows
    pooled_log_loss = finite.sum(2) / rows.sum(-1)
    absent = np.argwhere(np.isnan(finite))
    reason = ""
    if len(absent):
        reason = f"{why_absent} fold {absent[0, 2]}"
    missed, among = count - sums.hits, sums.count
    misses = missed.sum(-1, keepdims=True), among.sum(-1, keepdims=True)
    losses = finite[..., None], misses[1]
    return (
        Scores("accuracy", accuracy, pooled_accuracy, 1 - pooled_accuracy.mean(0), "", *misses),
        Scores("balanced_accuracy", balanced, pooled_balanced, 1 - pooled_balanced.mean(0), "",
               missed, among),
        Scores("log_loss", log_loss, pooled_log_loss, pooled_log_loss.mean(0), reason, *losses),
    )  # fmt: skip


def mean_share(lost: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Mean of lost/among (…, c) over the parts (classes) among which there is something."""
    some = ~(among == 0)  # not a number is something
    share = np.divide(lost, among, out=np.zeros(lost.shape), where=some)
    return share.sum(-1) / np.broadcast_to(some, lost.shape).sum(-1)


def _undefined(nothing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`lost` and `among` where no score (r, s, k) is defined."""
    return nothing[..., None], np.ones((len(nothing), nothing.shape[2], 1))


def _mean_recall(hits: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Mean over the classes (last axis) that have rows."""
    recall = np.divide(hits, count, out=np.zeros(hits.shape), where=count > 0)
    return recall.sum(-1) / (count > 0).sum(-1)
