"""Overlap of embeddings and scale of targets on the HTML page, on their own or beside a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ecjax import store
from ecjax.digest import Tables
from ecjax.errors import InputError, counted, listing
from ecjax.page_scores import without_empty
from ecjax.page_tables import (
    Cell,
    Column,
    count,
    interval,
    largest_first,
    mark,
    p_text,
    safe,
    set_html,
    table,
    text_of,
    with_interval,
)
from ecjax.places import Directory
from ecjax.rounding import measured, number

MEASURES = {  # which have a matrix, and what it shows
    "cka_debiased": "CKA, debiased",
    "cca_centred": "CCA, centred: mean squared correlation",
    "r2": "R² of a row’s embedding predicted from a column’s",
}
TABLES = {
    "overlap": ("overlap", "overlap_correlation"),
    "scale": ("scale", "scale_curve", "scale_correlation"),
}
ALL = (*TABLES["overlap"], *TABLES["scale"])
DARKEST = 5  # of the colours of overlaps


def command_of(manifest: Mapping[str, Any]) -> str:
    """Which command wrote a directory."""
    return str((manifest.get("study") or {}).get("command", "evaluate"))


def check_evaluation(directory: Directory, manifest: Mapping[str, Any]) -> None:
    """Refuses other directories beside one that is no evaluation's. Raises InputError."""
    if command_of(manifest) in TABLES:
        raise InputError(
            f"{directory}: holds the results of `ecjax {command_of(manifest)}`; --with is for the "
            "page of `ecjax evaluate`."
        )


def read_beside(
    directories: Sequence[Directory], manifest: Mapping[str, Any]
) -> tuple[dict[str, pd.DataFrame], dict[str, bytes | None]]:
    """Tables and CSV files of `ecjax overlap` and `ecjax scale`, for the page of an evaluation.

    Raises:
        InputError: a directory is of another command, of tasks which the evaluation lacks or of
            other data, or two are of one command.
    """
    tables: dict[str, pd.DataFrame] = {}
    files: dict[str, bytes | None] = {}
    for directory in directories:
        found, other = store.read_results(directory)
        command = command_of(other)
        if command not in TABLES:
            raise InputError(
                f"{directory}: holds the results of `ecjax {command}`; --with takes directories "
                "that `ecjax overlap` and `ecjax scale` wrote."
            )
        if set(found) & set(tables):
            raise InputError(f"{directory}: is the second of `ecjax {command}`; give one of each.")
        _check_tasks(directory, found, manifest)
        _check_data(directory, other, manifest)
        tables |= {name: found[name] for name in TABLES[command] if name in found}
        files |= store.read_csv(directory, other)
    return tables, files


def _check_tasks(directory: Directory, found: Tables, manifest: Mapping[str, Any]) -> None:
    known = list(manifest.get("tasks") or {})
    names = {part for name in known for part in name.split("+")}  # samples join tasks by +
    column = "sample" if "overlap" in found else "task"
    own = dict.fromkeys(found["overlap" if column == "sample" else "scale"][column])
    strange = [name for name in own if name not in known and set(name.split("+")) - names]
    if strange:
        raise InputError(
            f"{directory}: is about tasks which these results lack: {listing(strange)}. Give "
            "directories of the same study."
        )


def _check_data(
    directory: Directory, other: Mapping[str, Any], manifest: Mapping[str, Any]
) -> None:
    """Refuses what was measured on other vectors (overlap) or targets (scale)."""
    tasks = manifest.get("tasks") or {}
    if command_of(other) == "overlap":
        rows = (other.get("study") or {}).get("rows") or {}
        key, what = "vectors_hash", "ids or vectors"
        own = {task: found for sample, found in rows.items() for task in sample.split("+")}
    else:
        key, what, own = "targets_hash", "ids or targets", other.get("targets_hash") or {}
    strange = [name for name, found in own.items() if tasks.get(name, {}).get(key, found) != found]
    if strange:
        raise InputError(
            f"{directory}: is of other {what} than these results, of {listing(strange)}. Give "
            "directories of the same study, or run the command again."
        )


def overlap_section(tables: Tables, figures: Sequence[str] = ()) -> list[str]:
    """Matrices of each sample, and all measures as a table; [] where there are none."""
    frame = tables.get("overlap")
    if frame is None or not len(frame):
        return []
    parts = ['<section id="overlap">', "<h2>Overlap of embeddings, without a task</h2>",
             "<p>1: the one tells all of the other; 0: nothing; below 0 by chance alone.</p>",
             *figures]  # fmt: skip
    for i, (sample, rows) in enumerate(frame.groupby("sample", sort=False)):
        many = counted(int(rows["n_rows"].iloc[0]), "row")
        parts.append(f"<h3>Rows of {set_html(sample)} ({many})</h3>")
        models = list(dict.fromkeys(rows["model_a"]))
        for measure, words in MEASURES.items():
            parts.append(_matrix(f"o{i}-{measure}", sample, rows, measure, words, models))
    return [*filter(None, parts), _overlap_table(frame), *_relation(tables), "</section>"]


def _matrix(
    key: str, sample: str, rows: pd.DataFrame, measure: str, words: str, models: list
) -> str:
    found = {}
    own = rows[rows["measure"] == measure]
    for row in own.itertuples():
        found[row.model_a, row.model_b] = row
        if measure != "r2":
            found[row.model_b, row.model_a] = row
    if not found:
        return ""
    columns = [Column("", "text"), *map(Column, models)]
    cells = [[a, *(_overlap_cell(found.get((a, b)), a == b) for b in models)] for a in models]
    return table(
        key, safe(words), columns, cells, label=f"{words}, {sample}", tools=False, style="heat"
    )


def _overlap_cell(row: Any, own: bool) -> Cell:
    if row is None:
        return Cell("" if own else "-")
    if pd.isna(row.value):
        return Cell("-", text_of(row.reason))
    level = min(int(max(row.value, 0.0) * DARKEST) + 1, DARKEST)
    text = measured(row.value, row.low, row.high)[0]
    return Cell(text, interval(row.low, row.high, row.value, signed=False), f"g{level}")


def _overlap_table(frame: pd.DataFrame) -> str:
    columns = [Column("sample", "set"), Column("first model", "name"),
               Column("second model", "name"), Column("measure", "name"), Column("value"),
               Column("rows"), Column("reason", "text")]  # fmt: skip
    cells = [
        [row.sample, row.model_a, text_of(row.model_b), row.measure,
         with_interval(row.value, row.low, row.high, signed=False), count(row.n_rows),
         text_of(row.reason)]
        for row in frame.itertuples()
    ]  # fmt: skip
    columns, cells = without_empty(columns, cells)
    caption = (
        "All measures of all pairs, with interval; for r2 the first is predicted from the second."
    )
    return table("all-overlap", caption, columns, cells, label="all measures of overlap",
                 file="overlap.csv", first=10)  # fmt: skip


def _relation(tables: Tables) -> list[str]:
    frame = tables.get("overlap_correlation")
    if frame is None or not len(frame):
        return []
    known = {"task", "target", "metric", "measure", "rho", "p_value", "p_adjusted", "n_pairs"}
    known |= {"n_models", "n_tasks", "reason"}
    swept = [key for key in frame.columns if key not in known]
    columns = [Column("task", "text"), Column("target", "name"), Column("measure", "name"),
               *(Column(key, "name") for key in swept), Column("rho"), Column("pairs"),
               Column("adjusted p"), Column("reason", "text")]  # fmt: skip
    cells = [
        [text_of(row["task"]) or "mean over tasks", text_of(row["target"]), row["measure"],
         *(text_of(row[key]) for key in swept), number(row["rho"], signed=True),
         count(row["n_pairs"]), p_text(row["p_adjusted"]), text_of(row["reason"])]
        for row in frame.to_dict("records")
    ]  # fmt: skip
    columns, cells = without_empty(columns, cells)
    caption = (
        "Spearman’s ρ, over pairs, of overlap with the index: below 0, who overlaps less gains "
        "more."
    )
    return ["<h3>Do pairs that overlap less gain more?</h3>",
            table("relation", caption, columns, cells, label="overlap and index",
                  file="overlap_correlation.csv", first=20)]  # fmt: skip


def scale_section(tables: Tables, figures: Sequence[str] = ()) -> list[str]:
    """Ranges of all targets, and what goes with them; [] where there are none."""
    frame = tables.get("scale")
    if frame is None or not len(frame):
        return []
    columns = [Column("task", "text"), Column("target", "name"), Column("estimator", "name"),
               Column("range in km"), Column("practical range in km"), Column("rows"),
               Column("reason", "text")]  # fmt: skip
    cells = [
        [row.task, row.target, row.estimator, _km(row.range_km), _km(row.practical_range_km),
         count(row.n_rows), text_of(row.reason)]
        for row in frame.itertuples()
    ]  # fmt: skip
    columns, cells = without_empty(columns, cells)
    caption = (
        "Range: where a difference has risen by 63 % of the way from near to far places; "
        "practical range: by 95 %."
    )
    ranges = table("ranges", caption, columns, cells, label="scale of targets", file="scale.csv")
    return ['<section id="scale">', "<h2>Over which distances targets change</h2>", *figures,
            ranges, *_scale_relation(tables), "</section>"]  # fmt: skip


def _km(value: float) -> str:
    return "-" if pd.isna(value) else f"{value:,.3g}" if value < 10 else f"{value:,.0f}"


def _scale_relation(tables: Tables) -> list[str]:
    frame = tables.get("scale_correlation")
    if frame is None or not len(frame):
        return []
    columns = [Column("set", "set"), Column("of the", "name"), Column("estimator", "name"),
               Column("rho"), Column("targets"), Column("adjusted p"),
               Column("reason", "text")]  # fmt: skip
    cells = [
        [row.subset, str(row.kind), str(row.estimator), number(row.rho, signed=True),
         count(row.n_targets), p_text(row.p_adjusted), text_of(row.reason)]
        for row in largest_first(frame, "rho").itertuples()
    ]  # fmt: skip
    columns, cells = without_empty(columns, cells)
    caption = "Spearman’s ρ, over targets, of the range with scores of singles and indices of sets."
    return ["<h3>Do scores and indices go with the scale?</h3>",
            table("scale-relation", caption, columns, cells, label="scale, scores and indices",
                  file="scale_correlation.csv", first=20)]  # fmt: skip


def reasons(tables: Tables) -> list[str]:
    """What is undefined there, and why, as HTML."""
    found = []
    for name in ("overlap", "scale", "scale_correlation", "overlap_correlation"):
        frame = tables.get(name)
        if frame is None or "reason" not in frame.columns:
            continue
        own = frame[frame["reason"].notna()]
        for reason, same in own.groupby("reason", sort=False):
            rows = counted(len(same), "row")
            found.append(f"{name}: {mark(reason)}, in {rows} of {len(frame):,}")
    return found
