"""The tables of a paper, before they are LaTeX or Markdown: sets down, tasks or targets across.

For each swept setting one table of scores and one of the index, and the same of the single targets
of each task that has several. All texts are plain: who writes them escapes them.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ecjax.digest import (
    SIGNIFICANCE,
    Setting,
    Tables,
    at_setting,
    headline,
    plain_name,
    set_name,
    setting_name,
    settings,
)
from ecjax.report import set_labels
from ecjax.rounding import digits_of, measured, number

SETS = 40  # fused ones in a table at most
COLUMNS = 9  # in a table at most, as many as the paper's land-cover classes
WIDTH, CELL = 140, 13  # letters in a line, which LaTeX shrinks to the page; and in a cell
FIRST_STRONG_ISOLATE, POP_ISOLATE = "\u2068", "\u2069"

BEATS_ALL = (
    "better than every member at p < {p} (p_better_adjusted: intersection-union test, adjusted by "
    "Benjamini and Hochberg over {family})"
)
BEATS_SINGLE = (
    "better than its best single at p < {p} (p_adjusted: one-sided Wilcoxon signed-rank test of "
    "the folds of the first seed, adjusted by Benjamini and Hochberg over {family})"
)
INDEX_IS = "the share of what a set's best single leaves to a perfect score that fusing closes"


@dataclass(frozen=True)
class Entry:
    """What stands for one set in one column; texts are "" where there is nothing to tell."""

    value: str
    error: str = ""  # standard error
    low: str = ""  # ends of the interval
    high: str = ""
    best: bool = False  # of the column
    significant: bool = False


@dataclass(frozen=True)
class Sheet:
    """One table.

    Attributes:
      title: what it is of, in a few words.
      caption: what the numbers are, sentences.
      columns: (name, metric) of each.
      rows: (label, an entry or None for each column) of each; singles first.
      singles: how many of the rows are singles.
      more: what is left out; "" where nothing is.
    """

    title: str
    caption: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, tuple[Entry | None, ...]], ...]
    singles: int
    more: str


@dataclass(frozen=True)
class _Column:
    """A task, or one target of it, on its primary metric."""

    task: str
    target: str | None
    metric: str
    head: tuple[str, str]


@dataclass(frozen=True)
class _Family:
    """Columns that share their rows of sets, and the run that they are of.

    Attributes:
      name: what stands in titles after "Scores" and "Index".
      tested: over what p-values are adjusted.
      labels: of the sets that are shown, singles first.
      more: how many fused sets are not shown.
    """

    name: str
    columns: tuple[_Column, ...]
    tested: str
    setting: Setting
    tables: Tables
    manifest: Mapping[str, Any]
    labels: Mapping[str, str]
    more: int

    @property
    def strict(self) -> bool:
        return self.manifest.get("protocol") == "strict"

    def rows(self, table: str, column: _Column) -> pd.DataFrame:
        """The rows of one column, by set."""
        return _rows_of(self.tables[table], column, self.setting)


def sheets(tables: Tables, manifest: Mapping[str, Any]) -> list[Sheet]:
    """All tables of a run, from `scores`, `index` and, where there is one, `targets`."""
    found = []
    for setting in settings(tables, manifest):
        for family in _families(setting, tables, manifest):
            for part in _parts(family):
                sheets_of_part = [_scores(family, part), _index(family, part)]
                found += [*sheets_of_part, *_pooled(family, part)]
    return [sheet for sheet in found if sheet.rows]


def about(tables: Tables, manifest: Mapping[str, Any]) -> tuple[str, str]:
    """The study's name, and what was run, in one line."""
    return label(str(manifest.get("name", "?"))), headline(tables, manifest, label)


def label(name: str) -> str:
    """A name in a table: printable, at most 30 characters, and with a direction of its own."""
    text = plain_name(name)
    if any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in text):
        return FIRST_STRONG_ISOLATE + text + POP_ISOLATE
    return text


def _families(setting: Setting, tables: Tables, manifest: Mapping[str, Any]) -> Iterator[_Family]:
    """All tasks together, then the single targets of each task that has several."""
    tasks = [task for task in setting.tasks if task.cells or task.single]

    def family(name: str, pairs: Sequence[tuple], heads: Sequence[str], tested: str) -> _Family:
        columns = tuple(
            _Column(task.name, target, task.metric, (head, task.metric_name))
            for (task, target), head in zip(pairs, _distinct(heads), strict=True)
        )
        shown = _shown(columns, setting, tables, manifest)
        return _Family(name, columns, tested, setting, tables, manifest, *shown)

    if tasks:
        pairs = [(task, None) for task in tasks]
        yield family("", pairs, [task.name for task in tasks], "sets × tasks")
    targets = at_setting(tables["targets"], setting.values) if "targets" in tables else None
    for task in tasks if targets is not None else ():
        own = targets[(targets["task"] == task.name) & (targets["metric"] == task.metric)]
        names = list(dict.fromkeys(own["target"]))
        if names:
            title = f", single targets of {label(task.name)}"
            pairs = [(task, name) for name in names]
            yield family(title, pairs, names, "sets × single targets of all tasks")


def _distinct(names: Sequence[str]) -> list[str]:
    """Labels, numbered where names are alike once they are cut."""
    labels = [label(name) for name in names]
    alike = {text for text in labels if labels.count(text) > 1}
    return [f"{text} ({i})" if text in alike else text for i, text in enumerate(labels, start=1)]


def _parts(family: _Family) -> list[Sequence[_Column]]:
    """The columns dealt evenly to as few tables as can hold them, by number and by width."""
    columns = family.columns
    left = max(map(len, family.labels.values()), default=0)
    for count in range(math.ceil(len(columns) / COLUMNS), len(columns) + 1):
        size = math.ceil(len(columns) / count)
        parts = [columns[i : i + size] for i in range(0, len(columns), size)]
        widths = [sum(max(len(of.head[0]), CELL) + 2 for of in part) for part in parts]
        if left + max(widths) <= WIDTH:
            break
    return parts


def _rows_of(frame: pd.DataFrame, column: _Column, setting: Setting) -> pd.DataFrame:
    frame = at_setting(frame, setting.values)
    frame = frame[(frame["task"] == column.task) & (frame["metric"] == column.metric)]
    if "target" in frame.columns:
        none = column.target is None
        frame = frame[frame["target"].isna() if none else frame["target"] == column.target]
    return frame.set_index("subset")


def _shown(
    columns: Sequence[_Column], setting: Setting, tables: Tables, manifest: Mapping[str, Any]
) -> tuple[dict[str, str], int]:
    """Set → label of the sets that are shown, in the study's order, and how many are not.

    Of more than `SETS` fused sets those with the best score or index of a column, then those with
    the best mean rank of their scores over the columns.
    """
    file = "scores" if columns[0].target is None else "targets"
    scores, index = (
        pd.DataFrame(
            {i: _rows_of(tables[name], of, setting)[value] for i, of in enumerate(columns)}
        )
        for name, value in ((file, "score"), ("index", "eci"))
    )
    embeddings = list(manifest.get("embeddings") or {})
    place = {name: i for i, name in enumerate(embeddings)}
    singles = [name for name in scores.index if "+" not in name]
    singles.sort(key=lambda name: place.get(name, len(place)))
    fused = [name for name in setting.subsets if name in scores.index]
    scores, index = scores.loc[fused], index.reindex(fused)
    leading = [(of[c] == of[c].max()).to_numpy() for of in (scores, index) for c in of.columns]
    ranks = scores.rank(ascending=False, na_option="bottom").mean(axis=1)
    ranks[np.any(leading, axis=0)] = 0
    best = set(ranks.sort_values(kind="stable").index[:SETS])
    kept = [*singles, *(name for name in fused if name in best)]
    return set_labels(kept, embeddings, label), len(fused) - len(best)


def _scores(family: _Family, columns: Sequence[_Column]) -> Sheet:
    """Mean scores over folds ± their standard errors."""
    file = "scores" if columns[0].target is None else "targets"
    entries = []
    for column in columns:
        rows = family.rows(file, column)
        best = rows["score"].max()
        own = {}
        for row in rows.itertuples():
            digits = digits_of(row.sem)
            error = "" if math.isnan(row.sem) else number(row.sem, digits)
            own[row.Index] = Entry(number(row.score, digits), error, best=row.score == best)
        entries.append(own)
    what = "Mean score over folds ± its standard error."
    return _sheet("Scores", what, family, columns, entries, f"{file}.csv")


def _index(family: _Family, columns: Sequence[_Column]) -> Sheet:
    """The index as the protocol has it: under `strict` of pooled losses, with their intervals."""
    if family.strict:
        return _pooled_sheet("Complementarity index", family, columns)
    entries = _index_entries(family, columns, "eci", "p_adjusted", with_ends=False)
    what = f"From mean scores over folds (eci): {INDEX_IS}. *: {BEATS_SINGLE}."
    return _sheet("Complementarity index", what, family, columns, entries, "index.csv")


def _pooled(family: _Family, columns: Sequence[_Column]) -> list[Sheet]:
    """Under `paper` the intervals are of another index than that which its test is of."""
    index = family.tables["index"]
    known = "p_better_adjusted" in index.columns and index["eci_low"].notna().any()
    if family.strict or not known:
        return []
    return [_pooled_sheet("Complementarity index of pooled losses", family, columns)]


def _pooled_sheet(title: str, family: _Family, columns: Sequence[_Column]) -> Sheet:
    entries = _index_entries(family, columns, "eci_pooled", "p_better_adjusted", with_ends=True)
    interval = _interval(entries, family.manifest)
    what = f"From pooled losses (eci_pooled): {INDEX_IS}{interval}. *: {BEATS_ALL}."
    return _sheet(title, what, family, columns, entries, "index.csv")


def _index_entries(
    family: _Family, columns: Sequence[_Column], value: str, p: str, with_ends: bool
) -> list[dict[str, Entry]]:
    found = []
    for column in columns:
        rows = family.rows("index", column)
        best = rows[value].max()
        own = {}
        for subset, row in zip(rows.index, rows.to_dict("records"), strict=True):
            ends = (row["eci_low"], row["eci_high"]) if with_ends else (math.nan, math.nan)
            text, *shown = measured(row[value], *ends, signed=True)
            low, high = ("", "") if any(map(math.isnan, ends)) else shown
            significant = bool(row[p] < SIGNIFICANCE)
            own[subset] = Entry(text, "", low, high, row[value] == best, significant)
        found.append(own)
    return found


def _interval(entries: Sequence[Mapping[str, Entry]], manifest: Mapping[str, Any]) -> str:
    """What stands in square brackets; "" where nothing does."""
    if not any(entry.low for column in entries for entry in column.values()):
        return ""
    given = manifest.get("arguments") or {}
    confidence, kind = given.get("confidence"), given.get("interval")
    level = f"its {100 * confidence:.4g} % interval" if confidence else "its interval"
    return f"; in square brackets {level}" + (f" (kind: {kind})" if kind else "")


def _sheet(
    title: str,
    what: str,
    family: _Family,
    columns: Sequence[_Column],
    entries: Sequence[Mapping[str, Entry]],
    file: str,
) -> Sheet:
    """Only sets that some column has an entry for are rows."""
    labels = {k: text for k, text in family.labels.items() if any(k in own for own in entries)}
    rows = [(text, tuple(own.get(name) for own in entries)) for name, text in labels.items()]
    values = family.setting.values
    where = f", {setting_name(family.setting, label)}" if values else ""
    what = what.replace("{p}", f"{SIGNIFICANCE}").replace("{family}", family.tested)
    sentences = [what, "Bold: the best of each column."]
    if any(entry is not None and entry.value == "-" for _, row in rows for entry in row):
        sentences.append(f"-: undefined, {file} tells why.")
    if any(text != set_name(subset, label) for subset, text in labels.items()):
        names = enumerate(family.manifest.get("embeddings") or {}, start=1)
        sentences.append(f"Embeddings: {', '.join(f'{i} = {label(name)}' for i, name in names)}.")
    return Sheet(
        title + family.name + where,
        " ".join(sentences),
        tuple(column.head for column in columns),
        tuple(rows),
        sum("+" not in name for name in labels),
        f"The best {SETS} sets, by mean rank of their scores; {family.more:,} more are in {file}."
        if family.more
        else "",
    )
