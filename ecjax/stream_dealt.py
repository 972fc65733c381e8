"""To which folds, and inner groups, the rows of a stream are dealt.

Axes: r seeds, n rows of the task's table, m rows of a batch, k folds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ecjax.folds import NOWHERE


class Dealt(NamedTuple):
    """To which cells the rows are dealt.

    Attributes:
      fold_of_row: (r, n) of all rows of the task's table, NOWHERE for those that none scores.
      group_of_row: (r, n) the inner group of a row that is trained on, or None.
      folds: k.
      parts: k, or k + 1 with the rows that no fold scores.
      groups: that the rows of each part are dealt to.
      names: of the folds.
    """

    fold_of_row: np.ndarray
    group_of_row: np.ndarray | None
    folds: int
    parts: int
    groups: int
    names: tuple[str, ...]

    @property
    def cells(self) -> int:
        """Of a seed: a group of a part each, the groups of one part after the other."""
        return self.parts * self.groups

    def scored(self, count: np.ndarray) -> np.ndarray:
        """(r, k) rows that each fold scores, of those of all cells."""
        return count.reshape(-1, self.parts, self.groups).sum(2)[:, : self.folds].astype(int)

    def of_seeds(self, rows: np.ndarray) -> np.ndarray:
        """(r, m) the cell of each of some rows within its seed."""
        fold = self.fold_of_row[:, rows]
        cells = np.where(fold == NOWHERE, self.folds, fold) * self.groups
        return cells if self.group_of_row is None else cells + self.group_of_row[:, rows]

    def cells_of(self, rows: np.ndarray) -> np.ndarray:
        """(r, m) the cell among those of all seeds."""
        cells = self.of_seeds(rows)
        return cells + self.cells * np.arange(len(cells))[:, None]
