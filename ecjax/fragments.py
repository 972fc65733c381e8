"""How results show themselves in a notebook: short HTML without style, script or network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ecjax.digest import Setting, Tables, headline, index_text, set_name, setting_name, settings
from ecjax.page import _mark
from ecjax.rounding import number

ROWS = 40
SETTINGS = 3
RIGHT = ' style="text-align: right"'
STAR = "Index of each set; *: adjusted p &lt; 0.05; -: undefined."


def of_result(tables: Tables, manifest: Mapping[str, Any]) -> str:
    """What was run, and the index, sets × tasks; the first settings of a sweep."""
    views = settings(tables, manifest)
    name = _mark(str(manifest.get("name", "?")))
    parts = [f"<p><b>{name}</b>: {headline(tables, manifest, _mark)}</p>"]
    for view in views[:SETTINGS]:
        if view.values:
            parts.append(f"<p>{setting_name(view, _mark)}</p>")
        parts += _index(view)
    if len(views) > SETTINGS:
        parts.append(f"<p>{len(views) - SETTINGS} more settings</p>")
    return _fragment([*parts, f"<p>{STAR}</p>"])


def _index(view: Setting) -> list[str]:
    cells = [{cell.subset: cell for cell in task.cells} for task in view.tasks]
    rows = []
    for subset in view.subsets:
        row = [set_name(subset, _mark)]
        for column in cells:
            cell = column.get(subset)
            text = "" if cell is None else index_text(cell, view.has_truth).rstrip()
            row.append(f"<b>{text}</b>" if cell and cell.significant else text)
        rows.append(row)
    singles = ["best single"]
    singles += [f"{_mark(t.single)} {number(t.single_score)}" if t.single else "-"
                for t in view.tasks]  # fmt: skip
    return _table(["set", *(_mark(task.name) for task in view.tasks)], [singles, *rows])


def of_overlap(table: pd.DataFrame, manifest: Mapping[str, Any], shown: Mapping[str, str]) -> str:
    """For each sample a matrix of the models.

    Args:
        shown: the measure to show → its words.
    """
    models = list(manifest["embeddings"])
    parts = [f"<p><b>{_mark(str(manifest['name']))}</b>: overlap of embeddings</p>"]
    measure, words = next(iter(shown.items()))
    for sample, rows in table[table["measure"] == measure].groupby("sample", sort=False):
        pairs = zip(rows["model_a"], rows["model_b"], rows["value"], strict=True)
        values = {frozenset((a, b)): value for a, b, value in pairs}
        matrix = [
            [_mark(a), *("" if a == b else number(values.get(frozenset((a, b)))) for b in models)]
            for a in models
        ]
        parts.append(f"<p>{_mark(str(sample))}, {int(rows['n_rows'].iloc[0]):,} rows: {words}</p>")
        parts += _table(["", *map(_mark, models)], matrix)
    return _fragment(parts)


def of_scale(table: pd.DataFrame, manifest: Mapping[str, Any]) -> str:
    """The range of each target by each estimator."""
    estimators = list(dict.fromkeys(table["estimator"]))
    ranges: dict[tuple[str, str], dict[str, float]] = {}
    for row in table.itertuples():
        target = "" if pd.isna(row.target) else str(row.target)
        ranges.setdefault((row.task, target), {})[row.estimator] = row.range_km
    rows = [
        [_mark(task), _mark(target), *(number(found.get(each), 0) for each in estimators)]
        for (task, target), found in ranges.items()
    ]
    head = ["task", "target", *(f"{_mark(each)}, km" for each in estimators)]
    name = _mark(str(manifest["name"]))
    return _fragment([f"<p><b>{name}</b>: range of each target</p>", *_table(head, rows)])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table of HTML cells, of which the first names its row; at most 40 rows."""
    heads = "".join(f'<th scope="col"{RIGHT}>{text}</th>' for text in head)
    lines = ["<table>", f"<thead><tr>{heads}</tr></thead>", "<tbody>"]
    for first, *cells in rows[:ROWS]:
        line = "".join(f"<td{RIGHT}>{text}</td>" for text in cells)
        lines.append(f'<tr><th scope="row"{RIGHT}>{first}</th>{line}</tr>')
    more = [f"<p>and {len(rows) - ROWS:,} more</p>"] if len(rows) > ROWS else []
    return [*lines, "</tbody>", "</table>", *more]


def _fragment(parts: Sequence[str]) -> str:
    return "\n".join(["<div>", *parts, "</div>"])
