"""The HTML page of a run: one file without network, fonts or libraries, from the tables alone."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ecjax import page_beside, page_figures, page_methods, page_scores, page_where, store
from ecjax.digest import (
    Setting,
    Tables,
    finding,
    headline,
    interval_text,
    question_text,
    setting_name,
    settings,
    smallest,
)
from ecjax.errors import counted
from ecjax.page_downloads import downloads
from ecjax.page_index import heat_map
from ecjax.page_scores import Place
from ecjax.page_script import SCRIPT
from ecjax.page_style import STYLE
from ecjax.page_tables import Column, framed, mark, safe, table
from ecjax.picture import SETS, index_picture
from ecjax.places import place_of
from ecjax.remarks import remarks
from ecjax.remote import RemotePath
from ecjax.report_files import replace_page

READ = (
    "scores", "folds", "index", "targets", "gains", "shapley", "maps", "strata", "separation",
    "commonality",
)  # fmt: skip
REMARKS = 1000
SETTINGS = 24
FIGURES = 20  # tasks of all settings whose figures are drawn
PRIVATE = ("out", "study")  # arguments that hold paths
HASH = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{HASH}'"


def write_page(
    directory: str | os.PathLike, beside: Sequence[str | os.PathLike] = ()
) -> Path | RemotePath:
    """Writes `report.html` into a directory of results and returns its path.

    Args:
        directory: of `ecjax evaluate`, `overlap` or `scale`.
        beside: directories that `ecjax overlap` and `ecjax scale` wrote for the same study, which
            the page of an evaluation shows too.

    Raises:
        InputError: a directory holds no whole results, or other ones than it should.
        WriteError: the page cannot be written.
    """
    directory, beside = place_of(directory), [place_of(other) for other in beside]
    tables, manifest = store.read_results(directory, (*READ, *page_beside.ALL))
    files = store.read_csv(directory, manifest)
    if beside:
        page_beside.check_evaluation(directory, manifest)
        more, more_files = page_beside.read_beside(beside, manifest)
        tables, files = tables | more, files | more_files
    return replace_page(directory, render(tables, manifest, files))


def render(
    tables: Tables, manifest: Mapping[str, Any], files: Mapping[str, bytes | None] | None = None
) -> str:
    """The whole page as text.

    Args:
        tables: name → frame; a section whose table is missing is left out.
        manifest: of the run.
        files: file name → bytes of the CSV files that can be saved from the page; None where one
            is too large for it.
    """
    if page_beside.command_of(manifest) in page_beside.TABLES:
        head, parts = _alone(tables, manifest)
    else:
        head, parts = _evaluation(tables, manifest)
    parts += [*downloads(files or {}), *_run(manifest)]
    return _whole(str(manifest.get("name", "?")), head, parts)


def _whole(name: str, head: str, parts: Sequence[str]) -> str:
    contents = [
        f'<li><a href="#{key}">{title}</a></li>' for key, title in _contents("\n".join(parts))
    ]
    nav = f'<nav aria-label="contents"><ul>{"".join(contents)}</ul></nav>'
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f"<title>{safe(name)} · ecjax</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        '<a class="skip" href="#main">to the findings</a>\n'
        f"<header><h1>{mark(name)}</h1>{head}</header>\n{nav}\n"
        '<main id="main">\n'
        + "\n".join(parts)
        + "\n</main>\n<footer><p class=note>Written by ecjax.</p></footer>"
        + f"\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def _contents(text: str) -> list[tuple[str, str]]:
    """(id, heading as HTML) of every section."""
    starts = text.split('<section id="')[1:]
    return [
        (start.split('"', 1)[0], start.split("<h2>", 1)[1].split("</h2>", 1)[0]) for start in starts
    ]


def _evaluation(tables: Tables, manifest: Mapping[str, Any]) -> tuple[str, list[str]]:
    views = settings(tables, manifest)
    about = [interval_text(manifest, mark), question_text(manifest, mark)]
    head = f"<p>{headline(tables, manifest, mark)}</p>"
    head += "".join(f"<p>{text}</p>" for text in about if text)
    parts: list[str] = []
    shown = views[:SETTINGS]
    for i, setting in enumerate(shown):
        parts += _setting(setting, manifest, f"s{i}")
    if len(views) > SETTINGS:
        parts.append(f"<p>{len(views) - SETTINGS} more settings are in index.parquet.</p>")
    if not page_figures.ready():
        parts.append(f'<p class="note">{page_figures.LACKING}</p>')
    drawn = sum(len(setting.tasks) for setting in shown)
    if page_figures.ready() and drawn > FIGURES:
        parts.append(f'<p class="note">Figures are drawn of the first {FIGURES} of {drawn}.</p>')
    left = FIGURES
    for i, setting in enumerate(shown):
        for j, task in enumerate(setting.tasks):
            own = _of_task(tables, task.name)
            parts += _task(Place(task, setting, own, manifest, f"s{i}t{j}"), left > 0)
            left -= 1
    parts += _beside(tables, manifest)
    parts += _remarks(tables, manifest)
    return head, parts + page_methods.section(manifest, page_methods.methods(manifest))


def _of_task(tables: Tables, task: str) -> dict[str, pd.DataFrame]:
    """The rows of one task: looked through many times, they should not be those of all tasks."""
    names = [name for name in READ if name in tables and name != "folds"]
    return {name: tables[name][tables[name]["task"] == task] for name in names}


def _alone(tables: Tables, manifest: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Of a directory of overlap or scale."""
    command = page_beside.command_of(manifest)
    first = tables[page_beside.TABLES[command][0]]
    models = manifest.get("embeddings") or {}
    told = [counted(len(models), "embedding")] if models else []
    told += [f"{counted(len(first), 'row')} in {command}.csv", mark(manifest.get("created", ""))]
    parts = [*_beside(tables, manifest), *_remarks(tables, manifest)]
    return f"<p>ecjax {command} · {' · '.join(told)}</p>", [
        *parts, *page_methods.section(manifest, ""),
    ]  # fmt: skip


def _beside(tables: Tables, manifest: Mapping[str, Any]) -> list[str]:
    figures = page_figures.beside_figures(tables, manifest)
    overlap = page_beside.overlap_section(tables)
    return overlap + page_beside.scale_section(tables, figures.get("scale", ()))


def _setting(setting: Setting, manifest: Mapping[str, Any], key: str) -> list[str]:
    """Findings in words, and the heat map."""
    name = f": {setting_name(setting, mark)}" if setting.values else ""
    items = [f"<dt>{mark(t.name)}</dt><dd>{finding(t, mark)}.</dd>" for t in setting.tasks]
    return [
        f'<section id="{key}-found">', f"<h2>Main findings{name}</h2>",
        f'<dl class="findings">{"".join(items)}</dl>', "</section>",
        f'<section id="{key}-heat">', f"<h2>The index, sets by tasks{name}</h2>",
        *heat_map(setting, manifest, key), "</section>",
    ]  # fmt: skip


def _task(place: Place, with_figures: bool) -> list[str]:
    task, setting = place.task, place.setting
    where = f", {setting_name(setting, mark)}" if setting.values else ""
    parts = [f'<section id="{place.key}">', f"<h2>{mark(task.name)}{where}</h2>"]
    parts += [f"<p>{finding(task, mark)}.</p>", *_bars(place)]
    enough = smallest(task, mark)
    if enough:
        words = "The smallest set that does about as well as the best, by mean over folds"
        parts.append(f"<p>{words}: {enough}.</p>")
    subset, stratified = (page_figures.best_of(place, name) for name in ("maps", "strata"))
    apart = page_where.difference(place, stratified)
    parts += [f"<p>{apart}</p>"] if apart else []
    figures = page_figures
    sections = [
        ("Scores of sets", figures.scores_figure, page_scores.scores_table),
        ("What each part adds", figures.gains_figure, page_scores.gains_table),
        ("What each model is worth", figures.shapley_figure, page_scores.shapley_table),
        ("Why pairs help", figures.commonality_figure, page_scores.commonality_table),
        ("Where fusing helps", lambda p: figures.map_figure(p, subset),
         lambda p: page_where.cells_table(p, subset)),
        ("What separates", lambda p: figures.strata_figure(p, stratified),
         lambda p: page_where.separation_table(p) + page_where.strata_table(p, stratified)),
    ]  # fmt: skip
    for title, figure, rows in sections:
        found = [figure(place) if with_figures else "", rows(place)]
        if any(found):
            parts += [f"<h3>{title}</h3>", *filter(None, found)]
    return [*parts, "</section>"]


def _bars(place: Place) -> list[str]:
    """The index of each set as bars."""
    task, has_truth = place.task, place.setting.has_truth
    picture = index_picture(task, has_truth, place.key)
    if picture:
        truth = " The diamond is the true index." if has_truth else ""
        few = f" The {SETS} largest of {len(task.cells):,}." if len(task.cells) > SETS else ""
        caption = (
            "Index of each fused set. Blue: fusing helps; orange: it hurts; lines: intervals; "
            "pale: the interval holds 0. Star: adjusted p &lt; 0.05 that fusing helps, one-sided."
            f"{truth}{few}"
        )
        return [framed(picture, place.label("index of sets"), caption)]
    if task.cells:
        reasons = dict.fromkeys(cell.reason or "no reason given" for cell in task.cells)
        return [f"<p>No index is defined: {', '.join(mark(r) for r in reasons)}.</p>"]
    return []


def _remarks(tables: Tables, manifest: Mapping[str, Any]) -> list[str]:
    found = remarks(tables, manifest, mark) if "index" in tables else []
    items = [f"<li>{where}: {what}</li>" for where, what in found[:REMARKS]]
    items += [f"<li>{text}</li>" for text in page_beside.reasons(tables)]
    if not items:
        return []
    beyond = len(found) - REMARKS
    more = [f"<p>{beyond:,} more are in {store.MANIFEST}.</p>"] if beyond > 0 else []
    return ['<section id="warnings">', "<h2>To know</h2>", f"<ul>{''.join(items)}</ul>", *more,
            "</section>"]  # fmt: skip


def _run(manifest: Mapping[str, Any]) -> list[str]:
    """Versions, arguments and timings."""
    parts = ['<section id="run">', "<h2>The run</h2>"]
    for title, key in (("version of", "versions"), ("argument", "arguments"), ("time", "timings")):
        values = manifest.get(key) or {}
        rows = [[n, _setting_text(value)] for n, value in values.items() if n not in PRIVATE]
        columns = [Column(title, "text"), Column("value", "text")]
        parts.append(table(f"run-{key}", key, columns, rows, label=key, tools=False))
    return [*filter(None, parts), "</section>"]


def _setting_text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
