"""Tidy tables from scores: the frames that the store writes and users read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ecjax import complementarity, uncertainty
from ecjax.align import AlignedTask
from ecjax.chosen import fold_columns, score_columns
from ecjax.scores import PRIMARY, Scores, class_scores, regression_scores
from ecjax.strict_index import strict_index
from ecjax.subsets import name as subset_name
from ecjax.sums import ClassSums, RegressionSums

Frames = dict[str, pd.DataFrame]
Columns = dict[str, np.ndarray]
# Of columns with nulls.
DTYPES = {"target": "str", "best_single": "str", "reason": "str", "converged": "boolean",
          "grid_edge": "boolean"}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class TaskResult:
    """One task under one setting.

    Attributes:
      task: its rows.
      subsets: positions in the study's order of embeddings.
      seeds: the r seeds.
      fold_of_row: (r, n).
      targets: columns of `sums` that are this task's (regression).
      sums: of this task's sample (regression) or of the task (classification).
      tolerance: a logistic fit has converged if its gradient norm is no larger.
      setting: values of the swept keys.
      grid: (r, k, l) what penalties were chosen from under `strict`; None under `paper`.
    """

    task: AlignedTask
    subsets: tuple[tuple[int, ...], ...]
    seeds: tuple[int, ...]
    fold_of_row: np.ndarray
    targets: tuple[int, ...]
    sums: RegressionSums | ClassSums
    tolerance: float
    setting: Mapping[str, Any]
    grid: np.ndarray | None = None

    @property
    def names(self) -> np.ndarray:
        embeddings = list(self.task.embeddings)
        return np.array([subset_name(s, embeddings) for s in self.subsets], object)

    @property
    def dims(self) -> np.ndarray:
        widths = [x.shape[1] for x in self.task.embeddings.values()]
        return np.array([sum(widths[i] for i in s) for s in self.subsets])

    @property
    def chosen(self) -> np.ndarray | None:
        """(r, s, k) penalties under `strict`; all targets of a task share them."""
        found = self.sums.chosen
        return found[..., self.targets[0]] if found is not None and self.targets else found

    def index(self, scores: Scores, target: str | None) -> complementarity.Index:
        """Of all sets, by the protocol's best single."""
        if self.grid is None:
            return complementarity.index_of(scores, self.subsets)
        loss = self.sums.inner_loss
        if self.targets:
            names = list(self.task.targets)
            own = self.targets if target is None else [self.targets[names.index(target)]]
            loss = loss[..., list(own)].sum(-1)
        return strict_index(scores, self.subsets, loss)

    def scores(self) -> tuple[Scores, ...]:
        """Of all targets together."""
        if self.task.kind == "classification":
            return class_scores(self.sums)
        return regression_scores(self.sums, list(self.targets))

    def target_scores(self) -> list[tuple[str, tuple[Scores, ...]]]:
        """Of each target of a task with several."""
        if len(self.targets) < 2:
            return []
        return [
            (name, regression_scores(self.sums, [t]))
            for name, t in zip(self.task.targets, self.targets, strict=True)
        ]


def build_frames(results: Sequence[TaskResult], predictions: bool) -> Frames:
    """The tables `scores`, `folds`, `index`, `targets` and, if asked for, `predictions`."""
    parts: dict[str, list[Columns]] = {
        "scores": [], "folds": [], "index": [], "targets": [], "predictions": []
    }  # fmt: skip
    for result in results:
        for scores in result.scores():
            parts["scores"].append(_score_rows(result, scores))
            parts["folds"].append(_fold_rows(result, scores))
            parts["index"].append(_index_rows(result, scores, None))
        for target, group in result.target_scores():
            for scores in group:
                parts["targets"].append(_score_rows(result, scores, target))
                parts["index"].append(_index_rows(result, scores, target))
        if predictions:
            parts["predictions"].append(_prediction_rows(result))
    if not parts["targets"]:
        empty = _score_rows(results[0], results[0].scores()[0], "")
        parts["targets"].append({name: column[:0] for name, column in empty.items()})
    if not predictions:
        del parts["predictions"]
    frames = {key: _frame(columns) for key, columns in parts.items()}
    frames["index"] = _adjust(frames["index"], list(results[0].setting))
    return frames


def _with_setting(columns: dict[str, Any], result: TaskResult) -> Columns:
    """The columns and the swept keys as arrays of one length; single values are repeated."""
    columns = {**columns, **result.setting}
    rows = len(columns["subset"])
    return {
        name: np.full(rows, values) if np.ndim(values) == 0 else np.asarray(values)
        for name, values in columns.items()
    }


def _frame(parts: Sequence[Columns]) -> pd.DataFrame:
    """The parts below each other, as one frame: to make many and join them takes longer."""
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return pd.DataFrame(
        {
            name: pd.array(values, dtype=DTYPES[name]) if name in DTYPES else values
            for name, values in columns.items()
        }
    )


def _reasons(values: np.ndarray, reason: str) -> np.ndarray:
    """The reason where a value is undefined, else null."""
    return np.where(np.isnan(values), reason or None, None)


def _score_rows(result: TaskResult, scores: Scores, target: str | None = None) -> Columns:
    per_seed = scores.fold.mean(2)  # (r, s)
    score = per_seed.mean(0)
    s = len(result.subsets)
    undefined = np.full(s, np.nan)
    columns = {
        "task": result.task.name,
        **({} if target is None else {"target": target}),
        "subset": result.names,
        "n_models": [len(subset) for subset in result.subsets],
        "dims": result.dims,
        "metric": scores.metric,
        "score": score,
        "sem": uncertainty.standard_error(scores.fold).mean(0),
        "seed_std": per_seed.std(0) if len(per_seed) > 1 else undefined,
        "pooled": scores.pooled.mean(0),
        "score_low": undefined,
        "score_high": undefined,
        "n_rows": len(result.task.ids),
        **score_columns(result.task.kind, result.chosen, result.grid, s),
        "reason": _reasons(score, scores.reason),
    }
    return _with_setting(columns, result)


def _fold_rows(result: TaskResult, scores: Scores) -> Columns:
    r, s, k = scores.fold.shape
    seed, subset, fold = (axis.ravel() for axis in np.indices((r, s, k)))
    n_test = np.array([np.bincount(row, minlength=k) for row in result.fold_of_row])
    columns = {
        "task": result.task.name,
        "subset": result.names[subset],
        "metric": scores.metric,
        "seed": np.array(result.seeds)[seed],
        "fold": fold,
        "score": scores.fold.ravel(),
        "n_train": len(result.task.ids) - n_test[seed, fold],
        "n_test": n_test[seed, fold],
    }
    norm = np.full(r * s * k, np.nan)
    converged = np.full(r * s * k, None)
    if result.task.kind == "classification":
        norm = result.sums.gradient_norm.ravel()
        converged = (norm <= result.tolerance).astype(object)
    columns |= {"gradient_norm": norm, "converged": converged}
    columns |= fold_columns(result.task.kind, result.chosen, result.grid, r * s * k)
    return _with_setting(columns, result)


def _index_rows(result: TaskResult, scores: Scores, target: str | None) -> Columns:
    index = result.index(scores, target)
    m = len(index.subset)
    undefined = np.full(m, np.nan)
    best = np.where(index.best_single >= 0, result.names[index.best_single], None)
    columns = {
        "task": result.task.name,
        "target": np.full(m, target, object),
        "subset": result.names[index.subset],
        "metric": scores.metric,
        "score": index.score,
        "best_single": best,
        "best_single_share": undefined if index.share is None else index.share,
        "best_single_score": index.best_single_score,
        "eci": index.eci,
        "eci_pooled": index.eci_pooled,
        "eci_low": undefined,
        "eci_high": undefined,
        "p_value": index.p_value,
        "p_adjusted": undefined,
        "reason": np.array([reason or None for reason in index.reason], object),
    }
    return _with_setting(columns, result)


def _adjust(index: pd.DataFrame, swept: list[str]) -> pd.DataFrame:
    """Benjamini–Hochberg over sets × tasks of the primary metric, per swept setting.

    Rows of whole tasks and rows of single targets are two families.
    """
    index = index.copy()
    family = index["metric"].isin(PRIMARY.values())
    for single_target in (True, False):
        rows = index[family & (index["target"].notna() == single_target)]
        groups = [part.index for _, part in rows.groupby(swept)] if swept else [rows.index]
        for group in groups:
            p_values = index.loc[group, "p_value"].to_numpy()
            index.loc[group, "p_adjusted"] = uncertainty.benjamini_hochberg(p_values)
    return index


def _prediction_rows(result: TaskResult) -> Columns:
    """Row × subset × target (or class) × seed."""
    task = result.task
    if task.kind == "classification":
        values = result.sums.probabilities  # (r, s, n, c)
        names = np.array(task.classes, object)
        truth = (task.y[:, None] == np.arange(len(names))).astype(float)
    else:
        values = result.sums.predictions[..., list(result.targets)]  # (r, s, n, t)
        names = np.array(task.targets, object)
        truth = task.y
    seed, subset, row, column = (axis.ravel() for axis in np.indices(values.shape))
    prediction = values.ravel()
    y = truth[row, column]
    nowhere = np.full(len(task.ids), np.nan)
    columns = {
        "task": task.name,
        "id": task.ids[row],
        "lat": (nowhere if task.lat is None else task.lat)[row],
        "lon": (nowhere if task.lon is None else task.lon)[row],
        "subset": result.names[subset],
        "target": names[column],
        "seed": np.array(result.seeds)[seed],
        "fold": result.fold_of_row[seed, row],
        "y": y,
        "prediction": prediction,
        "squared_error": (y - prediction) ** 2,
    }
    return _with_setting(columns, result)
