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
from ecjax.errors import UsageError
from ecjax.rounding import measured

SETS, COLUMNS = 40, 31
DOT = 0.2  # inches between the models of a matrix beside the heat map
CELL = (0.62, 1.1)  # inches that a task's column is wide
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
    left = DOT * len(models) + 0.1 if matrix else base.inches(labels) + 0.15
    tasks = [base.name(task.name) for task in view.tasks]
    column = float(np.clip((base.WIDTH - left - 0.2) / len(tasks), *CELL))
    slanted = base.inches(tasks, base.SMALL) > column
    heads = [base.name(model) for model in models] if matrix else []
    top = 0.6 + 0.6 * base.inches([*heads, *(tasks if slanted else [])], base.SMALL)
    wide = left + column * len(tasks) + (0.8 * base.inches(tasks[-1:]) if slanted else 0.1)
    wide = max(base.WIDTH, wide)
    size = wide, base.ROW * len(shown) + top + 0.6
    ax = base.own_axes(ax, size, left, wide - left - column * len(tasks), top, 0.6)
    _cells(ax, view, shown)
    ax.set_xlim(0, len(tasks))
    base.rows_below(ax, len(shown))
    ax.xaxis.tick_top()
    ax.set_xticks(np.arange(len(tasks)) + (0.3 if slanted else 0.5))
    ax.set_xticklabels(tasks, parse_math=False, fontsize=base.SMALL, color=base.TEXT,
                       **(base.SLANT if slanted else {}))  # fmt: skip
    if matrix:
        _matrix_beside(ax, shown, models, column)
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
    mean = {subset: np.nanmean([*values, -1e9][:-1]) if np.isfinite(values).any() else -np.inf
            for subset, values in found.items()}  # fmt: skip
    return sorted(mean, key=lambda subset: -mean[subset])


def _cells(ax: Axes, view: Setting, subsets: Sequence[str]) -> None:
    row = {subset: i for i, subset in enumerate(subsets)}
    cells = [
        (t, row[cell.subset], cell)
        for t, task in enumerate(view.tasks)
        for cell in task.cells
        if cell.subset in row
    ]
    limit = base.limit_of(np.array([cell.value for *_, cell in cells]))
    boxes, colours = [], []
    for x, y, cell in cells:
        text = index_text(cell, False).rstrip()
        weight = "bold" if cell.significant else "normal"
        base.write(ax, x + 0.5, y, text, ha="center", fontsize=base.SMALL, weight=weight)
        if np.isfinite(cell.value):
            boxes.append([(x, y - 0.5), (x + 1, y - 0.5), (x + 1, y + 0.5), (x, y + 0.5)])
            colours.append(base.tint(cell.value, limit))
    ax.add_collection(
        PolyCollection(boxes, facecolors=colours, edgecolors=base.BACK, linewidths=1.2),
        autolim=False,
    )


def _matrix_beside(ax: Axes, subsets: Sequence[str], models: Sequence[str], column: float) -> None:
    """Dots of the members to the left of the cells, the models' names above."""
    width = DOT * len(models) / column
    beside = ax.inset_axes((-width, -0.5, width, len(subsets)), transform=ax.transData)
    base.own_axes(beside, (0, 0), 0, 0, 0, 0)
    base.membership(beside, subsets, models, upright=True)
    beside.set_xlim(-0.5, len(models) - 0.5)
    base.rows_below(beside, len(subsets))
    beside.set_yticks([])
    ax.set_yticks([])
    beside.xaxis.tick_top()
    beside.set_xticks(range(len(models)))
    names = [base.name(model) for model in models]
    beside.set_xticklabels(names, parse_math=False, fontsize=base.SMALL, color=base.TEXT,
                           **base.SLANT)  # fmt: skip


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
    rows = base.rows_of(tables, "scores", task, setting)
    pooled = rows["score_low"].notna().any()
    rows = rows.assign(value=rows["pooled" if pooled else "score"]).dropna(subset=["value"])
    count = len(rows)
    rows = rows.sort_values("value", ascending=False, kind="stable")
    best_single = rows[rows["n_models"] == 1].head(1)
    rows = rows.head(COLUMNS)
    value = rows["value"].to_numpy()
    low = rows["score_low"].to_numpy() if pooled else value - rows["sem"].to_numpy()
    high = rows["score_high"].to_numpy() if pooled else value + rows["sem"].to_numpy()
    models = base.models_of(manifest, list(rows["subset"]))
    names = [base.name(model) for model in models]
    left, below = max(base.inches(names) + 0.15, 0.6), base.ROW * len(models)
    size = base.WIDTH, 2.6 + below + 0.75
    ax = base.own_axes(ax, size, left, 0.2, 0.4, below + 0.35)
    fused = (rows["n_models"] > 1).to_numpy()
    colours = np.where(fused, base.GAIN, base.TEXT)
    base.intervals(ax, value, low, high, fused, colours, upright=True)
    ax.set_ylim(_score_limits(value, low, high))
    ax.set_xlim(-0.6, max(len(rows), 6) - 0.4)
    ax.grid(axis="y", color=base.LINE, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.set_xticks([])
    for single in best_single.itertuples():
        ax.axhline(single.value, color=base.SOFT, linewidth=1, linestyle=(0, (4, 3)), zorder=1.5)
    _members_below(ax, list(rows["subset"]), models, names)
    metric = base.task_view(tables, manifest, setting, task).metric_name
    what = f"{'pooled ' if pooled else ''}{metric}{'' if pooled else ', ± standard error'}"
    base.title(ax, f"{base.name(task)}: {what}{_of(len(rows), count, 'set')}")
    base.note(ax, "Dots: sets; hollow: single models. Dashed: the best single.", 0)
    return ax


def _score_limits(value: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[float, float]:
    return base.limits(np.concatenate([value, low, high]), zero=False)


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
    place = {model: i for i, model in enumerate(models)}
    names = [base.name(model) for model in models]
    left = base.inches(names) + 0.15
    cell = min((base.WIDTH - left - 0.2) / len(models), 0.9)
    slanted = base.inches(names, base.SMALL) > cell
    top = 0.6 + (0.6 * base.inches(names, base.SMALL) if slanted else 0)
    side = cell * len(models)
    row = max(min(cell, 0.5), base.ROW)
    size = base.WIDTH, row * len(models) + top + 0.5
    ax = base.own_axes(ax, size, left, base.WIDTH - left - side, top, 0.5)
    boxes, colours = [], []
    for each in frame.itertuples():
        a, b = place[each.model_a], place[each.model_b]
        for x, y in ((b, a),) if measure == "r2" else ((b, a), (a, b)):
            text = measured(each.value, each.low, each.high)[0]
            base.write(ax, x + 0.5, y, text, ha="center", fontsize=base.SMALL)
            if np.isfinite(each.value):
                boxes.append([(x, y - 0.5), (x + 1, y - 0.5), (x + 1, y + 0.5), (x, y + 0.5)])
                colours.append(base.tint(max(each.value, 0.0), 1.0))
    ax.add_collection(
        PolyCollection(boxes, facecolors=colours, edgecolors=base.BACK, linewidths=1.2),
        autolim=False,
    )
    ax.set_xlim(0, len(models))
    base.rows_below(ax, len(models))
    base.row_labels(ax, range(len(models)), names)
    ax.xaxis.tick_top()
    ax.set_xticks(np.arange(len(models)) + 0.5)
    ax.set_xticklabels(names, parse_math=False, fontsize=base.SMALL, color=base.TEXT,
                       **(base.SLANT if slanted else {}))  # fmt: skip
    base.title(ax, f"Overlap of embeddings: {measure}, {base.name(sample, 48)}")
    how = "R² of a row's embedding predicted from a column's. " if measure == "r2" else ""
    base.note(ax, f"{how}1: the one tells all of the other; 0: nothing.", 8)
    return ax
