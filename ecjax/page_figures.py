"""Figures of the HTML page: drawn with matplotlib where it is installed, each told in words too."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

from ecjax.digest import Tables
from ecjax.errors import UsageError
from ecjax.page_scores import Place
from ecjax.page_tables import framed, largest_first, safe, set_html, text_of
from ecjax.page_where import best_set, strongest
from ecjax.rounding import measured, number

TOLD = 8  # rows of a figure that its description gives
XMLNS = ' xmlns="http://www.w3.org/2000/svg"'  # HTML knows it
LACKING = (
    "Maps and more figures are drawn where matplotlib is installed: "
    "<code>pip install 'ecjax[plot]'</code>, then run <code>ecjax report</code> again."
)


def ready() -> bool:
    """Whether matplotlib is there; it is not imported for that."""
    return importlib.util.find_spec("matplotlib") is not None


def figure(
    kind: str, key: str, title: str, words: str, caption: str, tables: Tables,
    manifest: Mapping[str, Any], *given: Any, **named: Any,
) -> str:  # fmt: skip
    """A figure of `ecjax.figures` by its name, inline; "" without matplotlib.

    Args:
      title, words: plain text; what it is, and what it shows, for who does not see it.
      caption: HTML.
      given, named: what the figure takes after `tables` and `manifest`.
    """
    if not ready():
        return ""
    from ecjax import figures

    try:
        axes = getattr(figures, kind)(tables, manifest, *given, **named)
    except UsageError:  # there is nothing to draw
        return ""
    svg = figures.inline_svg(axes, title, words, key).replace(XMLNS, "", 1)
    return framed(svg, title, caption)


def _of(place: Place, kind: str, what: str, words: str, caption: str, **named: Any) -> str:
    """A figure of one task."""
    return figure(
        kind, f"{place.key}-{kind}", f"{what} on {place.task.name}", words, caption, place.tables,
        place.manifest, place.task.name, setting=place.setting.values, **named,
    )  # fmt: skip


def scores_figure(place: Place) -> str:
    rows = largest_first(place.rows("scores"), "score")
    if not rows["score"].notna().any():
        return ""
    words = _told((row.subset, number(row.score)) for row in rows.itertuples())
    caption = (
        f"{safe(place.task.metric_name)} of the best sets, with interval (or standard error over "
        "folds); the dots below show which models each holds."
    )
    return _of(place, "scores", f"{place.task.metric} of sets", words, caption)


def gains_figure(place: Place) -> str:
    rows = place.rows("gains")
    if not len(rows) or not rows["eci_pooled"].notna().any():
        return ""
    told = (
        (f"{row.subset} over {row.over}", number(row.eci_pooled, signed=True))
        for row in largest_first(rows, "eci_pooled").itertuples()
    )
    caption = "What each model adds to the others of a set, with interval."
    return _of(place, "gains", "Gains over parts", _told(told), caption)


def shapley_figure(place: Place) -> str:
    rows = place.rows("shapley")
    if not len(rows) or not rows["value"].notna().any():
        return ""
    told = largest_first(rows, "value").itertuples()
    words = _told((row.model, measured(row.value, row.low, row.high, True)[0]) for row in told)
    caption = f"Each model’s share in the {safe(place.task.metric_name)} of the full set."
    return _of(place, "shapley", "Shapley shares", words, caption)


def commonality_figure(place: Place) -> str:
    rows = place.rows("commonality")
    if not len(rows) or not rows["value"].notna().any():
        return ""
    rows = rows[rows["part"] != "intercept"]
    words = _told(
        (f"{row.model_a} and {row.model_b}, {row.part.replace('_', ' ')}",
         number(row.value, signed=True))
        for row in rows.itertuples()
    )  # fmt: skip
    caption = "What each pair’s score is made of: unique to either model, shared, synergy."
    return _of(place, "commonality", "Parts of the scores of pairs", words, caption)


def map_figure(place: Place, subset: str) -> str:
    rows = place.rows("maps")
    rows = rows[rows["subset"] == subset] if len(rows) else rows
    if not len(rows) or not rows["eci_pooled"].notna().any():
        return ""
    cells = largest_first(rows.dropna(subset=["eci_pooled"]), "eci_pooled").itertuples()
    words = _told((str(row.cell), number(row.eci_pooled, signed=True)) for row in cells)
    caption = (
        f"Where fusing helps: the index of {set_html(subset)}. Blue: gain; orange: loss; "
        "pale: the interval holds 0; dots: significant after adjusting over cells; hatched: "
        "too few rows for an interval."
    )
    return _of(place, "map", f"Map of the index of {subset}", words, caption, subset=subset)


def strata_figure(place: Place, subset: str) -> str:
    by = strongest(place, subset)
    rows = place.rows("strata")
    if not by or not len(rows):
        return ""
    rows = rows[(rows["subset"] == subset) & (rows["by"] == by)]
    if not rows["eci_pooled"].notna().any():
        return ""
    told = largest_first(rows, "eci_pooled").itertuples()
    words = _told((str(row.stratum), number(row.eci_pooled, signed=True)) for row in told)
    caption = f"The index of {set_html(subset)} by {safe(by)}, with interval."
    return _of(place, "strata", f"Index by {by}", words, caption, by=by, subset=subset)


def beside_figures(tables: Tables, manifest: Mapping[str, Any]) -> dict[str, list[str]]:
    """Those of `scale`, where there are any."""
    frame = tables.get("scale")
    if frame is None or not frame["range_km"].notna().any():
        return {}
    known = frame.dropna(subset=["range_km"]).itertuples()
    words = _told(
        (" ".join(filter(None, (row.task, text_of(row.target), row.estimator))),
         f"{number(row.range_km, 0)} km")
        for row in known
    )  # fmt: skip
    caption = "How targets differ with distance; the marks are the ranges."
    drawn = figure("scale", "scale-figure", "Scale of targets", words, caption, tables, manifest)
    return {"scale": [drawn]}


def _told(rows: Sequence[tuple[str, str]]) -> str:
    """ "Largest first: a 0.5; b 0.4 … and 12 more; see the table below."."""
    texts = [f"{name} {value}" for name, value in rows]
    more = f"; and {len(texts) - TOLD:,} more" if len(texts) > TOLD else ""
    return f"{'; '.join(texts[:TOLD])}{more}. All are in the table below."


def best_of(place: Place, name: str) -> str:
    """The set of which a map or strata are shown; "" where there is none."""
    rows = place.rows(name)
    return best_set(place, rows) if len(rows) else ""
