"""Protocol `strict`: grids of penalties, and the inner folds that choose from them.

The folds that remain when an outer one is held out are dealt in turn into groups, and each group
is tested by fits to the others. So inner moments are sums of outer folds' moments. Where fewer than
two folds remain, the training rows themselves are dealt.

Axes: r seeds, k folds, h held-out rows of a fold, m groups, g rows of a group, l penalties.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ecjax.folds import Folds, random_folds

LEAST_FOLDS = 3  # with fewer, fewer than two remain when one is held out
INNER_FOLDS = {"regression": 5, "classification": 3}
# Times the number of training rows of the outer fold: λ of ridge regression, 1/C of logistic.
RIDGE_LAMBDA = 10.0 ** np.arange(2, -4.5, -0.5)
INVERSE_C = 10.0 ** np.arange(-1, -5.5, -1)


class Choices(NamedTuple):
    """What the penalties of one kind of task are chosen from, and by which rows.

    Attributes:
      grid: (r, k, l) λ or C, the strongest first.
      rows: (r, k, m, g) the training rows of each fold in m groups, n for none; None where the
        groups are whole folds of all rows, see `groups_of_folds`.
    """

    grid: np.ndarray
    rows: np.ndarray | None


def group_count(folds: int, asked: int | None, kind: str) -> int:
    """How many groups the training rows of a fold are dealt into.

    Args:
      asked: 0: each remaining fold its own; None: as INNER_FOLDS.
      kind: of the task, "regression" or "classification".
    """
    asked = INNER_FOLDS[kind] if asked is None else asked
    if folds < LEAST_FOLDS:
        return asked or INNER_FOLDS[kind]
    return min(asked or folds, folds - 1)


def groups_of_folds(folds: int, groups: int) -> np.ndarray:
    """(k, k): the group of each fold where the one of that row is held out, −1 for itself."""
    table = np.full((folds, folds), -1)
    for held_out in range(folds):
        remaining = np.delete(np.arange(folds), held_out)
        table[held_out, remaining] = np.arange(folds - 1) % groups
    return table


def rows_of_groups(folds: Folds, groups: int, seeds: Sequence[int]) -> np.ndarray | None:
    """(r, k, m, g) as `Choices.rows`.

    Groups are folds where two or more remain, less the rows that a buffer drops; else the training
    rows are dealt as KFold(m, shuffle, the seed) deals them.
    """
    k = folds.count
    if k >= LEAST_FOLDS and folds.scored is None:
        return None
    group_of = groups_of_folds(k, groups) if k >= LEAST_FOLDS else None
    dealt: list[list[np.ndarray]] = []
    for r, (seed, fold_of_row) in enumerate(zip(seeds, folds.fold_of_row(), strict=True)):
        for fold in range(k):
            training = np.setdiff1d(np.arange(folds.rows), folds.held_out[r, fold])
            if group_of is None:
                places = random_folds(len(training), min(groups, len(training)), (seed,))
                dealt.append([training[own[own < len(training)]] for own in places.held_out[0]])
            else:
                group = group_of[fold, fold_of_row[training]]  # each is scored by a fold
                dealt.append([training[group == g] for g in range(groups)])
    widest = max(len(rows) for own in dealt for rows in own)
    most = max(map(len, dealt))
    padded = np.full((len(dealt), most, widest), folds.rows, np.int32)
    for place, own in zip(padded, dealt, strict=True):
        for line, rows in zip(place, own, strict=False):
            line[: len(rows)] = rows
    return padded.reshape(len(seeds), k, most, widest)


def ridge_grid(given: Sequence[float] | None, training: np.ndarray) -> np.ndarray:
    """(r, k, l) penalties λ, largest first.

    Args:
      given: absolute ones; None: half-decades, times the number of training rows.
      training: (r, k) their numbers.
    """
    if given is None:
        return training[:, :, None] * RIDGE_LAMBDA
    return np.broadcast_to(np.sort(given)[::-1], (*training.shape, len(given)))


def logistic_grid(given: Sequence[float] | None, training: np.ndarray) -> np.ndarray:
    """(r, k, l) inverse penalties C, smallest first; arguments as for `ridge_grid`."""
    if given is None:
        return 1 / (training[:, :, None] * INVERSE_C)
    return np.broadcast_to(np.sort(given), (*training.shape, len(given)))
