"""Tidy tables from scores: the frames that the store writes and users read."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ecjax import baseline, complementarity, intervals, shapley, uncertainty
from ecjax.align import AlignedTask
from ecjax.folds import NOWHERE, Folds
from ecjax.intervals import Comparisons, RowMoments
from ecjax.scores import PERFECT, PRIMARY, Scores, class_scores, regression_scores, varying_targets
from ecjax.subsets import name as subset_name
from ecjax.sums import ClassSums, RegressionSums, of_targets
from ecjax.transforms import back

Frames = dict[str, pd.DataFrame]
Columns = dict[str, np.ndarray]
# Of columns with nulls.
DTYPES = {
    "target": "str",
    "best_single": "str",
    "fold_name": "str",
    "reason": "str",
    "converged": "boolean",
    "within_one_se": "boolean",
}
NOT_ALL_SUBSETS = "Shapley values need every subset"


@dataclasses.dataclass(frozen=True)
class TaskResult:
    """One task under one setting.

    Attributes:
      task: its rows.
      subsets: positions in the study's order of embeddings.
      seeds: the r seeds.
      folds: of its rows.
      targets: columns of `sums` that are this task's (regression).
      sums: of this task's sample (regression) or of the task (classification).
      tolerance: a logistic fit has converged if its gradient norm is no larger.
      confidence: level of the intervals.
      setting: values of the swept keys.
    """

    task: AlignedTask
    subsets: tuple[tuple[int, ...], ...]
    seeds: tuple[int, ...]
    folds: Folds
    targets: tuple[int, ...]
    sums: RegressionSums | ClassSums
    tolerance: float
    confidence: float
    setting: Mapping[str, Any]

    @property
    def fold_of_row(self) -> np.ndarray:
        """(r, n), `folds.NOWHERE` for a row that no fold scores."""
        return self.folds.fold_of_row()

    @property
    def names(self) -> np.ndarray:
        embeddings = list(self.task.embeddings)
        return np.array([subset_name(s, embeddings) for s in self.subsets], object)

    @property
    def dims(self) -> np.ndarray:
        widths = [x.shape[1] for x in self.task.embeddings.values()]
        return np.array([sum(widths[i] for i in s) for s in self.subsets])

    def members(self, sets: Sequence[int]) -> list[list[int]]:
        """Positions of the singles of the subsets at these positions."""
        where = {subset: i for i, subset in enumerate(self.subsets)}
        return [[where[(m,)] for m in self.subsets[i]] for i in sets]

    @functools.cached_property
    def own(self) -> RegressionSums | ClassSums:
        """The sums of this task's targets."""
        classes = self.task.kind == "classification"
        return self.sums if classes else of_targets(self.sums, self.targets)

    @functools.cached_property
    def empty(self) -> RegressionSums | ClassSums:
        """The sums of the empty set, the only one in them."""
        classes = self.task.kind == "classification"
        of = baseline.classification if classes else baseline.regression
        return of(self.task.y, self.own, self.folds)

    @functools.cached_property
    def spread(self) -> np.ndarray:
        """(t, m) of the scored rows, as `baseline.spread_of_rows`."""
        return baseline.spread_of_rows(self.task.y, self.own, self.scored)

    @functools.cached_property
    def scored(self) -> np.ndarray:
        """Rows that some fold scores; the same for every seed."""
        return np.flatnonzero(self.fold_of_row[0] != NOWHERE)

    def scores(self) -> tuple[Scores, ...]:
        """Of all targets together."""
        if self.task.kind == "classification":
            return class_scores(self.own, _class_moments(self))
        targets = range(len(self.targets))
        return regression_scores(self.own, targets, _regression_moments(self, targets))

    def target_scores(self) -> list[tuple[str, tuple[Scores, ...]]]:
        """Of each target of a task with several."""
        if len(self.targets) < 2:
            return []
        return [
            (name, regression_scores(self.own, [t], _regression_moments(self, [t])))
            for t, name in enumerate(self.task.targets)
        ]

    def empty_scores(self, target: str | None) -> dict[str, float]:
        """Metric → score of the empty set, all targets together or one."""
        if self.task.kind == "classification":
            found = class_scores(self.empty)
        else:
            names = self.task.targets
            targets = range(len(names)) if target is None else [names.index(target)]
            found = regression_scores(self.empty, targets)
        return {one.metric: float(one.fold.mean()) for one in found}


def _regression_moments(result: TaskResult, targets: Sequence[int]) -> RowMoments | None:
    """Of squared errors in standard deviations, summed over the targets that vary."""
    varying = varying_targets(result.own, targets)
    if not varying:
        return None
    rows = result.scored

    def summed(of_targets: np.ndarray) -> np.ndarray:
        """(t, n, …) → sums of these targets at the scored rows."""
        chosen = of_targets if len(varying) == len(of_targets) else of_targets[varying]
        total = chosen[0] if len(chosen) == 1 else chosen.sum(0)
        return total if len(total) == len(rows) else total[rows]

    seeds = len(result.seeds)
    losses = summed(result.own.row_error)
    empty = summed(result.empty.row_error)[:, 0]
    if seeds > 1:
        losses, empty = losses / seeds, empty / seeds
    spread = result.spread[varying].sum(0)
    return intervals.row_moments(losses, empty, spread, len(varying))


def _class_moments(result: TaskResult) -> dict[str, RowMoments]:
    """Of errors, of errors weighted to count each class alike, and of log-losses."""
    sums, empty, seeds = result.own, result.empty, len(result.seeds)
    labels = result.task.y[result.scored]
    onehot = labels[:, None] == np.arange(sums.count.shape[-1])
    members = onehot.sum(0)
    alike = (len(labels) / (np.count_nonzero(members) * members[labels]))[:, None]

    def balanced(misses: np.ndarray) -> np.ndarray:
        """Each row's part in 1 − mean recall, less what its class differs from the others: the
        classes are strata, and how many rows each has is no chance."""
        losses = misses * alike
        of_class = onehot.T.astype(float) @ losses / np.maximum(members, 1)[:, None]
        return losses - of_class[labels] + losses.mean(0)

    def moments(of_rows: str, change: Callable = np.asarray) -> RowMoments:
        losses, of_empty = (
            change(getattr(one, of_rows)[result.scored] / seeds) for one in (sums, empty)
        )
        return intervals.row_moments(losses, of_empty[:, 0], np.zeros(len(labels)), 1.0)

    return {
        "accuracy": moments("row_miss"),
        "balanced_accuracy": moments("row_miss", balanced),
        "log_loss": moments("row_log_loss"),
    }


def build_frames(results: Sequence[TaskResult], predictions: bool) -> Frames:
    """The tables `scores`, `folds`, `index`, `targets`, `gains`, `shapley`, and `predictions` if
    asked for."""
    parts: dict[str, list[Columns]] = {
        "scores": [], "folds": [], "index": [], "targets": [], "gains": [], "shapley": [],
        "predictions": [],
    }  # fmt: skip
    tables: list[_Table | None] = []  # what the index rows' intervals rest on, part by part

    def compare(result: TaskResult, group: Sequence[Scores], target: str | None) -> None:
        empty = result.empty_scores(target)
        for scores in group:
            columns, pairs = _index_rows(result, scores, target)
            parts["index"].append(columns)
            tables.append(pairs)
            parts["gains"].append(_gain_rows(result, scores, target))
            parts["shapley"].append(_shapley_rows(result, scores, empty[scores.metric], target))

    for result in results:
        whole = result.scores()
        for scores in whole:
            parts["scores"].append(_score_rows(result, scores))
            parts["folds"].append(_fold_rows(result, scores))
        compare(result, whole, None)
        for target, group in result.target_scores():
            parts["targets"] += [_score_rows(result, scores, target) for scores in group]
            compare(result, group, target)
        if predictions:
            parts["predictions"].append(_prediction_rows(result))
    if not parts["targets"]:
        empty = _score_rows(results[0], results[0].scores()[0], "")
        parts["targets"].append({name: column[:0] for name, column in empty.items()})
    if not predictions:
        del parts["predictions"]
    swept = list(results[0].setting)
    _widen(parts["index"], tables, swept, results[0].confidence)
    frames = {key: _frame(columns) for key, columns in parts.items()}
    frames["index"] = _adjust(frames["index"], swept)
    return frames


def _with_setting(columns: dict[str, Any], result: TaskResult) -> Columns:
    """The columns and the swept keys as arrays of one length; single values are repeated."""
    columns = {**columns, **result.setting}
    rows = next(len(values) for values in columns.values() if np.ndim(values))
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
    undefined = np.full(len(result.subsets), np.nan)
    low, high = _score_interval(result, scores)
    sem = uncertainty.standard_error(scores.fold).mean(0)
    columns = {
        "task": result.task.name,
        **({} if target is None else {"target": target}),
        "subset": result.names,
        "n_models": [len(subset) for subset in result.subsets],
        "dims": result.dims,
        "metric": scores.metric,
        "score": score,
        "sem": sem,
        "within_one_se": uncertainty.within_one_error(score, sem, PERFECT[scores.metric] > 0),
        "seed_std": per_seed.std(0) if len(per_seed) > 1 else undefined,
        "pooled": scores.pooled.mean(0),
        "score_low": low,
        "score_high": high,
        "n_rows": len(result.task.ids),
        "reason": _reasons(score, scores.reason),
    }
    return _with_setting(columns, result)


def _score_interval(result: TaskResult, scores: Scores) -> tuple[np.ndarray, np.ndarray]:
    """Ends (s,) of the pooled scores' intervals, within what the metric can be."""
    pooled = scores.pooled.mean(0)
    if scores.moments is None:
        return (np.full(len(pooled), np.nan),) * 2
    weights = np.eye(len(pooled), len(scores.moments.mean))
    error = intervals.standard_error(scores.moments, weights, scores.unit, result.dims)
    half = intervals.z_of(result.confidence) * error
    least, most = (-np.inf if scores.metric == "r2" else 0.0, PERFECT[scores.metric] or np.inf)
    return np.maximum(pooled - half, least), np.minimum(pooled + half, most)


def _fold_rows(result: TaskResult, scores: Scores) -> Columns:
    r, s, k = scores.fold.shape
    names = np.array(result.folds.names or [None] * k, object)
    seed, subset, fold = (axis.ravel() for axis in np.indices((r, s, k)))
    columns = {
        "task": result.task.name,
        "subset": result.names[subset],
        "metric": scores.metric,
        "seed": np.array(result.seeds)[seed],
        "fold": fold,
        "fold_name": names[fold],
        "score": scores.fold.ravel(),
        "n_train": result.folds.training[seed, fold],
        "n_test": result.folds.sizes[seed, fold],
        "n_dropped": result.folds.dropped[seed, fold],
    }
    norm = np.full(r * s * k, np.nan)
    converged = np.full(r * s * k, None)
    if result.task.kind == "classification":
        norm = result.sums.gradient_norm.ravel()
        converged = (norm <= result.tolerance).astype(object)
    columns |= {"gradient_norm": norm, "converged": converged}
    return _with_setting(columns, result)


def _columns(result: TaskResult) -> np.ndarray:
    """How many columns each subset has, and the empty set."""
    return np.append(result.dims, 0)


def _index_rows(
    result: TaskResult, scores: Scores, target: str | None
) -> tuple[Columns, _Table | None]:
    """Rows of `index`, and what their simultaneous intervals are made from."""
    index = complementarity.index_of(scores, result.subsets)
    m = len(index.subset)
    undefined = np.full(m, np.nan)
    found, table = (undefined,) * 3, None
    if m and scores.moments is not None:
        z = intervals.z_of(result.confidence)
        pairs = intervals.against_members(
            scores.moments, result.members(index.subset), index.subset, _columns(result)
        )
        table = _Table(scores.moments, pairs, _columns(result))
        found = table.index(z, z)
    low, high, p_better = found
    best = np.where(index.best_single >= 0, result.names[index.best_single], None)
    columns = {
        "task": result.task.name,
        "target": np.full(m, target, object),
        "subset": result.names[index.subset],
        "metric": scores.metric,
        "score": index.score,
        "best_single": best,
        "best_single_share": undefined,
        "best_single_score": index.best_single_score,
        "eci": index.eci,
        "eci_pooled": index.eci_pooled,
        "eci_low": low,
        "eci_high": high,
        "eci_low_simultaneous": undefined,
        "eci_high_simultaneous": undefined,
        "p_value": index.p_value,
        "p_adjusted": undefined,
        "p_better": p_better,
        "p_better_adjusted": undefined,
        "reason": np.array([reason or None for reason in index.reason], object),
    }
    return _with_setting(columns, result), table


class _Table(NamedTuple):
    """The comparisons of one part of `index`."""

    moments: RowMoments
    pairs: Comparisons
    columns: np.ndarray

    def index(self, z: float, z_tie: float) -> intervals.IndexIntervals:
        return intervals.index_intervals(self.moments, self.pairs, self.columns, z, z_tie)


def _widen(
    parts: list[Columns], tables: list[_Table | None], swept: list[str], confidence: float
) -> None:
    """Fills in the intervals that hold at once in all rows of a family."""
    families: dict[tuple, list[int]] = {}
    for i, (part, table) in enumerate(zip(parts, tables, strict=True)):
        if table is not None:
            metric = part["metric"][0]
            kind = "primary" if metric in PRIMARY.values() else metric
            key = (kind, part["target"][0] is None, *(part[name][0] for name in swept))
            families.setdefault(key, []).append(i)
    known: dict[int, np.ndarray] = {}  # R² and squared error have the same moments
    for family in families.values():
        for i in family:
            table = tables[i]
            if id(table.moments) not in known:
                known[id(table.moments)] = intervals.largest_errors(table.moments, table.pairs)
        largest = [known[id(tables[i].moments)] for i in family]
        z = intervals.simultaneous_z(largest, confidence)
        for i in family:
            found = tables[i].index(z, intervals.z_of(confidence))
            parts[i]["eci_low_simultaneous"] = found.low
            parts[i]["eci_high_simultaneous"] = found.high


def _gain_rows(result: TaskResult, scores: Scores, target: str | None) -> Columns:
    """Every set against each of its singles and against each set with one model less."""
    where = {subset: i for i, subset in enumerate(result.subsets)}
    fused, over = [], []
    for i, subset in enumerate(result.subsets):
        if len(subset) > 1:
            less = [tuple(m for m in subset if m != left) for left in subset]
            compared = dict.fromkeys([*((m,) for m in subset), *less])
            known = [where[other] for other in compared if other in where]
            fused += [i] * len(known)
            over += known
    fused, over = np.array(fused, int), np.array(over, int)
    score = scores.fold.mean((0, 2))
    gain = low = high = np.full(len(fused), np.nan)
    if scores.moments is not None:
        pairs = intervals.compare(scores.moments, fused, over, _columns(result))
        z = intervals.z_of(result.confidence)
        gain, low, high = pairs.gain(), pairs.gain(z), pairs.gain(-z)
    reason = scores.reason or "a set's loss is zero"
    columns = {
        "task": result.task.name,
        "target": np.full(len(fused), target, object),
        "subset": result.names[fused],
        "over": result.names[over],
        "metric": scores.metric,
        "score_difference": score[fused] - score[over],
        "eci_pooled": gain,
        "eci_low": low,
        "eci_high": high,
        "reason": _reasons(gain, reason),
    }
    return _with_setting(columns, result)


def _shapley_rows(result: TaskResult, scores: Scores, empty: float, target: str | None) -> Columns:
    """Each model's share of the way from the empty set's score to the full set's."""
    score = scores.fold.mean((0, 2))
    value = shapley.values(result.subsets, score, empty)
    half = np.full(len(value), np.nan)
    weights = shapley.weights(result.subsets)
    if weights is not None and scores.moments is not None:
        of_moments = np.pad(weights, ((0, 0), (0, len(scores.moments.mean) - weights.shape[1])))
        error = intervals.standard_error(scores.moments, of_moments, scores.unit, result.dims.max())
        half = intervals.z_of(result.confidence) * error
    reason = NOT_ALL_SUBSETS if weights is None else scores.reason
    columns = {
        "task": result.task.name,
        "target": np.full(len(value), target, object),
        "model": np.array(list(result.task.embeddings), object),
        "metric": scores.metric,
        "value": value,
        "low": value - half,
        "high": value + half,
        "reason": _reasons(value, reason),
    }
    return _with_setting(columns, result)


def _adjust(index: pd.DataFrame, swept: list[str]) -> pd.DataFrame:
    """Benjamini–Hochberg over sets × tasks of the primary metric, per swept setting.

    Rows of whole tasks and rows of single targets are two families.
    """
    index = index.copy()
    family = index["metric"].isin(PRIMARY.values())
    adjusted = {"p_value": "p_adjusted", "p_better": "p_better_adjusted"}
    for single_target in (True, False):
        rows = index[family & (index["target"].notna() == single_target)]
        groups = [part.index for _, part in rows.groupby(swept)] if swept else [rows.index]
        for group in groups:
            for plain, name in adjusted.items():
                p_values = index.loc[group, plain].to_numpy()
                index.loc[group, name] = uncertainty.benjamini_hochberg(p_values)
    return index


def _prediction_rows(result: TaskResult) -> Columns:
    """Row × subset × target (or class) × seed, of the rows that a fold scores.

    In the target's own units, also where scores are of a transformed one.
    """
    task = result.task
    if task.kind == "classification":
        values = result.sums.probabilities  # (r, s, n, c)
        names = np.array(task.classes, object)
        truth = (task.y[:, None] == np.arange(len(names))).astype(float)
    else:
        values = back(task.transform, result.sums.predictions[..., list(result.targets)])
        names = np.array(task.targets, object)  # values: (r, s, n, t)
        truth = back(task.transform, task.y)
    fold_of_row = result.fold_of_row
    tested = fold_of_row[0] != NOWHERE  # the same rows for every seed
    places = np.indices(values.shape)[:, :, :, tested]
    seed, subset, row, column = (axis.ravel() for axis in places)
    prediction = values[:, :, tested].ravel()
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
        "fold": fold_of_row[seed, row],
        "y": y,
        "prediction": prediction,
        "squared_error": (y - prediction) ** 2,
    }
    return _with_setting(columns, result)
