"""How well ridge regression tells one embedding from another, from moments of folds alone.

The same fits and the same choice of λ as `host_nested`'s, without the rows: a fold's squared error
is the inner loss's formula on the fold itself, which is right to 1e-16/(1 − R²) of itself.

Axes: p columns to predict from, t to predict, q = p + t, k folds, l penalties.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ecjax import blas, host
from ecjax.host_folds import Fold, Scatter, union, united
from ecjax.subsets import build_lattice


class _Fold(Fold):
    """An outer fold that is known by its moments."""

    def squared_error(self, training: Scatter, tested: Scatter, position: np.ndarray) -> np.ndarray:
        """(t,) of the tested rows, by the only subset's fit with the penalty at (1, t)."""
        inverse = self._scale(training)
        self._about(tested, training.mean, inverse)
        self._solve(self.grid[position[0, 0]])
        return self._loss()[0]


def squared_errors(
    folds: Sequence[Scatter], p: int, grid: np.ndarray, groups: np.ndarray
) -> np.ndarray:
    """(k, t) squared errors of the last t columns in each fold, by fits to the other folds.

    λ is chosen for each fold by inner cross-validation among the others, one for all columns.

    Args:
      folds: moments (q,) and (q, q) of each fold's rows.
      grid: (k, l) penalties, the strongest first.
      groups: (k, k) as `inner.groups_of_folds`.
    """
    t = len(folds[0].mean) - p
    lattice = build_lattice([p], [(0,)])

    def error(number: int) -> np.ndarray:
        fold = _Fold(lattice, t, grid[number], ((0, t),), ())
        training = list(united(folds, groups[number]))
        position, _ = fold.choose(training)
        return fold.squared_error(union(training), folds[number], position)

    with blas.one_thread(), ThreadPoolExecutor(host.available_cores()) as pool:
        return np.array(list(pool.map(error, range(len(folds)))))
