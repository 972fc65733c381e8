"""The HTML page of a run: one file without network, fonts or libraries, from the tables alone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from ecjax import store
from ecjax.digest import (
    Setting,
    Tables,
    TaskView,
    at_setting,
    finding,
    headline,
    index_text,
    interval_text,
    legend,
    question_text,
    set_name,
    setting_name,
    settings,
    smallest,
)
from ecjax.errors import neutral
from ecjax.page_style import SCRIPT, STYLE
from ecjax.picture import SETS, index_picture
from ecjax.remarks import remarks
from ecjax.rounding import number

READ = ("scores", "folds", "index", "targets")
ROWS = 1000
SETTINGS = 24
PRIVATE = ("out", "study")  # arguments that hold paths
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def write_page(directory: str | os.PathLike) -> Path:
    """Writes `report.html` into a directory of results and returns its path.

    Raises:
        InputError: the directory holds no whole results.
        WriteError: the page cannot be written.
    """
    tables, manifest = store.read_results(directory, READ)
    return store.replace_page(directory, render(tables, manifest))


def render(tables: Tables, manifest: Mapping[str, Any]) -> str:
    """The whole page as text."""
    name = _mark(str(manifest.get("name", "?")))
    views = settings(tables, manifest)
    what = headline(tables, manifest, _mark)
    parts = [f"<header><h1>{name}</h1><p>{what}</p></header>", "<main>"]
    for number_of_setting, setting in enumerate(views[:SETTINGS]):
        parts += _setting(setting, tables, manifest, f"s{number_of_setting}")
    if len(views) > SETTINGS:
        parts.append(f"<p>{len(views) - SETTINGS} more settings are in index.parquet.</p>")
    parts += [*_remarks(tables, manifest), *_run(manifest), "</main>"]
    title = escape(neutral(manifest.get("name", "?")))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f"<title>{title} · ecjax</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + f"\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def _mark(name: str) -> str:
    """A name as HTML: escaped, and with a writing direction of its own."""
    return f"<bdi>{escape(neutral(name))}</bdi>"


def _setting(setting: Setting, tables: Tables, manifest: Mapping[str, Any], key: str) -> list[str]:
    parts = ["<section>"]
    if setting.values:
        parts.append(f"<h2>{setting_name(setting, _mark)}</h2>")
    items = [f"<li>{_mark(t.name)}: {finding(t, _mark)}</li>" for t in setting.tasks]
    parts += ["<ul>", *items, "</ul>", *_matrix(setting, manifest), "</section>"]
    for number_of_task, task in enumerate(setting.tasks):
        parts += _task(task, setting, tables, f"{key}t{number_of_task}")
    return parts


def _matrix(setting: Setting, manifest: Mapping[str, Any]) -> list[str]:
    """The index, sets × tasks, with the best single of each task above."""
    tasks = setting.tasks
    cells = [{cell.subset: cell for cell in task.cells} for task in tasks]
    rows = [
        [("best single", None), *((_mark(t.single) if t.single else "-", None) for t in tasks)],
        [
            ("its score", None),
            *((f"{number(t.single_score)} {_mark(t.metric_name)}", None) for t in tasks),
        ],
    ]
    subsets = setting.subsets
    for subset in subsets[:ROWS]:
        row = [_name(subset)]
        for column in cells:
            cell = column.get(subset)
            text = "" if cell is None else index_text(cell, setting.has_truth).rstrip()
            row.append((f"<b>{text}</b>" if cell and cell.significant else text, None))
        rows.append(row)
    head = ["index", *(_mark(task.name) for task in tasks)]
    return [*_table(head, rows, sortable=False), *_more(len(subsets), "index.parquet"),
            f"<p class=note>{escape(legend(setting.has_truth, manifest))}</p>"]  # fmt: skip


def _task(task: TaskView, setting: Setting, tables: Tables, key: str) -> list[str]:
    where = f", {setting_name(setting, _mark)}" if setting.values else ""
    parts = ["<section>", f"<h2>{_mark(task.name)}{where}</h2>"]
    picture = index_picture(task, setting.has_truth, key)
    if picture:
        truth = " The diamond is the true index." if setting.has_truth else ""
        few = f" The {SETS} largest of {len(task.cells):,}." if len(task.cells) > SETS else ""
        caption = (
            "Index of each fused set. Blue: fusing helps; orange: it hurts; solid, with a star: "
            f"adjusted p &lt; 0.05; pale: not significant.{truth}{few}"
        )
        parts.append(f"<figure>\n{picture}\n<figcaption>{caption}</figcaption></figure>")
    elif task.cells:
        reasons = dict.fromkeys(cell.reason or "no reason given" for cell in task.cells)
        parts.append(f"<p>No index is defined: {', '.join(_mark(r) for r in reasons)}.</p>")
    enough = smallest(task, _mark)
    if enough:
        words = "The smallest set that does about as well as the best, by mean over folds"
        parts.append(f"<p>{words}: {enough}.</p>")
    return [*parts, *_scores(task, setting, tables), "</section>"]


def _scores(task: TaskView, setting: Setting, tables: Tables) -> list[str]:
    """Every set of one task, best first: its scores, its index, the test."""
    scores = at_setting(tables["scores"], setting.values)
    scores = scores[scores["task"] == task.name]
    index = at_setting(tables["index"], setting.values)
    index = index[(index["task"] == task.name) & index["target"].isna()]
    index = index[index["metric"] == task.metric].set_index("subset")
    primary = scores[scores["metric"] == task.metric]
    primary = primary.sort_values("score", ascending=False, kind="stable")
    others = [metric for metric in dict.fromkeys(scores["metric"]) if metric != task.metric]
    by_metric = {m: scores[scores["metric"] == m].set_index("subset")["score"] for m in others}
    bounds = [key for key in ("eci_low", "eci_high") if index[key].notna().any()]
    head = ["set", "models", "columns", _mark(task.metric_name), "sem", "pooled", *others,
            "eci", "eci_pooled", *bounds, "best single", "adjusted p"]  # fmt: skip
    head = [text.replace("_", "_<wbr>") for text in head]
    p = {cell.subset: cell.p for cell in task.cells}
    rows = []
    for row in primary.head(ROWS).itertuples():
        values = [_number(row.n_models, 0), _number(row.dims, 0)]
        values += [_number(value, 4) for value in (row.score, row.sem, row.pooled)]
        values += [_number(by_metric[m].get(row.subset), 4) for m in others]
        rows.append([_name(row.subset), *values, *_index_cells(index, row.subset, bounds, p)])
    return [*_table(head, rows, sortable=True), *_more(len(primary), "scores.parquet")]


def _index_cells(
    index: pd.DataFrame, subset: str, bounds: Sequence[str], p: Mapping[str, float]
) -> list[tuple[str, Any]]:
    if subset not in index.index:
        return [("", None)] * (4 + len(bounds))
    row = index.loc[subset]
    numbers = [_number(row[key], 4, True) for key in ("eci", "eci_pooled", *bounds)]
    single = ("-", "") if pd.isna(row["best_single"]) else _name(row["best_single"])
    return [*numbers, single, _p_value(p[subset])]


def _p_value(p: float | None) -> tuple[str, Any]:
    text, value = _number(p, 4)
    return ("&lt; 0.0001" if value is not None and value < 0.0001 else text), value


def _number(value: float | None, digits: int, signed: bool = False) -> tuple[str, Any]:
    missing = value is None or pd.isna(value)
    return number(value, digits, signed), None if missing else float(value)


def _name(subset: str) -> tuple[str, str]:
    return set_name(subset, _mark).replace("</bdi>+", "</bdi>+<wbr>"), subset


def _table(
    head: Sequence[str], rows: Sequence[Sequence[tuple[str, Any]]], sortable: bool
) -> list[str]:
    """A table of (HTML, value to sort by) cells; the first column names the row."""
    tag = ('<button type="button">', "</button>") if sortable else ("", "")
    heads = "".join(f'<th scope="col">{tag[0]}{text}{tag[1]}</th>' for text in head)
    lines = [
        f'<div class="wide"><table{" class=sortable" if sortable else ""}>',
        f"<thead><tr>{heads}</tr></thead>",
        "<tbody>",
    ]
    for (name, value), *cells in rows:
        line = f'<tr><th scope="row"{_sort_value(value)}>{name}</th>'
        lines.append(line + "".join(f"<td{_sort_value(v)}>{t}</td>" for t, v in cells) + "</tr>")
    return [*lines, "</tbody>", "</table></div>"]


def _sort_value(value: Any) -> str:
    return "" if value is None else f' data-v="{escape(neutral(value))}"'


def _more(count: int, file: str) -> list[str]:
    return [f"<p>{count - ROWS:,} more are in {file}.</p>"] if count > ROWS else []


def _remarks(tables: Tables, manifest: Mapping[str, Any]) -> list[str]:
    found = remarks(tables, manifest, _mark)
    items = [f"<li>{where}: {what}</li>" for where, what in found[:ROWS]]
    about = [interval_text(manifest, _mark), question_text(manifest, _mark)]
    items = [f"<li>{text}</li>" for text in about if text] + items
    if not items:
        return []
    return ["<section>", "<h2>To know</h2>", "<ul>", *items, "</ul>",
            *_more(len(found), store.MANIFEST), "</section>"]  # fmt: skip


def _run(manifest: Mapping[str, Any]) -> list[str]:
    """Versions, arguments and timings."""
    parts = ["<section>", "<h2>The run</h2>"]
    for title, key in (("version of", "versions"), ("argument", "arguments"), ("time", "timings")):
        values = manifest.get(key) or {}
        rows = [
            [(_mark(str(name)), None), (_mark(_setting_text(value)), None)]
            for name, value in values.items()
            if name not in PRIVATE
        ]
        if rows:
            parts += _table([title, ""], rows, sortable=False)
    return [*parts, "<p class=note>Written by ecjax.</p>", "</section>"]


def _setting_text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
