"""The columns that tell which penalties were chosen under `strict`; all null under `paper`.

Axes: r seeds, s subsets, k folds, l penalties of a grid, b bands: the task's embeddings where each
has a penalty of its own, else one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

COLUMN = {"regression": "chosen_ridge_lambda", "classification": "chosen_logistic_c"}
BAND = "chosen_lambda_"  # before the name of an embedding


def at_edge(chosen: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """(r, s, k) whether a choice (r, s, k, b) is the first or the last of its grid (r, k, l)."""
    if grid.shape[2] < 2:
        return np.zeros(chosen.shape[:3], bool)
    ends = grid[:, None, :, None, [0, -1]]
    return (chosen[..., None] == ends).any((-2, -1))


class Choices(NamedTuple):
    """What was chosen for a task.

    Attributes:
      kind: of the task.
      chosen: (r, s, k, b) penalties, of b bands or a single one; None under `paper`.
      grid: (r, k, l) what they were chosen from.
      embeddings: the task's; with a penalty for each embedding they are its bands.
      bands: the embeddings that the tables have a column for; () where a set has one penalty.
    """

    kind: str
    chosen: np.ndarray | None
    grid: np.ndarray | None
    embeddings: Sequence[str]
    bands: Sequence[str]

    def _by_column(self) -> dict[str, np.ndarray]:
        """Column → (r, s, k) penalties."""
        if self.chosen is None:
            return {}
        if self.bands and self.kind == "regression":
            names = [BAND + name for name in self.embeddings]
        else:
            names = [COLUMN[self.kind]]
        return dict(zip(names, np.moveaxis(self.chosen, -1, 0), strict=True))

    def _empty(self, size: int) -> dict[str, np.ndarray]:
        names = (*COLUMN.values(), *(BAND + name for name in self.bands))
        return {name: np.full(size, np.nan) for name in names}

    def score_columns(self, s: int) -> dict[str, np.ndarray]:
        """Of `scores`: median and extremes over seeds and folds, whether any was at an edge."""
        columns = self._empty(s)
        columns |= {name: np.full(s, np.nan) for name in ("chosen_low", "chosen_high")}
        columns["grid_edge"] = np.full(s, None)
        if self.chosen is not None:
            for name, values in self._by_column().items():
                columns[name] = np.median(values, axis=(0, 2))
            columns["chosen_low"] = np.nanmin(self.chosen, axis=(0, 2, 3))
            columns["chosen_high"] = np.nanmax(self.chosen, axis=(0, 2, 3))
            columns["grid_edge"] = at_edge(self.chosen, self.grid).any((0, 2)).astype(object)
        return columns

    def fold_columns(self, size: int) -> dict[str, np.ndarray]:
        """Of `folds`, whose rows are seed, subset and fold in this order."""
        columns = self._empty(size)
        columns["grid_edge"] = np.full(size, None)
        if self.chosen is not None:
            columns |= {name: values.ravel() for name, values in self._by_column().items()}
            columns["grid_edge"] = at_edge(self.chosen, self.grid).ravel().astype(object)
        return columns
