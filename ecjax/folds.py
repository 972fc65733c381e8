"""Folds: which rows each fold holds out, as arrays of fixed shape."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Folds(NamedTuple):
    """Held-out rows of k folds for each of r seeds.

    Attributes:
      held_out: (r, k, h) int32, row numbers; shorter folds are padded with n, a row out of range.
      sizes: (r, k) int64, the number of rows in each fold.
    """

    held_out: np.ndarray
    sizes: np.ndarray

    def fold_of_row(self) -> np.ndarray:
        """(r, n) int64: the fold that holds out each row."""
        seeds, folds, _ = self.held_out.shape
        n = int(self.sizes[0].sum())
        fold = np.empty((seeds, n), np.int64)
        for r in range(seeds):
            for k in range(folds):
                fold[r, self.held_out[r, k, : self.sizes[r, k]]] = k
        return fold


def random_folds(n: int, folds: int, seeds: tuple[int, ...]) -> Folds:
    """Shuffled folds, assigned exactly as scikit-learn's `KFold(folds, shuffle=True, seed)`.

    A permutation from NumPy's legacy generator is cut into contiguous parts, the first n % folds of
    them one row longer; each part is sorted.

    Args:
      n: number of rows.
      folds: number of folds, at least 2 and at most n.
      seeds: one assignment for each.
    """
    sizes = np.full(folds, n // folds, np.int64)
    sizes[: n % folds] += 1
    stops = np.cumsum(sizes)
    held_out = np.full((len(seeds), folds, int(sizes[0])), n, np.int32)
    for r, seed in enumerate(seeds):
        order = np.arange(n)
        np.random.RandomState(seed).shuffle(order)
        for k, (size, stop) in enumerate(zip(sizes, stops, strict=True)):
            held_out[r, k, :size] = np.sort(order[stop - size : stop])
    return Folds(held_out, np.broadcast_to(sizes, (len(seeds), folds)))
