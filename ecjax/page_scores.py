"""All sets of one task on the HTML page: scores, gains over parts, shares of models, pairs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ecjax.digest import Setting, Tables, TaskView, at_setting, single_text
from ecjax.page_tables import (
    Cell,
    Column,
    Row,
    count,
    interval,
    largest_first,
    p_text,
    safe,
    table,
    text_of,
    with_interval,
)
from ecjax.rounding import digits_of, measured, number

PARTS = ("unique_a", "unique_b", "shared", "synergy")
GAINS = 500  # rows of the table of gains
SHORT = 10  # rows of a table that a figure stands above


@dataclasses.dataclass(frozen=True)
class Place:
    """Whose part of the page is written: a task under a setting; `key` starts its ids."""

    task: TaskView
    setting: Setting
    tables: Tables
    manifest: Mapping[str, Any]
    key: str

    def rows(self, name: str, metric: str | None = None) -> pd.DataFrame:
        """Of a table: the task's rows of all targets together; none where it is not there.

        metric: by default its primary one or, in a table that lacks it, the first; "": all.
        """
        frame = self.tables.get(name)
        if frame is None or not len(frame):
            return pd.DataFrame()
        frame = at_setting(frame, self.setting.values)
        frame = frame[frame["task"] == self.task.name]
        if "target" in frame.columns:
            frame = frame[frame["target"].isna()]
        if metric == "" or not len(frame):
            return frame
        there = list(dict.fromkeys(frame["metric"]))
        own = self.task.metric if self.task.metric in there else there[0]
        return frame[frame["metric"] == (metric or own)]

    def label(self, what: str) -> str:
        """Plain text that names a table to a screen reader."""
        values = "".join(f", {k} = {v}" for k, v in self.setting.values)
        return f"{what}, {self.task.name}{values}"


def scores_table(place: Place) -> str:
    """Every set, best first: its scores, its index, the test."""
    scores = place.rows("scores", "")
    primary = largest_first(scores[scores["metric"] == place.task.metric], "score")
    index = {row.subset: row for row in place.rows("index").itertuples()}
    others = [m for m in dict.fromkeys(scores["metric"]) if m != place.task.metric]
    by_metric = {
        metric: {row.subset: row for row in scores[scores["metric"] == metric].itertuples()}
        for metric in others
    }
    columns = [
        Column("set", "set"), Column("models"), Column("columns"), Column(place.task.metric_name),
        Column("sem"), Column("pooled"), *map(Column, others), Column("eci"), Column("eci_pooled"),
        Column("best single", "name"), Column("adjusted p"),
    ]  # fmt: skip
    p = {cell.subset: cell.p for cell in place.task.cells}
    rows = []
    for row in primary.itertuples():
        digits = digits_of(row.sem)
        own = [row.subset, count(row.n_models), count(row.dims), number(row.score, digits)]
        own += [number(row.sem, digits), _pooled(row)]
        own += [_other(by_metric[metric], row.subset) for metric in others]
        rows.append([*own, *_index_cells(index, row.subset, p)])
    caption = (
        "All sets, best first. sem: standard error over folds; pooled: over all rows, with its "
        "interval in small print; the index is of fused sets alone; the best single with the folds "
        "that chose it, where not all did."
    )
    return table(
        f"{place.key}-scores", caption, columns, rows, label=place.label("all sets"),
        file="scores.csv",
    )  # fmt: skip


def _pooled(row: Any) -> Cell:
    low, high = getattr(row, "score_low", None), getattr(row, "score_high", None)
    if low is None or pd.isna(low) or pd.isna(high):
        return Cell(number(row.pooled, digits_of(row.sem)))
    return with_interval(row.pooled, low, high, signed=False)


def _other(scores: Mapping[str, Any], subset: str) -> str:
    row = scores.get(subset)
    return "" if row is None else number(row.score, digits_of(row.sem))


def _index_cells(index: Mapping[str, Any], subset: str, p: Mapping[str, float]) -> list[str | Cell]:
    row = index.get(subset)
    if row is None:
        return [""] * 4
    eci = measured(row.eci, row.eci_low, row.eci_high, signed=True)[0]
    pooled = with_interval(row.eci_pooled, row.eci_low, row.eci_high)
    single = single_text(row.best_single, row.best_single_share, text_of) or "-"
    return [eci, pooled, single, p_text(p.get(subset))]


def gains_table(place: Place) -> str:
    """What a set gains over its parts, largest first."""
    rows = place.rows("gains")
    if not len(rows):
        return ""
    total, rows = len(rows), largest_first(rows, "eci_pooled").head(GAINS)
    columns = [Column("set", "set"), Column("over", "set"), Column("score difference"),
               Column("gain"), Column("reason", "text")]  # fmt: skip
    cells = [
        [row.subset, row.over, number(row.score_difference, signed=True),
         with_interval(row.eci_pooled, row.eci_low, row.eci_high), text_of(row.reason)]
        for row in rows.itertuples()
    ]  # fmt: skip
    caption = (
        "What each set gains over its single models and over the sets with one model less: the "
        "share of what the part leaves to a perfect score, from losses of all rows, with interval."
    )
    return _plain_table(place, "gains", caption, columns, cells, "gains.csv", SHORT, total)


def shapley_table(place: Place) -> str:
    """Each model's share, largest first."""
    rows = place.rows("shapley")
    if not len(rows):
        return ""
    columns = [Column("model", "text"), Column("share"), Column("reason", "text")]
    cells = [
        [row.model, with_interval(row.value, row.low, row.high, signed=True), text_of(row.reason)]
        for row in largest_first(rows, "value").itertuples()
    ]
    caption = (
        f"Shapley shares: how {safe(place.task.metric_name)} of the full set is shared out among "
        "the models, with interval."
    )
    return _plain_table(place, "shapley", caption, columns, cells, "shapley.csv")


def commonality_table(place: Place) -> str:
    """Pairs: what of their score is unique to either, shared, or there only together."""
    rows = place.rows("commonality")
    if not len(rows):
        return ""
    columns = [Column("first model", "name"), Column("second model", "name"),
               Column("unique to first"), Column("unique to second"), Column("shared"),
               Column("synergy"), Column("reason", "text")]  # fmt: skip
    cells = []
    for (a, b), own in rows.groupby(["model_a", "model_b"], sort=False):
        by_part = own.drop_duplicates("part").set_index("part")
        reason = next((text_of(r) for r in own["reason"] if text_of(r)), "")
        cells.append([a, b, *(_part(by_part, part) for part in PARTS), reason])
    caption = (
        f"How the {safe(rows['metric'].iloc[0])} of each pair comes about, with interval, and in "
        "brackets the share of what fusing reaches beyond the intercept. Shared: either model "
        "would bring it; synergy: it is there only with both; below 0, they are in each other’s "
        "way."
    )
    return _plain_table(place, "commonality", caption, columns, cells, "commonality.csv")


def _part(parts: pd.DataFrame, part: str) -> Cell:
    if part not in parts.index:
        return Cell("-")
    row = parts.loc[part]
    share = "" if pd.isna(row["share"]) else f" ({100 * row['share']:.0f} %)"
    value = measured(row["value"], row["low"], row["high"], signed=True)[0]
    return Cell(value + share, interval(row["low"], row["high"], row["value"]))


def without_empty(columns: Sequence[Column], rows: Sequence[Row]) -> tuple[list, list]:
    """Columns and rows less those columns of words in which nothing stands, such as reasons."""
    keep = [
        i for i, column in enumerate(columns) if column.kind != "text" or any(r[i] for r in rows)
    ]
    return [columns[i] for i in keep], [[row[i] for i in keep] for row in rows]


def _plain_table(
    place: Place, name: str, caption: str, columns: list, rows: list, file: str, first: int = 50,
    total: int | None = None,
) -> str:  # fmt: skip
    columns, rows = without_empty(columns, rows)
    return table(
        f"{place.key}-{name}", caption, columns, rows, label=place.label(name), file=file,
        first=first, total=total,
    )  # fmt: skip
