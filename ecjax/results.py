"""Tidy tables from scores: the frames that the store writes and users read."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ecjax import intervals, shapley, simultaneous, uncertainty
from ecjax.compared import Measure
from ecjax.folds import NOWHERE
from ecjax.outcome import TaskResult, resample
from ecjax.scores import PERFECT, PRIMARY, Scores
from ecjax.transforms import back

Frames = dict[str, pd.DataFrame]
Columns = dict[str, np.ndarray]
Parts = dict[str, list[Columns]]  # of tables, the parts that stand below each other
# Of columns with nulls.
DTYPES = {
    "target": "str",
    "best_single": "str",
    "least_stratum": "str",
    "most_stratum": "str",
    "fold_name": "str",
    "reason": "str",
    "converged": "boolean",
    "grid_edge": "boolean",
    "within_one_se": "boolean",
}
NOT_ALL_SUBSETS = "Shapley values need every subset"


def columns_of(results: Sequence[TaskResult], predictions: bool) -> Parts:
    """One setting's part of the tables `scores`, `folds`, `index`, `targets`, `gains`, `shapley`,
    and `predictions` if asked for."""
    parts: Parts = {
        "scores": [], "folds": [], "index": [], "targets": [], "gains": [], "shapley": [],
        "predictions": [],
    }  # fmt: skip
    of_bands = (result.task.embeddings for result in results if result.banded)
    bands = tuple(dict.fromkeys(name for names in of_bands for name in names))
    measures: list[Measure] = []  # what the index rows' intervals rest on, part by part

    def compare(result: TaskResult, group: Sequence[Measure]) -> None:
        empty = result.empty_scores(group[0].target)
        for measure in group:
            measures.append(measure)
            parts["index"].append(_index_rows(result, measure))
            parts["gains"].append(_gain_rows(result, measure))
            parts["shapley"].append(_shapley_rows(result, measure, empty[measure.scores.metric]))

    for result in _resampled(results):
        for measure in result.measures:
            parts["scores"].append(_score_rows(result, measure, bands))
            parts["folds"].append(_fold_rows(result, measure.scores, bands))
        compare(result, result.measures)
        for group in result.target_measures:
            parts["targets"] += [
                _score_rows(result, measure, bands, measure.target) for measure in group
            ]
            compare(result, group)
        if predictions:
            parts["predictions"].append(prediction_rows(result))
    if not parts["targets"]:
        empty = _score_rows(results[0], results[0].measures[0], bands, "")
        parts["targets"].append({name: column[:0] for name, column in empty.items()})
    if not predictions:
        del parts["predictions"]
    _widen(parts["index"], measures, results[0].confidence)
    return parts


def frames_of(parts: Parts, swept: Sequence[str]) -> Frames:
    """The tables of all settings, p-values adjusted within each."""
    frames = {key: frame_of(columns) for key, columns in parts.items()}
    frames["index"] = _adjust(frames["index"], swept)
    return frames


def _resampled(results: Sequence[TaskResult]) -> Iterator[TaskResult]:
    """The results; those of one setting have their replicates as long as they are at work."""
    for _, group in itertools.groupby(results, key=lambda result: tuple(result.setting.items())):
        same = list(group)
        drawn = resample(same) if same[0].bootstraps else []
        yield from same
        for compared in drawn:
            compared.settle()


def with_setting(columns: dict[str, Any], result: TaskResult) -> Columns:
    """The columns and the swept keys as arrays of one length; single values are repeated."""
    columns = {**columns, **result.setting}
    rows = next(len(values) for values in columns.values() if np.ndim(values))
    return {
        name: np.full(rows, values) if np.ndim(values) == 0 else np.asarray(values)
        for name, values in columns.items()
    }


def frame_of(parts: Sequence[Columns]) -> pd.DataFrame:
    """The parts below each other, as one frame: to make many and join them takes longer."""
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return pd.DataFrame(
        {
            name: pd.array(values, dtype=DTYPES[name]) if name in DTYPES else values
            for name, values in columns.items()
        }
    )


def _reasons(values: np.ndarray, reason: str, result: TaskResult) -> np.ndarray:
    """The reason where a value is undefined, why there is no interval where there is none."""
    return np.where(np.isnan(values), reason or None, result.units.lacking or None)


def _score_rows(
    result: TaskResult, measure: Measure, bands: Sequence[str], target: str | None = None
) -> Columns:
    scores = measure.scores
    per_seed = scores.fold.mean(2)  # (r, s)
    score = per_seed.mean(0)
    undefined = np.full(len(result.subsets), np.nan)
    low, high = _score_interval(result, measure)
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
        **result.choices(bands).score_columns(len(score)),
        "reason": _reasons(score, scores.reason, result),
    }
    return with_setting(columns, result)


def _score_interval(result: TaskResult, measure: Measure) -> tuple[np.ndarray, np.ndarray]:
    """Ends (s,) of the pooled scores' intervals, within what the metric can be."""
    scores, moments = measure.scores, measure.compared.moments
    pooled = scores.pooled.mean(0)
    if moments is None:
        return (np.full(len(pooled), np.nan),) * 2
    weights = _sign(scores) * np.eye(len(pooled), len(moments.mean))
    errors = intervals.combination_errors(moments, weights, scores.unit, result.columns)
    below, above = measure.compared.z * errors
    least, most = (-np.inf if scores.metric == "r2" else 0.0, PERFECT[scores.metric] or np.inf)
    return np.maximum(pooled - below, least), np.minimum(pooled + above, most)


def _sign(scores: Scores) -> int:
    """Of a loss in the score."""
    return -1 if PERFECT[scores.metric] else 1


def _fold_rows(result: TaskResult, scores: Scores, bands: Sequence[str]) -> Columns:
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
    if result.task.kind == "classification" and result.tolerance is not None:
        norm = result.sums.gradient_norm.ravel()
        converged = (norm <= result.tolerance).astype(object)
    columns |= {"gradient_norm": norm, "converged": converged}
    columns |= result.choices(bands).fold_columns(r * s * k)
    return with_setting(columns, result)


def _index_rows(result: TaskResult, measure: Measure) -> Columns:
    index = measure.index
    m = len(index.subset)
    undefined = np.full(m, np.nan)
    low, high = measure.ends(measure.compared.interval)
    permuted = undefined
    if result.permuted:
        (number,) = (i for i, own in enumerate(result.all_measures) if own is measure)
        permuted = result.permuted[number]
    best = np.where(index.best_single >= 0, result.names[index.best_single], None)
    columns = {
        "task": result.task.name,
        "target": np.full(m, measure.target, object),
        "subset": result.names[index.subset],
        "metric": measure.scores.metric,
        "score": index.score,
        "best_single": best,
        "best_single_share": undefined if index.share is None else index.share,
        "best_single_score": index.best_single_score,
        "eci": index.eci,
        "eci_pooled": index.eci_pooled,
        "eci_permuted": permuted,
        "eci_low": low,
        "eci_high": high,
        "eci_low_simultaneous": undefined,
        "eci_high_simultaneous": undefined,
        "p_value": index.p_value,
        "p_adjusted": undefined,
        "p_better": measure.compared.interval.p_better,
        "p_better_adjusted": undefined,
        "reason": np.array([r or result.units.lacking or None for r in index.reason], object),
    }
    return with_setting(columns, result)


def _widen(parts: list[Columns], measures: Sequence[Measure], confidence: float) -> None:
    """Fills in the intervals that hold at once in all rows of a family."""
    families: dict[tuple, list[int]] = {}
    for i, (part, measure) in enumerate(zip(parts, measures, strict=True)):
        if len(part["subset"]) and measure.compared.moments is not None:
            metric = measure.scores.metric
            kind = "primary" if metric in PRIMARY.values() else metric
            families.setdefault((kind, measure.target is None), []).append(i)
    for family in families.values():
        largest = [measures[i].compared.largest_errors for i in family]
        z = simultaneous.simultaneous_z(largest, confidence)
        for i in family:
            low, high = measures[i].ends(measures[i].compared.index(z))
            parts[i] |= {"eci_low_simultaneous": low, "eci_high_simultaneous": high}


def _gain_rows(result: TaskResult, measure: Measure) -> Columns:
    """Every set against each of its singles and against each set with one model less."""
    scores, (fused, over) = measure.scores, measure.compared.gained_over
    gain, low, high = measure.compared.gains
    if measure.compared.moments is None:  # the rows have passed only once
        gain = _gains(scores.loss, fused, over)
    score = scores.fold.mean((0, 2))
    reason = scores.reason or "a set's loss is zero"
    columns = {
        "task": result.task.name,
        "target": np.full(len(fused), measure.target, object),
        "subset": result.names[fused],
        "over": result.names[over],
        "metric": scores.metric,
        "score_difference": score[fused] - score[over],
        "eci_pooled": gain,
        "eci_low": low,
        "eci_high": high,
        "reason": _reasons(gain, reason, result),
    }
    return with_setting(columns, result)


def _gains(loss: np.ndarray, fused: np.ndarray, over: np.ndarray) -> np.ndarray:
    """Of pooled losses (s,); NaN where one is zero or undefined."""
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = 1 - loss[fused] / loss[over]
    return np.where(np.isfinite(gain) & (loss[fused] > 0), gain, np.nan)


def _shapley_rows(result: TaskResult, measure: Measure, empty: float) -> Columns:
    """Each model's share of the way from the empty set's score to the full set's."""
    scores, moments = measure.scores, measure.compared.moments
    score = scores.fold.mean((0, 2))
    models = len(result.task.embeddings)
    value = shapley.values(result.subsets, models, score, empty)
    below = above = np.full(len(value), np.nan)
    weights = shapley.weights(result.subsets, models)
    if weights is not None and moments is not None:
        of_moments = np.pad(weights, ((0, 0), (0, len(moments.mean) - weights.shape[1])))
        of_moments *= _sign(scores)
        most = np.full(len(value), result.columns.max())
        errors = intervals.combination_errors(moments, of_moments, scores.unit, most)
        below, above = measure.compared.z * errors
    reason = NOT_ALL_SUBSETS if weights is None else scores.reason
    columns = {
        "task": result.task.name,
        "target": np.full(len(value), measure.target, object),
        "model": np.array(list(result.task.embeddings), object),
        "metric": scores.metric,
        "value": value,
        "low": value - below,
        "high": value + above,
        "reason": _reasons(value, reason, result),
    }
    return with_setting(columns, result)


def _adjust(index: pd.DataFrame, swept: Sequence[str]) -> pd.DataFrame:
    """Benjamini–Hochberg over sets × tasks of the primary metric, per swept setting.

    Rows of whole tasks and rows of single targets are two families.
    """
    index = index.copy()
    family = index["metric"].isin(PRIMARY.values())
    adjusted = {"p_value": "p_adjusted", "p_better": "p_better_adjusted"}
    for single_target in (True, False):
        rows = index[family & (index["target"].notna() == single_target)]
        groups = [part.index for _, part in rows.groupby(list(swept))] if swept else [rows.index]
        for group in groups:
            for plain, name in adjusted.items():
                p_values = index.loc[group, plain].to_numpy()
                index.loc[group, name] = uncertainty.benjamini_hochberg(p_values)
    return index


def prediction_rows(result: TaskResult) -> Columns:
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
    return with_setting(columns, result)
