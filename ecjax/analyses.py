"""Tables that say where and why models are better together: maps, strata, commonality.

They are made from the losses of single rows, as the intervals of the index are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from ecjax import commonality, intervals, maps, regions
from ecjax.compared import Measure
from ecjax.loss_moments import RowLosses
from ecjax.notes import TASK_TABLE, Note
from ecjax.outcome import TaskResult
from ecjax.regions import Regions
from ecjax.results import Columns, Frames, Parts, with_setting
from ecjax.scores import PERFECT
from ecjax.settings import Settings
from ecjax.uncertainty import benjamini_hochberg

MOST_SETS = 100  # fused sets, of more of which only pairs and the whole are mapped
FEW_ROWS = "cells of the map have too few rows for an interval; a larger --map_km has more"
PAIRS_ALONE = "maps and strata are of pairs and of all models together; fused sets in all"
MAPPED = {"regression": ("r2",), "classification": ("log_loss",)}
STRATIFIED = {"regression": ("r2",), "classification": ("accuracy", "log_loss")}


def columns_of(results: Sequence[TaskResult], settings: Settings) -> Parts:
    """One setting's part of the tables `maps`, `strata`, `separation` and `commonality`, and of
    `points` where predictions are asked for; each only where there is something to put in it."""
    parts: Parts = {
        "maps": [], "strata": [], "separation": [], "commonality": [], "points": []
    }  # fmt: skip
    for result in results:
        rows = maps.parts_of(result.task, settings, result.scored)
        if rows is not None:
            parts["maps"] += [
                _map_rows(result, measure, losses, rows)
                for measure, losses in _measured(result, MAPPED)
            ]
        for measure, losses in _measured(result, STRATIFIED) if result.task.strata else ():
            for name in result.task.strata:
                found = _stratum_rows(result, measure, losses, name)
                parts["strata"].append(found[0])
                parts["separation"].append(found[1])
        for measure in result.all_measures:
            if PERFECT[measure.scores.metric]:
                parts["commonality"].append(_commonality_rows(result, measure))
        if settings.predictions:
            parts["points"] += _point_rows(result)
    filled = {name: [p for p in own if len(p["task"])] for name, own in parts.items()}
    return {name: own for name, own in filled.items() if own}


def finished(frames: Frames, swept: Sequence[str]) -> Frames:
    """The tables of all settings, with what depends on several rows."""
    if "separation" not in frames:
        return frames
    return frames | {"separation": _sorted(frames["separation"], swept)}


def notes(results: Sequence[TaskResult], settings: Settings) -> list[Note]:
    """Notes on the sets that maps and strata leave out, and on maps of cells that are too small."""
    found = {}
    for result in results:
        task = result.task
        made = task.strata or maps.parts_of(task, settings, result.scored[:0]) is not None
        if made and len(result.fused) > MOST_SETS:
            found[task.name] = Note(task.name, TASK_TABLE, PAIRS_ALONE, len(result.fused), "")
    for result in results:
        task, parts = result.task, maps.parts_of(result.task, settings, result.scored)
        if parts is not None and not np.isnan(parts.edges).all():
            few = np.bincount(parts.of_row) < regions.FEWEST
            if 2 * few.sum() > len(few):
                note = Note(task.name, TASK_TABLE, FEW_ROWS, int(few.sum()), "")
                found[task.name, "cells"] = note
    return list(found.values())


def _measured(result: TaskResult, wanted: dict) -> Iterator[tuple[Measure, RowLosses]]:
    """The measures by some metrics that have losses of rows, with these."""
    for measure in result.all_measures:
        if measure.scores.metric in wanted[result.task.kind] and len(result.fused):
            losses = result.row_losses(measure)
            if losses is not None and np.isfinite(losses.columns).all():
                yield measure, losses


def _shown(result: TaskResult, losses: RowLosses) -> tuple[list[int], RowLosses]:
    """Positions of the subsets that are mapped, and their losses alone."""
    subsets, most = result.subsets, len(result.task.embeddings)
    if len(result.fused) <= MOST_SETS:
        return list(range(len(subsets))), losses
    kept = [i for i, subset in enumerate(subsets) if len(subset) in (1, 2, most)]
    fused = [i for i in kept if len(subsets[i]) > 1]
    columns, single = losses.columns, losses.single
    others = np.arange(len(subsets), columns.shape[1])  # the empty set and composites
    if single is not None:
        place = np.full(columns.shape[1], -1)
        place[[*kept, *others]] = np.arange(len(kept) + len(others))
        single = place[single[np.searchsorted(result.fused, fused)]]
    return kept, losses._replace(columns=columns[:, [*kept, *others]], single=single)


def _regions(
    result: TaskResult, losses: RowLosses, part_of_row: np.ndarray, parts: int
) -> tuple[list[int], RowLosses, Regions]:
    """Positions of the subsets, their losses, and indices in each part of the scored rows."""
    kept, own = _shown(result, losses)
    subsets = [result.subsets[i] for i in kept]
    units = result.units.of_row
    columns = result.columns[kept]
    found = regions.indices(own, part_of_row, parts, units, subsets, columns, result.confidence)
    return kept, own, found


def _map_rows(
    result: TaskResult, measure: Measure, losses: RowLosses, parts: maps.Parts
) -> Columns:
    kept, _, found = _regions(result, losses, parts.of_row, len(parts.names))
    fused = [i for i in kept if len(result.subsets[i]) > 1]
    number, cell = np.indices((len(fused), len(parts.names))).reshape(2, -1)
    columns = {
        "task": result.task.name,
        "target": np.full(len(cell), measure.target, object),
        "metric": measure.scores.metric,
        "subset": result.names[fused][number],
        "cell": parts.names[cell],
        "lat": parts.lat[cell],
        "lon": parts.lon[cell],
        **{name: edge[cell] for name, edge in zip(maps.EDGES, parts.edges, strict=True)},
        "n_rows": found.rows[cell],
        "n_units": found.units[cell],
        **_index_columns(found, result.units.kind),
    }
    return with_setting(columns, result)


def _index_columns(found: Regions, unit: str) -> Columns:
    """Of all fused sets one after the other, parts within each; p adjusted over a set's parts."""
    p_better, p_worse = (
        np.apply_along_axis(benjamini_hochberg, 0, p) if p.size else p
        for p in (found.p_better, found.p_worse)
    )
    return {
        "eci_pooled": found.eci.T.ravel(),
        "eci_low": found.low.T.ravel(),
        "eci_high": found.high.T.ravel(),
        "p_adjusted": p_better.T.ravel(),
        "p_worse_adjusted": p_worse.T.ravel(),
        "reason": found.reasons(unit).T.ravel(),
    }


def _stratum_rows(
    result: TaskResult, measure: Measure, losses: RowLosses, name: str
) -> tuple[Columns, Columns]:
    """Rows of `strata` and of `separation`."""
    strata = result.task.strata[name].at(result.scored)
    labels = np.array(strata.labels, object)
    kept, own, found = _regions(result, losses, strata.codes, len(labels))
    score = _scores(result, measure, own, strata.codes, len(labels))[:, : len(kept)]
    sizes = np.array([len(result.subsets[i]) for i in kept])
    fused = np.flatnonzero(sizes > 1)
    number, part = np.indices((len(kept), len(labels))).reshape(2, -1)
    of_fused = {
        key: np.full((len(kept), len(labels)), None if key == "reason" else np.nan, object)
        for key in _index_columns(found, "")
    }
    for key, values in _index_columns(found, result.units.kind).items():
        of_fused[key][fused] = values.reshape(len(fused), len(labels))
    shared = {
        "task": result.task.name,
        "metric": measure.scores.metric,
        "by": name,
    }
    rows = {
        **shared,
        "target": np.full(len(part), measure.target, object),
        "subset": result.names[kept][number],
        "n_models": sizes[number],
        "stratum": labels[part],
        "n_rows": found.rows[part],
        "n_units": found.units[part],
        "score": score.T.ravel(),
        **{
            key: values.ravel() if key == "reason" else values.ravel().astype(float)
            for key, values in of_fused.items()
        },
    }
    apart = [
        regions.separation(*columns)
        for columns in zip(found.eci.T, found.log_ratio.T, found.standard_error.T, strict=True)
    ]
    between = {
        **shared,
        "target": np.full(len(fused), measure.target, object),
        "subset": result.names[kept][fused],
        **_separation_columns(apart, found.eci, labels),
    }
    order = ["task", "target", "metric", "subset", "by"]
    return tuple(with_setting(_ordered(each, order), result) for each in (rows, between))


def _ordered(columns: Columns, first: Sequence[str]) -> Columns:
    return {name: columns[name] for name in [*first, *(c for c in columns if c not in first)]}


def _separation_columns(
    apart: Sequence[regions.Separation], eci: np.ndarray, labels: np.ndarray
) -> Columns:
    least, most = (np.array([getattr(one, end) for one in apart], int) for end in ("least", "most"))
    set_number = np.arange(len(apart))

    def at(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        names, values = labels[places].astype(object), eci[places, set_number]
        return np.where(places < 0, None, names), np.where(places < 0, np.nan, values)

    reasons = [None if one.parts > 1 else regions.ALIKE for one in apart]
    return {
        "n_strata": np.array([one.parts for one in apart], int),
        **dict(zip(("least_stratum", "eci_least"), at(least), strict=True)),
        **dict(zip(("most_stratum", "eci_most"), at(most), strict=True)),
        "spread": np.array([one.spread for one in apart], float),
        "p_value": np.array([one.p_value for one in apart], float),
        "p_adjusted": np.full(len(apart), np.nan),
        "reason": np.array(reasons, object),
    }


def _scores(
    result: TaskResult, measure: Measure, losses: RowLosses, codes: np.ndarray, parts: int
) -> np.ndarray:
    """(c, m) pooled scores within each stratum; R² is against the stratum's own means."""
    inside = codes >= 0
    codes, rows = codes[inside], result.scored[inside]
    count = np.bincount(codes, minlength=parts)[:, None]
    total = np.stack(
        [np.bincount(codes, weights=w, minlength=parts) for w in losses.columns[inside].T], axis=1
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        if measure.scores.metric == "accuracy":
            return 1 - total / count
        if measure.scores.metric == "log_loss":
            return total / count
        score = 1 - total / _spread(result, measure, codes, rows, parts)[:, None]
    return np.where(np.isfinite(score), score, np.nan)


def _spread(
    result: TaskResult, measure: Measure, codes: np.ndarray, rows: np.ndarray, parts: int
) -> np.ndarray:
    """(c,) squared deviations from the means of each stratum, summed over the targets."""
    names = result.task.targets
    wanted = slice(None) if measure.target is None else [names.index(measure.target)]
    scale = np.where(result.own.scale[wanted] > 0, result.own.scale[wanted], np.inf)
    y = result.task.y[:, wanted][rows] / scale
    sums = [np.bincount(codes, weights=own, minlength=parts) for own in y.T]
    mean = np.stack(sums) / np.maximum(np.bincount(codes, minlength=parts), 1)
    deviation = ((y - mean.T[codes]) ** 2).sum(1)
    return np.bincount(codes, weights=deviation, minlength=parts)


def _commonality_rows(result: TaskResult, measure: Measure) -> Columns:
    """Five parts of the score of each pair."""
    scores, moments = measure.scores, measure.compared.moments
    empty = result.empty_scores(measure.target)[scores.metric]
    score = np.append(scores.fold.mean((0, 2)), empty)
    pairs = commonality.pairs(result.subsets)
    models = np.array(list(result.task.embeddings), object)
    value, low, high = (np.full((len(pairs), len(commonality.PARTS)), np.nan) for _ in range(3))
    for i, pair in enumerate(pairs):
        linear = commonality.linear_weights(pair, len(score)) @ score
        value[i] = commonality.parts(linear)
        if moments is None:
            continue
        weights = -commonality.linear_weights(pair, len(moments.mean))  # of losses
        columns = np.full(len(weights), result.columns[pair.places[-1]])
        errors = intervals.combination_errors(moments, weights, scores.unit, columns)
        low[i], high[i] = commonality.ends(linear, *(measure.compared.z * errors))
    fused = score[[pair.places[-1] for pair in pairs]] - empty
    with np.errstate(divide="ignore", invalid="ignore"):
        share = value / np.where(fused > 0, fused, np.nan)[:, None]
    share[:, 0] = np.nan
    number, part = np.indices(value.shape).reshape(2, -1)
    undefined = scores.reason or "no score"
    columns = {
        "task": result.task.name,
        "target": np.full(len(part), measure.target, object),
        "model_a": models[[pair.a for pair in pairs]][number],
        "model_b": models[[pair.b for pair in pairs]][number],
        "metric": scores.metric,
        "part": np.array(commonality.PARTS, object)[part],
        "value": value.ravel(),
        "low": low.ravel(),
        "high": high.ravel(),
        "share": share.ravel(),
        "reason": np.where(np.isnan(value.ravel()), undefined, result.units.lacking or None),
    }
    return with_setting(columns, result)


def _point_rows(result: TaskResult) -> Iterator[Columns]:
    """The point-wise index: of each scored row, the losses of a set and of its best single."""
    task, rows = result.task, result.scored
    nowhere = np.full(len(task.ids), np.nan)
    lat, lon = (nowhere if place is None else place for place in (task.lat, task.lon))
    for measure, losses in _measured(result, MAPPED):
        if measure.target is not None:
            continue
        best = regions.best_singles(losses, result.subsets, result.fused)
        fused, single = losses.columns[:, result.fused], losses.columns[:, best]
        with np.errstate(divide="ignore", invalid="ignore"):
            eci = np.where(single > 0, 1 - fused / single, np.nan)
        number, row = np.indices((len(result.fused), len(rows))).reshape(2, -1)
        yield with_setting(
            {
                "task": task.name,
                "id": task.ids[rows][row],
                "lat": lat[rows][row],
                "lon": lon[rows][row],
                "metric": measure.scores.metric,
                "subset": result.names[result.fused][number],
                "loss": fused.T.ravel(),
                "best_single_loss": single.T.ravel(),
                "eci": eci.T.ravel(),
            },
            result,
        )


def _sorted(table: pd.DataFrame, swept: Sequence[str]) -> pd.DataFrame:
    """p adjusted over all rows of a setting, whole tasks and single targets apart; what separates
    most comes first."""
    table = table.copy()
    families = [*swept, table["target"].isna()]
    for _, rows in table.groupby(families, sort=False, dropna=False):
        table.loc[rows.index, "p_adjusted"] = benjamini_hochberg(rows["p_value"].to_numpy())
    return table.sort_values("spread", ascending=False, kind="stable", ignore_index=True)
