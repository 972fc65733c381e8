"""Protocol `strict`: grids of penalties, and the inner folds that choose from them.

The folds that remain when an outer one is held out are dealt in turn into groups, and each group
is tested by fits to the others. So inner moments are sums of outer folds' moments. Rows that a
buffer drops are in no group, and inner fits drop no further ones. Where fewer than two folds
remain, the training rows themselves are dealt.

Axes: r seeds, k folds, h held-out rows of a fold, m groups, g rows of a group, l penalties.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ecjax.folds import NOWHERE, Folds, padded, random_folds

LEAST_FOLDS = 3  # with fewer, fewer than two remain when one is held out
INNER_FOLDS = {"regression": 5, "classification": 3}
# Times the number of training rows of the outer fold: λ of ridge regression, 1/C of logistic.
RIDGE_LAMBDA = 10.0 ** np.arange(2, -4.5, -0.5)
INVERSE_C = 10.0 ** np.arange(-1, -5.5, -1)


class Choices(NamedTuple):
    """What the penalties of one kind of task are chosen from, and by which rows.

    Attributes:
      grid: (r, k, l) λ or C, the strongest first.
      rows: (r, k, m, g) as `groups_of_rows`. None for ridge regression where the groups are whole
        folds, see `groups_of_folds`: then their moments are sums of the folds'.
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


def groups_of_rows(folds: Folds, groups: int, seeds: Sequence[int]) -> np.ndarray:
    """(r, k, m, g): the training rows of each fold in m groups, n for none.

    The folds that still have rows, when a fold and what its buffer drops are left out, are dealt in
    turn. Where they are fewer than two, the rows are dealt as KFold(m, shuffle, the seed) deals
    them. There may be fewer groups than m; the last are then empty.
    """
    dealt: list[list[np.ndarray]] = []
    for r, (seed, fold_of_row) in enumerate(zip(seeds, folds.fold_of_row(), strict=True)):
        dealt.append([])
        for left_out in folds.held_out[r]:
            inside = np.ones(folds.rows + 1, bool)
            inside[left_out] = inside[-1] = False
            training = np.flatnonzero(inside)
            remaining, place = np.unique(fold_of_row[training], return_inverse=True)
            if len(remaining) < 2 or remaining[0] == NOWHERE:
                m = min(groups, len(training))
                parts = random_folds(len(training), m, (seed,)).held_out[0]
                own = [training[part[part < len(training)]] for part in parts]
            else:
                group = place.reshape(-1) % groups
                own = [training[group == g] for g in range(groups)]
            dealt[-1] += [*own, *[training[:0]] * (groups - len(own))]
    rows = padded(dealt, folds.rows, steady=False)
    return rows.reshape(len(dealt), folds.count, groups, -1)


def choices(
    kind: str,
    folds: Folds,
    given: Sequence[float] | None,
    asked: int | None,
    seeds: Sequence[int],
) -> Choices:
    """What the penalties of the tasks of one kind are chosen from.

    Args:
      given: the grid, or None, as `ridge_grid` and `logistic_grid` take it.
      asked: as for `group_count`.
    """
    ridge = kind == "regression"
    grid = (ridge_grid if ridge else logistic_grid)(given, folds.training)
    rows = None
    if not (ridge and folds.divided and folds.count >= LEAST_FOLDS):
        rows = groups_of_rows(folds, group_count(folds.count, asked, kind), seeds)
    return Choices(np.ascontiguousarray(grid, float), rows)


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
