"""The columns that tell which penalties were chosen under `strict`; all null under `paper`.

Axes: r seeds, s subsets, k folds, l penalties of a grid.
"""

from __future__ import annotations

import numpy as np

COLUMN = {"regression": "chosen_ridge_lambda", "classification": "chosen_logistic_c"}


def at_edge(chosen: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """(r, s, k) whether a choice is the first or the last of its grid (r, k, l) of several."""
    if grid.shape[2] < 2:
        return np.zeros(chosen.shape, bool)
    ends = grid[:, None, :, [0, -1]]
    return (chosen[..., None] == ends).any(-1)


def score_columns(kind: str, chosen: np.ndarray | None, grid: np.ndarray | None, s: int) -> dict:
    """Of `scores`: median and extremes over seeds and folds, whether an edge was ever chosen."""
    columns = {name: np.full(s, np.nan) for name in (*COLUMN.values(), "chosen_low", "chosen_high")}
    columns["grid_edge"] = np.full(s, None)
    if chosen is not None:
        columns[COLUMN[kind]] = np.median(chosen, axis=(0, 2))
        columns["chosen_low"], columns["chosen_high"] = chosen.min((0, 2)), chosen.max((0, 2))
        columns["grid_edge"] = at_edge(chosen, grid).any((0, 2)).astype(object)
    return columns


def fold_columns(kind: str, chosen: np.ndarray | None, grid: np.ndarray | None, size: int) -> dict:
    """Of `folds`, whose rows are seed, subset and fold in this order."""
    columns = {name: np.full(size, np.nan) for name in COLUMN.values()}
    columns["grid_edge"] = np.full(size, None)
    if chosen is not None:
        columns[COLUMN[kind]] = chosen.ravel()
        columns["grid_edge"] = at_edge(chosen, grid).ravel().astype(object)
    return columns
