"""The embedding complementarity index.

Of a set S of two or more models with score s(S), perfect score s* and best single member b:

    C(S) = (s(S) − s(b)) / (s* − s(b))

(van der Plas et al., "Better Together", arXiv 2605.18667). 1: perfect; 0: no gain; negative: fusion
hurts. On pooled losses L, whose perfect value is 0, the same index is 1 − L(S)/L(b).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from ecjax.scores import PERFECT, Scores
from ecjax.uncertainty import wilcoxon

PERFECT_SINGLE = "the best single model is perfect"


def complementarity_index(fused, best_single, perfect: float = 1.0) -> np.ndarray:
    """C(S) from scores; NaN where the best single is perfect already.

    Args:
      fused: scores of the sets, any shape.
      best_single: score of each set's best member, broadcast against `fused`.
      perfect: the perfect score: 1 for R² and accuracy, 0 for an error.
    """
    fused, best_single = np.asarray(fused, float), np.asarray(best_single, float)
    left = perfect - best_single
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(left == 0, np.nan, (fused - best_single) / left)


@dataclasses.dataclass(frozen=True)
class Index:
    """The index of every fused set for one `Scores`; arrays over the m sets of two or more.

    Attributes:
      subset: positions in the list of subsets.
      best_single: position of the member with the best mean score; −1 where undefined.
      score, best_single_score, eci: on mean fold scores.
      eci_pooled: on pooled losses, against the member with the smallest.
      p_value: the paper's test on the first seed's folds.
      reason: why something is null, "" where nothing is.
      share, by_fold: under `strict`, how often the best single was chosen, and the member that was
        for each seed and fold (m, r, k), −1 where undefined; else None.
    """

    subset: np.ndarray
    best_single: np.ndarray
    score: np.ndarray
    best_single_score: np.ndarray
    eci: np.ndarray
    eci_pooled: np.ndarray
    p_value: np.ndarray
    reason: list[str]
    share: np.ndarray | None = None
    by_fold: np.ndarray | None = None


@functools.cache
def fused_sets(subsets: tuple[tuple[int, ...], ...]) -> tuple[np.ndarray, np.ndarray]:
    """Positions (m,) of the sets of two or more, and (m, M) of their M or fewer members.

    Rows of members are filled up with the first again.
    """
    where = {subset: i for i, subset in enumerate(subsets)}
    fused = [i for i, subset in enumerate(subsets) if len(subset) > 1]
    most = max((len(subsets[i]) for i in fused), default=1)
    members = [
        [where[(m,)] for m in (*subsets[i], *subsets[i][:1] * (most - len(subsets[i])))]
        for i in fused
    ]
    return np.array(fused, int), np.array(members, int).reshape(len(fused), most)


def index_of(scores: Scores, subsets: Sequence[tuple[int, ...]]) -> Index:
    """Indices of all sets of two or more models."""
    perfect = PERFECT[scores.metric]
    sign = 1.0 if perfect == 1 else -1.0  # errors: smaller is better
    fused, members = fused_sets(tuple(subsets))
    score = scores.fold.mean((0, 2))
    of_members = sign * score[members]  # (m, M)
    known = np.isfinite(of_members).all(1)
    first = np.where(known[:, None], of_members, 0).argmax(1)
    best = np.where(known, members[np.arange(len(fused)), first], -1)
    best_loss = scores.loss[members].min(1)  # NaN if any is
    best_score = np.where(known, score[best], np.nan)
    difference = sign * (scores.fold[0, fused] - scores.fold[0, best])
    p_value, test_reasons = wilcoxon(np.where(known[:, None], difference, np.nan))
    eci = complementarity_index(score[fused], best_score, perfect)
    eci_pooled = complementarity_index(scores.loss[fused], best_loss, 0.0)
    perfect_single = (best_score == perfect) | (best_loss == 0)
    # A reason of the scores is one of this set only if its scores or its members' are undefined.
    undefined = np.isnan(score[fused]) | np.isnan(best_score)
    reasons = [
        scores.reason if lacking and scores.reason else PERFECT_SINGLE if is_perfect else reason
        for lacking, is_perfect, reason in zip(undefined, perfect_single, test_reasons, strict=True)
    ]
    return Index(fused, best, score[fused], best_score, eci, eci_pooled, p_value, reasons)
