"""Figures of whole sets: the heat map of the index, and scores over a matrix of members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection

from ecjax import figures_base as base
from ecjax.digest import Setting, index_text
from ecjax.errors import UsageError, quote
from ecjax.rounding import measured

SETS, COLUMNS = 40, 31
SPAN = 1.0  # of scores that are shown below the best; what is lower is an arrow
CELL = (0.5, 1.1)  # inches that a task's column is wide
STAR = "*: adjusted p < 0.05."


def index(
    tables: Mapping[str, pd.DataFrame],
    manifest: Mapping[str, Any],
    setting: tuple = (),
    ax: Axes | None = None,
) -> Axes:
    """Heat map of the index, sets × tasks: all targets together, in the primary metric.

    A cell has its value, and a star where the adjusted p is below 0.05. At most 40 sets, those with
    the largest mean index, the best above. Where names are long, dots tell the members.
    """
    view = base.view_of(tables, manifest, setting)
    subsets = _ranked(view)
    if not subsets:
        raise UsageError("nothing to draw: these results have no index of any set")
    shown = subsets[:SETS]
    models = base.models_of(manifest, shown)
    labels = ["+".join(base.name(member) for member in subset.split("+")) for subset in shown]
    matrix = max(map(base.width_of, labels)) > base.SET_LETTERS
    left = (base.DOT * len(models) if matrix else base.inches(labels)) + 0.15
    tasks = [base.name(task.name) for task in view.tasks]
    column = float(np.clip((base.WIDTH - left - 0.2) / len(tasks), *CELL))
    angle = base.SLANTED if base.inches(tasks, base.SMALL) > column else 0.0
    names = [base.name(model) for model in models] if matrix else []
    top = 0.4 + max(base.heads(tasks, angle), base.heads(names, base.STEEP))
    wide = left + column * len(tasks) + (0.85 * base.inches(tasks[-1:]) if angle else 0.1)
    wide = max(base.WIDTH, wide)
    size = wide, base.ROW * len(shown) + top + 0.45
    ax = base.own_axes(ax, size, left, wide - left - column * len(tasks), top, 0.45)
    _cells(ax, view, shown, 7.0 if column < 0.55 else base.SMALL)
    ax.set_xlim(0, len(tasks))
    base.rows_below(ax, len(shown))
    base.column_heads(ax, np.arange(len(tasks)) + (0.3 if angle else 0.5), tasks, angle)
    if matrix:
        base.membership_beside(ax, shown, models)
    else:
        base.row_labels(ax, range(len(shown)), labels)
    base.title(ax, "Complementarity index" + _of(len(shown), len(subsets), "set"))
    base.note(ax, f"Blue: fusing helps; orange: it hurts. {STAR}", 8)
    return ax


def _of(shown: int, count: int, noun: str) -> str:
    return f", the {shown} best of {count:,} {noun}s" if shown < count else ""


def _ranked(view: Setting) -> list[str]:
    """Sets by their mean index over tasks, the largest first; indices below -1 count as -1."""
    found: dict[str, list[float]] = {}
    for task in view.tasks:
        for cell in task.cells:
            found.setdefault(cell.subset, []).append(max(cell.value, -1.0))
    mean = {subset: np.nanmean(values) if np.isfinite(values).any() else -np.inf
            for subset, values in found.items()}  # fmt: skip
    return sorted(mean, key=lambda subset: -mean[subset])


def _cells(ax: Axes, view: Setting, subsets: Sequence[str], size: float) -> None:
    row = {subset: i for i, subset in enumerate(subsets)}
    cells = [
        (t, row[cell.subset], cell)
        for t, task in enumerate(view.tasks)
        for cell in task.cells
        if cell.subset in row
    ]
    for x, y, cell in cells:
        weight = "bold" if cell.significant else "normal"
        text = index_text(cell, False).rstrip()
        base.write(ax, x + 0.5, y, text, ha="center", fontsize=size, weight=weight)
    limit = base.limit_of(np.array([cell.value for *_, cell in cells]))
    _boxes(ax, [(x, y, cell.value) for x, y, cell in cells], limit)


def scores(
    tables: Mapping[str, pd.DataFrame],
    manifest: Mapping[str, Any],
    task: str,
    setting: tuple = (),
    ax: Axes | None = None,
) -> Axes:
    """The scores of a task's sets, best first, over a matrix of dots that tells their members.

    Pooled scores with their intervals; where there are none, mean scores ± their standard error.
    Singles are hollow. At most 31 sets, the best.
    """
    rows, pooled = _best_scores(base.rows_of(tables, manifest, "scores", task, setting))
    count, single = len(rows), rows[rows["n_models"] == 1].head(1)
    if not count:
        raise UsageError(f"nothing to draw: no score of task {quote(task)} is defined")
    rows = rows.head(COLUMNS)
    models = base.models_of(manifest, list(rows["subset"]))
    names = [base.name(model) for model in models]
    left, below = max(base.inches(names) + 0.15, 0.6), base.ROW * len(models)
    ax = base.own_axes(ax, (base.WIDTH, 3.4 + below), left, 0.2, 0.4, below + 0.4)
    _score_dots(ax, rows)
    words = [" Hollow: single models."] * bool((rows["n_models"] == 1).any())
    for best in single.itertuples():
        shown = bool(ax.get_ylim()[0] < best.value)
        ax.axhline(best.value, color=base.SOFT, linewidth=1, linestyle=(0, (4, 3)), zorder=1.5)
        text = measured(best.value, best.low, best.high)[0]
        words.insert(0, f"Best single{', dashed' * shown}: {base.name(best.subset)}, {text}.")
    _members_below(ax, list(rows["subset"]), models, names)
    metric = base.task_view(tables, manifest, setting, task).metric_name
    what = f"pooled {metric}" if pooled else f"{metric} ± standard error"
    base.title(ax, f"{base.name(task)}: {what}{_of(len(rows), count, 'set')}")
    base.note(ax, "".join(words), 72 * (below + 0.1))
    return ax


def _best_scores(rows: pd.DataFrame) -> tuple[pd.DataFrame, bool]:
    """Rows with `value`, `low` and `high`, best first; whether these are pooled scores."""
    pooled = bool(rows["score_low"].notna().any())
    if pooled:
        value, low, high = rows["pooled"], rows["score_low"], rows["score_high"]
    else:
        value, sem = rows["score"], rows["sem"]
        low, high = value - sem, value + sem
    rows = rows.assign(value=value, low=low, high=high).dropna(subset=["value"])
    return rows.sort_values("value", ascending=False, kind="stable"), pooled


def _score_dots(ax: Axes, rows: pd.DataFrame) -> None:
    value, low, high = (rows[key].to_numpy(dtype=float) for key in ("value", "low", "high"))
    fused = (rows["n_models"] > 1).to_numpy()
    colours = np.where(fused, base.GAIN, base.TEXT)
    ends = base.limits(np.concatenate([value, low, high]), zero=False)
    ax.set_ylim(max(ends[0], value.max() - SPAN), ends[1])
    base.intervals(ax, value, low, high, fused, colours, upright=True)
    ax.set_xlim(-0.6, max(len(rows), 6) - 0.4)
    ax.grid(axis="y", color=base.LINE, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.set_xticks([])


def _members_below(
    ax: Axes, subsets: Sequence[str], models: Sequence[str], names: Sequence[str]
) -> None:
    box = ax.get_position()
    high = ax.figure.get_size_inches()[1] * box.height
    share = base.ROW * len(models) / high
    below = ax.inset_axes((0, -share - 0.02, 1, share), sharex=ax)
    base.own_axes(below, (0, 0), 0, 0, 0, 0)
    base.membership(below, subsets, models, upright=False)
    base.rows_below(below, len(models))
    base.row_labels(below, range(len(models)), names)
    below.set_xticks([])
    ax.set_xlim(ax.get_xlim())


def overlap(
    tables: Mapping[str, pd.DataFrame],
    manifest: Mapping[str, Any],
    measure: str = "cka_debiased",
    sample: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Matrix of a measure of overlap, models × models, for one sample (None: the first).

    `r2` is of predicting a row's embedding from a column's; other measures have one value a pair.
    """
    frame = tables.get("overlap")
    if frame is not None:
        sample = frame["sample"].iloc[0] if sample is None and len(frame) else sample
        frame = frame[(frame["sample"] == sample) & (frame["measure"] == measure)]
        frame = frame[frame["model_b"].notna()]
    if frame is None or not len(frame):
        raise UsageError(f"nothing to draw: the table overlap has no {measure} of this sample")
    models = base.models_of(manifest, [*frame["model_a"], *frame["model_b"]])
    names = [base.name(model) for model in models]
    left = base.inches(names) + 0.15
    cell = min((base.WIDTH - left - 0.2) / len(models), 0.9)
    angle = base.SLANTED if base.inches(names, base.SMALL) > cell else 0.0
    top = 0.4 + base.heads(names, angle)
    side = cell * len(models)
    row = max(min(cell, 0.5), base.ROW)
    size = base.WIDTH, row * len(models) + top + 0.5
    ax = base.own_axes(ax, size, left, base.WIDTH - left - side, top, 0.5)
    _pairs(ax, frame, models, measure)
    ax.set_xlim(0, len(models))
    base.rows_below(ax, len(models))
    base.row_labels(ax, range(len(models)), names)
    base.column_heads(ax, np.arange(len(models)) + (0.3 if angle else 0.5), names, angle)
    base.title(ax, f"Overlap of embeddings: {measure}, {base.name(sample, 48)}")
    how = "R² of a row's embedding predicted from a column's. " if measure == "r2" else ""
    base.note(ax, f"{how}1: the one tells all of the other; 0: nothing.", 8)
    return ax


def _pairs(ax: Axes, frame: pd.DataFrame, models: Sequence[str], measure: str) -> None:
    """A cell for each pair with its value; both ways where the measure has none."""
    place = {model: i for i, model in enumerate(models)}
    cells = []
    for each in frame.itertuples():
        a, b = place[each.model_a], place[each.model_b]
        text = measured(each.value, each.low, each.high)[0]
        for x, y in ((b, a),) if measure == "r2" else ((b, a), (a, b)):
            base.write(ax, x + 0.5, y, text, ha="center", fontsize=base.SMALL)
            cells.append((x, y, max(each.value, 0.0)))
    _boxes(ax, cells, 1.0)


def _boxes(ax: Axes, cells: Sequence[tuple[int, int, float]], limit: float) -> None:
    """Coloured cells (column, row, value); undefined ones stay empty."""
    known = [cell for cell in cells if np.isfinite(cell[2])]
    corners = [[(x, y - 0.5), (x + 1, y - 0.5), (x + 1, y + 0.5), (x, y + 0.5)]
               for x, y, _ in known]  # fmt: skip
    faces = [base.tint(value, limit) for *_, value in known]
    ax.add_collection(
        PolyCollection(corners, facecolors=faces, edgecolors=base.BACK, linewidths=1.2),
        autolim=False,
    )
