"""The heat map of the index on the HTML page: a table of sets × tasks, coloured by its values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ecjax.digest import Cell as Found
from ecjax.digest import Setting, TaskView, legend
from ecjax.page_tables import FIRST, Cell, Column, interval, safe, table
from ecjax.rounding import measured, number

EDGES = (0.01, 0.05, 0.1, 0.2, 0.4)  # of the colours, by absolute value


def colour(value: float) -> str:
    """The class of a cell that gains (`g1` to `g5`) or loses (`l1` to `l5`); "" near zero."""
    level = sum(abs(value) >= edge for edge in EDGES)  # a NaN reaches none
    return f"{'g' if value > 0 else 'l'}{level}" if level else ""


def heat_map(setting: Setting, manifest: Mapping[str, Any], key: str) -> list[str]:
    """The index of every fused set on every task: value, star, interval; "-" where undefined."""
    tasks = setting.tasks
    cells = [{cell.subset: cell for cell in task.cells} for task in tasks]
    subsets = _order(setting.subsets, cells)
    columns = [Column("set", "set"), *(Column(t.name, small=_under(t)) for t in tasks)]
    rows = [
        [subset, *(_cell(of.get(subset), setting.has_truth) for of in cells)] for subset in subsets
    ]
    bounds = any(not math.isnan(cell.low) for task in tasks for cell in task.cells)
    heat = table(
        f"{key}-index",
        safe(_caption(setting.has_truth, bounds, len(subsets) > FIRST)),
        columns,
        rows,
        label="the index of every set on every task",
        file="index.csv",
        style="heat",
    )
    words = f'<p class="note">{safe(legend(setting.has_truth, manifest))}</p>'
    return [_scale(), heat, words] if heat else []


def _caption(has_truth: bool, bounds: bool, many: bool) -> str:
    truth = ", in brackets the true one" if has_truth else ""
    small = "; below it the interval of eci_pooled" if bounds else ""
    order = " Sets with the best mean over tasks stand first." if many else ""
    return f"The index of every set{truth}{small}. *: adjusted p < 0.05.{order}"


def _under(task: TaskView) -> tuple[str, ...]:
    if not task.single:
        return (task.metric_name,)
    return (f"best single: {task.single}", f"{task.metric_name} {number(task.single_score)}")


def _order(subsets: Sequence[str], cells: Sequence[Mapping[str, Found]]) -> list[str]:
    """As in the study, but where they are too many to be seen at once, the best ones first."""
    if len(subsets) <= FIRST:
        return list(subsets)

    def mean(subset: str) -> float:
        known = [of[subset].value for of in cells if subset in of]
        known = [max(value, -1.0) for value in known if not math.isnan(value)]
        return sum(known) / len(known) if known else -math.inf

    return sorted(subsets, key=mean, reverse=True)


def _cell(cell: Found | None, has_truth: bool) -> Cell:
    if cell is None:
        return Cell("")
    value = cell.value
    text, *_ = measured(value, cell.low, cell.high, signed=True)
    small = interval(cell.low, cell.high, value)
    if small and cell.eci_pooled != value:  # under `paper`, whose index is of means over folds
        pooled, *_ = measured(cell.eci_pooled, cell.low, cell.high, signed=True)
        small = f"eci_pooled {pooled}: {small}"
    if has_truth:
        text += f" ({number(cell.true, 2, signed=True)})"
    star, sure = ("*", "sure") if cell.significant else ("", "")
    styles = " ".join(filter(None, (colour(value), sure)))
    return Cell(text + star, small, styles)


def _scale() -> str:
    """The colours and what they stand for."""
    loss = [f'<li class="l{i}">−{edge:g}</li>' for i, edge in enumerate(EDGES, start=1)][::-1]
    gain = [f'<li class="g{i}">+{edge:g}</li>' for i, edge in enumerate(EDGES, start=1)]
    items = ["<li>fusing hurts:</li>", *loss, "<li>0</li>", *gain, "<li>: fusing helps</li>"]
    about = "colours of the index, each from the value in it away from 0"
    return f'<ul class="scale" aria-label="{about}">{"".join(items)}</ul>'
