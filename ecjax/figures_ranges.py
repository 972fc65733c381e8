"""Figures of intervals and shares: gains, Shapley shares, strata, commonality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from ecjax import figures_base as base
from ecjax.digest import SIGNIFICANCE
from ecjax.errors import UsageError, quote
from ecjax.rounding import measured

ROWS = 40
AXIS = 0.5  # inches below the rows
LEAST = -3.0  # that is drawn; what is lower is an arrow with its value beside it
WRITTEN = 0.06  # the least share that is written into its bar
PARTS = {  # of a pair's score, in the order of its bar: words, colour, strength
    "unique_a": ("only the first", base.TEXT, 0.85),
    "shared": ("shared", base.TEXT, 0.15),
    "unique_b": ("only the second", base.TEXT, 0.65),
    "synergy": ("synergy", base.GAIN, base.STRONGEST),
}


def gains(
    tables: Mapping[str, pd.DataFrame],
    manifest: Mapping[str, Any],
    task: str,
    setting: tuple = (),
    ax: Axes | None = None,
) -> Axes:
    """What adding each model to each set gains, with intervals: a row for each set and model.

    At most 40 rows: those of the sets with the best score, whose members are left out in turn.
    """
    rows = base.rows_of(tables, manifest, "gains", task, setting)
    fewer = rows["subset"].str.count(r"\+") - rows["over"].str.count(r"\+") == 1
    rows = rows[fewer & rows["eci_pooled"].notna()]
    if not len(rows):
        raise UsageError(f"nothing to draw: no gain of task {quote(task)} is defined")
    count = rows["subset"].nunique()
    rows = _of_best_sets(rows, base.task_view(tables, manifest, setting, task))
    order = base.models_of(manifest, list(rows["subset"]))
    added = [_added(*pair) for pair in zip(rows["subset"], rows["over"], strict=True)]
    rows = rows.assign(group=added, order=[order.index(model) for model in added])
    rows = rows.sort_values("order", kind="stable")
    groups = [f"adding {base.name(model)} to" for model in rows["group"]]
    known = rows["eci_low"].notna() & ((rows["eci_low"] > 0) | (rows["eci_high"] < 0))
    ax = _range_axes(ax, rows, list(rows["over"]), known.to_numpy(), groups, models=order)
    shown = rows["subset"].nunique()
    of = f", the {shown} best of {count:,} sets" if shown < count else ""
    base.title(ax, f"{base.name(task)}: gain by each model{of}")
    base.value_axis(ax, "share of the remaining loss that adding the model removes (eci_pooled)")
    base.note(ax, "Filled: the interval excludes zero.", 24)
    return ax


def _of_best_sets(rows: pd.DataFrame, view: Any) -> pd.DataFrame:
    """The rows of as many of the best sets as fit, in the order of the table."""
    score = {cell.subset: -cell.score for cell in view.cells if cell.score == cell.score}
    ranked = sorted(dict.fromkeys(rows["subset"]), key=lambda subset: score.get(subset, np.inf))
    sizes = rows["subset"].value_counts()
    kept = np.cumsum([sizes[subset] for subset in ranked]) <= ROWS
    return rows[rows["subset"].isin([s for s, keep in zip(ranked, kept, strict=True) if keep])]


def _added(subset: str, over: str) -> str:
    before = set(over.split("+"))
    return next(model for model in subset.split("+") if model not in before)


def _range_axes(
    ax: Axes | None, rows: pd.DataFrame, labels: Sequence[str], sure: np.ndarray,
    groups: Sequence[str] = (), right: Sequence[str] = (), models: Sequence[str] = (),
) -> Axes:  # fmt: skip
    """Rows of dots with intervals, blue above zero and orange below.

    Args:
        rows: `eci_pooled` (or `value`), low and high.
        sure: (m,) which dots are filled.
        groups: of each row, the heading it stands under; empty: no headings.
        right: text at the end of each row; where empty, the value with its digits.
        models: where given, labels are sets; those with long names are shown as dots of these.
    """
    value, low, high = (rows[key].to_numpy(dtype=float) for key in _columns(rows))
    places, titles = _places(groups or [""] * len(rows))
    sets = labels
    labels = ["+".join(map(base.name, each.split("+"))) for each in sets] if models else sets
    dots = models and max(map(base.width_of, labels)) > base.SET_LETTERS
    ends = zip(value, low, high, strict=True)
    texts = list(right) or [measured(*each, signed=True)[0] for each in ends]
    heads = 1.12 * base.inches(list(titles.values()))  # bold
    left = max(heads, base.inches([] if dots else labels)) + 0.15
    left = max(left, base.DOT * len(models) + 0.15) if dots else left
    top = 0.4 + (base.heads(list(map(base.name, models)), base.STEEP) if dots else 0)
    count = places.max() + 1
    size = base.WIDTH, top + base.ROW * count + AXIS
    side = base.inches(texts, base.SMALL) + 0.25
    ax = base.own_axes(ax, size, left, side, top, AXIS)
    edge, top = base.limits(np.concatenate([value, low, high]))
    ax.set_xlim(max(edge, LEAST), top)
    base.intervals(ax, value, low, high, sure, np.where(value >= 0, base.GAIN, base.LOSS), places)
    base.rows_below(ax, count)
    if dots:
        base.membership_beside(ax, sets, models, places)
    else:
        base.row_labels(ax, places, labels)
    _beside(ax, places, texts, titles)
    return ax


def _beside(ax: Axes, places: np.ndarray, texts: Sequence[str], titles: Mapping[int, str]) -> None:
    """Texts at the right end of rows, and headings at the left."""
    across = ax.get_yaxis_transform()
    for place, text in zip(places, texts, strict=True):
        base.write(ax, 1.015, place, text, transform=across, fontsize=base.SMALL, color=base.SOFT)
    for place, text in titles.items():
        base.write(ax, -0.012, place, text, transform=across, ha="right", weight="bold")


def _columns(rows: pd.DataFrame) -> tuple[str, str, str]:
    return ("value", "low", "high") if "value" in rows else ("eci_pooled", "eci_low", "eci_high")


def _places(groups: Sequence[str]) -> tuple[np.ndarray, dict[int, str]]:
    """Where rows stand, and the headings above the first of each group by where they stand."""
    places, heads, at, before = [], {}, 0, ""
    for group in groups:
        if group != before:
            heads[at], before = group, group
            at += 1
        places.append(at)
        at += 1
    return np.array(places, dtype=float), heads


def shapley(
    tables: Mapping[str, pd.DataFrame],
    manifest: Mapping[str, Any],
    task: str,
    setting: tuple = (),
    ax: Axes | None = None,
) -> Axes:
    """Each model's Shapley share in the score of all models together, with its interval."""
    rows = base.rows_of(tables, manifest, "shapley", task, setting).dropna(subset=["value"])
    if not len(rows):
        raise UsageError(f"nothing to draw: no Shapley value of task {quote(task)} is defined")
    rows = rows.sort_values("value", ascending=False, kind="stable")
    ends = zip(rows["value"], rows["low"], rows["high"], strict=True)
    texts = [measured(*each)[0] for each in ends]
    labels = [base.name(model) for model in rows["model"]]
    ax = _range_axes(ax, rows, labels, np.full(len(rows), True), right=texts)
    metric = base.task_view(tables, manifest, setting, task).metric_name
    base.title(ax, f"{base.name(task)}: each model's share in the score of all")
    base.value_axis(ax, f"{metric} (Shapley value)")
    return ax


def strata(
    tables: Mapping[str, pd.DataFrame],
    manifest: Mapping[str, Any],
    task: str,
    by: str,
    subset: str | None = None,
    setting: tuple = (),
    ax: Axes | None = None,
) -> Axes:
    """The index within each stratum, with its interval and how many rows it rests on.

    Args:
        by: what divides the rows, as in the table.
        subset: the set; None: the one with the best index.
    """
    rows = base.rows_of(tables, manifest, "strata", task, setting)
    subset = subset or base.best_subset(tables, manifest, setting, task, rows["subset"])
    rows = rows[(rows["by"] == by) & (rows["subset"] == subset)].head(ROWS)
    if not len(rows):
        raise UsageError(f"nothing to draw: the table strata has no {quote(by)} of this set")
    sure = (rows["p_adjusted"] < SIGNIFICANCE) | (rows["p_worse_adjusted"] < SIGNIFICANCE)
    texts = [f"{row.n_rows:,} rows" + ("" if row.eci_pooled == row.eci_pooled else ", no index")
             for row in rows.itertuples()]  # fmt: skip
    labels = [base.name(stratum, base.SET_LETTERS) for stratum in rows["stratum"]]
    ax = _range_axes(ax, rows, labels, sure.to_numpy(dtype=bool), right=texts)
    base.title(ax, f"{base.name(task)}: {base.set_name(subset)} by {base.name(by)}")
    base.value_axis(ax, "index within the stratum (eci_pooled)")
    far = "; arrow: beyond the left edge" if (rows["eci_pooled"] < LEAST).any() else ""
    base.note(ax, f"Filled: adjusted p < 0.05{far}.", 24)
    return ax


def commonality(
    tables: Mapping[str, pd.DataFrame],
    manifest: Mapping[str, Any],
    task: str,
    setting: tuple = (),
    ax: Axes | None = None,
) -> Axes:
    """What each pair's score is made of, as shares: unique to either, shared, synergy.

    Negative shares go to the left. At most 40 pairs, those with the most synergy.
    """
    rows = base.rows_of(tables, manifest, "commonality", task, setting)
    rows = rows[rows["part"].isin(list(PARTS))].astype({"share": float})
    shares = rows.pivot_table("share", ["model_a", "model_b"], "part", "first", sort=False)
    shares = shares.reindex(columns=list(PARTS)).dropna()
    if not len(shares):
        raise UsageError(f"nothing to draw: no parts of a pair of task {quote(task)} are defined")
    if len(shares) > ROWS:
        shares = shares.loc[shares["synergy"].nlargest(ROWS).index]
    labels = [f"{base.name(a, 20)} · {base.name(b, 20)}" for a, b in shares.index]
    size = base.WIDTH, 0.75 + base.ROW * 1.25 * len(shares) + AXIS
    ax = base.own_axes(ax, size, base.inches(labels) + 0.15, 0.25, 0.75, AXIS)
    right, left = np.zeros(len(shares)), np.zeros(len(shares))
    rows_at = np.arange(len(shares))
    for part, (_, colour, strength) in PARTS.items():
        share = shares[part].to_numpy()
        start = np.where(share >= 0, right, left)
        hue = np.where((share < 0) & (part == "synergy"), base.LOSS, colour)
        faces = [base.faded(each, strength) for each in hue]
        ax.barh(rows_at, share, 0.72, start, color=faces, edgecolor=base.BACK, linewidth=1)
        right, left = right + np.maximum(share, 0), left + np.minimum(share, 0)
        _percents(ax, part, share, start)
    _parts_legend(ax)
    base.row_labels(ax, rows_at, labels)
    base.rows_below(ax, len(shares))
    ax.set_xlim(min(left.min() * 1.02, 0), right.max() * 1.02)
    ax.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    base.title(ax, f"{base.name(task)}: what the score of each pair is made of", 22)
    base.value_axis(ax, "share of what the pair explains beyond none of the two")
    ax.grid(False)  # it would shine through
    return ax


def _percents(ax: Axes, part: str, share: np.ndarray, start: np.ndarray) -> None:
    """The share within its part of the bar, where it is wide enough."""
    _, colour, strength = PARTS[part]
    ink = base.BACK if colour == base.TEXT and strength >= 0.5 else base.TEXT
    for i in np.flatnonzero(np.abs(share) >= WRITTEN):
        base.write(ax, start[i] + share[i] / 2, i, f"{100 * share[i]:.0f}", ha="center",
                   fontsize=base.SMALL, color=ink)  # fmt: skip


def _parts_legend(ax: Axes) -> None:
    faces = [base.faded(colour, strength) for _, colour, strength in PARTS.values()]
    handles = [Patch(facecolor=face, linewidth=0) for face in faces]
    words = [words for words, *_ in PARTS.values()]
    ax.legend(handles, words, ncols=4, loc="lower left", bbox_to_anchor=(0, 1), frameon=False,
              fontsize=base.SMALL, labelcolor=base.TEXT, handlelength=1, handleheight=1,
              borderaxespad=0.2, borderpad=0, columnspacing=1.5)  # fmt: skip
