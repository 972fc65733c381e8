"""The index under `strict`: the best single of each fold is chosen on the other folds.

For an outer fold it is the member with the smallest pooled loss on all other folds; where fewer
than two folds remain, the one with the smallest inner loss. So no row helps to choose the single
that it is compared on. All numbers are of pooled losses.

Axes: r seeds, s subsets, k folds, m members of a set, c parts of a loss (classes of a mean recall).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ecjax.complementarity import PERFECT_SINGLE, Index, complementarity_index
from ecjax.inner import LEAST_FOLDS
from ecjax.scores import PERFECT, Scores, mean_share
from ecjax.uncertainty import wilcoxon


def strict_index(
    scores: Scores, subsets: Sequence[tuple[int, ...]], inner_loss: np.ndarray
) -> Index:
    """Indices of all sets of two or more models.

    Args:
      inner_loss: (r, s, k) of the chosen penalties.
    """
    perfect = PERFECT[scores.metric]
    sign = 1.0 if perfect == 1 else -1.0  # errors: smaller is better
    where = {subset: i for i, subset in enumerate(subsets)}
    fused = np.array([i for i, subset in enumerate(subsets) if len(subset) > 1], int)
    r, _, k = scores.fold.shape
    seed, fold = np.arange(r)[:, None], np.arange(k)
    undefined = np.full(len(fused), np.nan)
    by_fold = np.full((len(fused), r, k), -1)
    best, share, best_loss, loss = np.full(len(fused), -1), *(undefined.copy() for _ in range(3))
    differences = np.full((len(fused), k), np.nan)
    for j, i in enumerate(fused):
        members = np.array([where[(m,)] for m in subsets[i]])
        loss[j] = mean_share(scores.lost[:, i].sum(1), scores.among.sum(1)).mean()
        if not (np.isfinite(scores.lost[:, members]).all() and np.isfinite(scores.among).all()):
            continue
        by_fold[j] = members[_choice(scores, members, inner_loss)]
        best_lost = scores.lost[seed, by_fold[j], fold]  # (r, k, c)
        best_loss[j] = mean_share(best_lost.sum(1), scores.among.sum(1)).mean()
        times = (by_fold[j] == members[:, None, None]).sum((1, 2))
        best[j], share[j] = members[times.argmax()], times.max() / by_fold[j].size
        chosen = scores.fold[0, by_fold[j, 0], fold]
        differences[j] = sign * (scores.fold[0, i] - chosen)
    p_value, test_reasons = wilcoxon(differences)
    eci = complementarity_index(loss, best_loss, 0.0) + 0.0  # no negative zero
    # A reason of the scores is one of this set only if its test is undefined.
    reasons = [
        PERFECT_SINGLE if single == 0 else (scores.reason if np.isnan(p) else "") or reason
        for single, p, reason in zip(best_loss, p_value, test_reasons, strict=True)
    ]
    score, best_score = perfect - sign * loss, perfect - sign * best_loss
    return Index(
        fused, best, score, best_score, eci, eci, p_value, reasons, share=share, by_fold=by_fold
    )


def _choice(scores: Scores, members: np.ndarray, inner_loss: np.ndarray) -> np.ndarray:
    """(r, k) the position among the members of the best single for each fold."""
    if scores.fold.shape[2] < LEAST_FOLDS:
        return inner_loss[:, members].argmin(1)
    lost = scores.lost[:, members]  # (r, m, k, c)
    others = lost.sum(2, keepdims=True) - lost
    among = scores.among.sum(1, keepdims=True) - scores.among  # (r, k, c)
    return mean_share(others, among[:, None]).argmin(1)
