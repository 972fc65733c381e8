"""Figure of spatial scale: how a target differs with distance, and the range fitted to that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from ecjax import figures_base as base
from ecjax.errors import UsageError
from ecjax.rounding import number

PANELS = 24
ACROSS = 3
PANEL, GAP = 1.2, 0.6  # inches
KEYS = ["task", "target", "estimator"]


def scale(
    tables: Mapping[str, pd.DataFrame], manifest: Mapping[str, Any], ax: Axes | None = None
) -> Axes:
    """A small panel for each target and estimator: values by distance, the fit, and the range.

    Where the results have no curves, the ranges as dots. At most 24 panels.
    """
    ranges = tables.get("scale")
    if ranges is None or not len(ranges):
        raise UsageError("nothing to draw: these results have no table scale")
    curves = tables.get("scale_curve")
    if not ranges["range_km"].notna().any():
        raise UsageError("nothing to draw: no target has a range")
    if curves is None or not len(curves):
        return _ranges(ranges, ax)
    known = {_key(row): row.range_km for row in ranges.itertuples()}
    panels = [rows for _, rows in curves.groupby(KEYS, sort=False, dropna=False)][:PANELS]
    across = min(ACROSS, len(panels))
    down = -(-len(panels) // across)
    ax = base.own_axes(ax, (base.WIDTH, 0.5 + down * (PANEL + GAP)), 0.55, 0.15, 0.4, 0.1)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.patch.set_visible(False)
    km = curves["km"][curves["km"] > 0]
    width, height = 1 / across, 1 / down
    share = PANEL / (PANEL + GAP)
    for i, rows in enumerate(panels):
        x, y = i % across * width, 1 - (i // across + share + 0.13) * height
        panel = ax.inset_axes((x, y, 0.84 * width, share * height))
        first = next(rows.itertuples())
        _panel(panel, rows, known.get(_key(first), np.nan), (km.min(), km.max()))
        words = f"{_label(first)} · {first.estimator}"
        panel.set_title(words, loc="left", fontsize=base.SMALL, color=base.TEXT,
                        parse_math=False, pad=4)  # fmt: skip
    base.title(ax, "How targets differ with distance, in km")
    return ax


def _panel(panel: Axes, rows: pd.DataFrame, range_km: float, km: tuple[float, float]) -> None:
    base.own_axes(panel, (0, 0), 0, 0, 0, 0)
    rows = rows.sort_values("km")
    panel.scatter(rows["km"], rows["value"], s=9, c=base.SOFT, linewidths=0, zorder=2)
    panel.plot(rows["km"], rows["fitted"], color=base.GAIN, linewidth=1.6, zorder=3)
    _distances(panel, km[0] / 1.15, km[1] * 1.15, (1,))
    panel.set_ylim(base.limits(rows[["value", "fitted"]].to_numpy(dtype=float).ravel()))
    panel.locator_params(axis="y", nbins=4)
    panel.grid(axis="y", color=base.LINE, linewidth=0.8)
    panel.spines["bottom"].set(visible=True, color=base.LINE)
    if np.isfinite(range_km):
        panel.axvline(range_km, color=base.TEXT, linewidth=1, linestyle=(0, (4, 3)), zorder=1.5)
        at_right = range_km * range_km < km[0] * km[1]
        place = range_km * (1.1 if at_right else 1 / 1.1)
        words, side = f"{number(range_km, 0)} km", "left" if at_right else "right"
        base.write(panel, place, 0.06, words, transform=panel.get_xaxis_transform(),
                   va="bottom", ha=side, fontsize=base.SMALL)  # fmt: skip


def _distances(ax: Axes, low: float, high: float, steps: tuple[int, ...]) -> None:
    """A logarithmic axis of km with ticks at these multiples of powers of ten."""
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    ticks = [step * 10.0**power for power in powers for step in steps]
    ticks = [tick for tick in ticks if low <= tick <= high]
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(ticks, labels=[f"{tick:,g}" for tick in ticks])


def _ranges(ranges: pd.DataFrame, ax: Axes | None) -> Axes:
    """A dot for each target and estimator; what has no range says so."""
    ranges = ranges.head(4 * PANELS)
    targets = list(dict.fromkeys(_label(row) for row in ranges.itertuples()))
    estimators = list(dict.fromkeys(ranges["estimator"]))
    places = {target: i for i, target in enumerate(targets)}
    size = base.WIDTH, 0.45 + base.ROW * len(targets) + 0.75
    ax = base.own_axes(ax, size, base.inches(targets) + 0.15, 0.3, 0.45, 0.75)
    looks = [(base.GAIN, "o"), (base.TEXT, "D")]
    for estimator, (colour, marker) in zip(estimators, looks, strict=False):
        rows = ranges[(ranges["estimator"] == estimator) & ranges["range_km"].notna()]
        y = [places[_label(row)] for row in rows.itertuples()]
        ax.scatter(rows["range_km"], y, s=30, c=colour, marker=marker, linewidths=0, zorder=3)
    base.row_labels(ax, range(len(targets)), targets)
    base.rows_below(ax, len(targets))
    known = ranges["range_km"].dropna()
    if len(known):
        _distances(ax, known.min() / 1.5, known.max() * 1.5, (1, 2, 5))
    base.value_axis(ax, "range in km", zero=False)
    base.title(ax, "Over which distance each target changes")
    kinds = ("dots", "diamonds")
    base.note(ax, "; ".join(f"{kind}: {each}" for kind, each in
                            zip(kinds, estimators, strict=False)), 32)  # fmt: skip
    return ax


def _key(row: Any) -> tuple:
    return row.task, "" if pd.isna(row.target) else str(row.target), row.estimator


def _label(row: Any) -> str:
    """The target with its task, unless they have one name or the task has but one."""
    task, target, _ = _key(row)
    words = task if target in ("", task) else f"{task}: {target}"
    return base.name(words, base.SET_LETTERS)
