"""Where fusing helps, on the HTML page: the index by cells of the map and by strata."""

from __future__ import annotations

import math

import pandas as pd

from ecjax.digest import SIGNIFICANCE
from ecjax.page_scores import SHORT, Place, without_empty
from ecjax.page_tables import (
    Column,
    count,
    largest_first,
    mark,
    p_text,
    safe,
    set_html,
    table,
    text_of,
    with_interval,
)
from ecjax.rounding import number
from ecjax.scores import PRIMARY


def best_set(place: Place, rows: pd.DataFrame) -> str:
    """Of the fused sets that a table has, that with the best index on the whole task; or ""."""
    there = set(rows["subset"])
    known = [c for c in place.task.cells if c.subset in there and not math.isnan(c.value)]
    if known:
        return max(known, key=lambda cell: cell.value).subset
    return next((name for name in rows["subset"] if "+" in name), "")


def cells_table(place: Place, subset: str) -> str:
    """The cells of the map, of one set: the best first, those without an interval last."""
    rows = place.rows("maps")
    rows = rows[rows["subset"] == subset] if len(rows) else rows
    if not len(rows):
        return ""
    part = "region" if rows["lat_min"].isna().all() else "cell"
    columns = [Column(part, "name"), Column("latitude"), Column("longitude"), Column("rows"),
               Column("index"), Column("adjusted p, helps"), Column("adjusted p, hurts"),
               Column("reason", "text")]  # fmt: skip
    cells = [
        [str(row.cell), number(row.lat, 1), number(row.lon, 1), count(row.n_rows),
         with_interval(row.eci_pooled, row.eci_low, row.eci_high), p_text(row.p_adjusted),
         p_text(row.p_worse_adjusted), text_of(row.reason)]
        for row in largest_first(rows.assign(sure=rows["eci_low"].notna()), ["sure", "eci_pooled"])
        .itertuples()
    ]  # fmt: skip
    side = (place.manifest.get("tasks") or {}).get(place.task.name, {}).get("map_km")
    size = f" of equal area, about {side:,.0f} km wide and high" if side else ""
    caption = (
        f"The index{_by(rows)} of {set_html(subset)} by {part}{size}, with interval, from losses "
        "summed there; "
        "p values are adjusted over the cells."
    )
    columns, cells = without_empty(columns, cells)
    return table(
        f"{place.key}-maps", caption, columns, cells, label=place.label("cells of the map"),
        file="maps.csv", first=SHORT,
    )  # fmt: skip


def _by(rows: pd.DataFrame) -> str:
    """ " by log_loss", where an index is not of the task's own metric."""
    metric = rows["metric"].iloc[0]
    return "" if metric in PRIMARY.values() else f" by {safe(metric)}"


def separation_table(place: Place) -> str:
    """What divides the rows, by how much the index differs between its strata."""
    rows = place.rows("separation")
    if not len(rows):
        return ""
    columns = [Column("rows by", "name"), Column("set", "set"), Column("spread"),
               Column("highest in", "name"), Column("index"), Column("lowest in", "name"),
               Column("index "), Column("strata"), Column("adjusted p"),
               Column("reason", "text")]  # fmt: skip
    cells = [
        [str(row.by), row.subset, number(row.spread), text_of(row.most_stratum) or "-",
         number(row.eci_most, signed=True), text_of(row.least_stratum) or "-",
         number(row.eci_least, signed=True), count(row.n_strata), p_text(row.p_adjusted),
         text_of(row.reason)]
        for row in largest_first(rows, "spread").itertuples()
    ]  # fmt: skip
    caption = (
        "What separates most: the standard deviation of the index between strata beyond what "
        "chance makes, and the test that all strata are alike (Cochran’s Q)."
    )
    columns, cells = without_empty(columns, cells)
    return table(
        f"{place.key}-separation", caption, columns, cells,
        label=place.label("what separates most"), file="separation.csv", first=SHORT,
    )  # fmt: skip


def difference(place: Place, subset: str) -> str:
    """Between which strata the index of a set surely differs most, in a sentence of HTML; or ""."""
    rows = place.rows("separation")
    if not len(rows):
        return ""
    rows = rows[(rows["subset"] == subset) & (rows["p_adjusted"] < SIGNIFICANCE)]
    if not len(rows):
        return ""
    row = largest_first(rows, "spread").iloc[0]
    ends = (
        f"{number(row[f'eci_{end}'], signed=True)} in {mark(row[f'{end}_stratum'])}"
        for end in ("most", "least")
    )
    return (
        f"The index of {set_html(subset)} differs by {mark(row['by'])}: {', '.join(ends)} "
        f"(adjusted p {safe(p_text(row['p_adjusted']))})."
    )


def strongest(place: Place, subset: str) -> str:
    """What divides the rows most for a set; "" where nothing does."""
    rows = place.rows("separation")
    rows = rows[rows["subset"] == subset] if len(rows) else rows
    if len(rows):
        return str(largest_first(rows, "spread").iloc[0]["by"])
    rows = place.rows("strata")
    return str(rows["by"].iloc[0]) if len(rows) else ""


def strata_table(place: Place, subset: str) -> str:
    """Every stratum in its order: the score and index of one set."""
    rows = place.rows("strata")
    rows = rows[rows["subset"] == subset] if len(rows) else rows
    if not len(rows):
        return ""
    columns = [Column("stratum", "name"), Column("rows by", "name"), Column("rows"),
               Column("score within"), Column("index"), Column("adjusted p, helps"),
               Column("adjusted p, hurts"), Column("reason", "text")]  # fmt: skip
    cells = [
        [str(row.stratum), str(row.by), count(row.n_rows), number(row.score),
         with_interval(row.eci_pooled, row.eci_low, row.eci_high), p_text(row.p_adjusted),
         p_text(row.p_worse_adjusted), text_of(row.reason)]
        for row in rows.itertuples()
    ]  # fmt: skip
    caption = f"Score and index of {set_html(subset)} within strata, with interval."
    columns, cells = without_empty(columns, cells)
    return table(
        f"{place.key}-strata", caption, columns, cells, label=place.label("strata"),
        file="strata.csv", first=SHORT,
    )  # fmt: skip
