"""The figures draw the numbers of the tables, with any names, and become safe SVG."""

import re
import subprocess
import sys
import warnings
from pathlib import Path
from xml.etree import ElementTree

import drawn
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.colors import same_color, to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from ecjax import figures, figures_base
from ecjax.errors import UsageError
from ecjax.rounding import measured, number

TASK = "biomass"
ALL = "+".join(drawn.MODELS)
TABLES, MANIFEST = drawn.make_tables(), drawn.make_manifest()
OF_TASK = {
    "scores": figures.scores,
    "gains": figures.gains,
    "shapley": figures.shapley,
    "commonality": figures.commonality,
    "map": figures.map,
    "strata": lambda *args, **options: figures.strata(*args, "land cover", **options),
}
OF_RUN = {"index": figures.index, "scale": figures.scale, "overlap": figures.overlap}
NAMES = [*OF_TASK, *OF_RUN]


def draw(name, tables=TABLES, manifest=MANIFEST, task=TASK, **options):
    if name in OF_RUN:
        return OF_RUN[name](tables, manifest, **options)
    return OF_TASK[name](tables, manifest, task, **options)


def of_task(table, task=TASK, tables=TABLES):
    frame = tables[table]
    return frame[frame["task"] == task].reset_index(drop=True)


def texts(ax):
    return [text.get_text() for text in ax.findobj(Text) if text.get_text()]


def dots(ax, size=30):
    """(m, 2) places of all dots of one size, in the order drawn."""
    found = [c for c in ax.collections if isinstance(c, PathCollection)]
    return np.concatenate(
        [np.asarray(c.get_offsets()) for c in found if (c.get_sizes() == size).all()]
    )


def faces(ax, size=30):
    found = [c for c in ax.collections if isinstance(c, PathCollection)]
    return np.concatenate([c.get_facecolors() for c in found if (c.get_sizes() == size).all()])


def segments(ax):
    return np.concatenate(
        [c.get_segments() for c in ax.collections if isinstance(c, LineCollection)]
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_is_axes_of_a_figure_of_its_own(name):
    first, second = draw(name), draw(name)
    assert isinstance(first, Axes)
    assert first.figure is not second.figure


@pytest.mark.parametrize("name", NAMES)
def test_given_axes_are_drawn_into(name):
    ax = Figure().add_subplot()
    assert draw(name, ax=ax) is ax
    assert len(ax.figure.axes) == 1
    assert ax.get_title(loc="left")
    figures.inline_svg(ax, "t", "d", "k")


def test_no_figure_needs_pyplot():
    code = (
        "import sys, drawn; from ecjax import figures\n"
        "tables, manifest = drawn.make_tables(tasks=('a',)), drawn.make_manifest(tasks=('a',))\n"
        "figures.inline_svg(figures.map(tables, manifest, 'a'), 't', 'd', 'k')\n"
        "figures.index(tables, manifest)._repr_png_()\n"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent).returncode == 0


def test_heat_map_writes_the_index_with_its_star():
    ax = figures.index(TABLES, MANIFEST)
    rows = TABLES["index"]
    expected = [number(row.eci, signed=True) + "*" * (row.p_better_adjusted < 0.05)
                for row in rows.itertuples()]  # fmt: skip
    cells = [text.get_text() for text in ax.texts if re.match(r"[+-]?\d", text.get_text())]
    assert sorted(cells) == sorted(expected)
    assert any("*" in text for text in expected) and not all("*" in text for text in expected)


def test_heat_map_puts_each_value_at_its_set_and_task():
    ax = figures.index(TABLES, MANIFEST)
    where = {text.get_position(): text.get_text().rstrip("*") for text in ax.texts}
    labels = [label.get_text() for label in ax.get_yticklabels()]
    tasks = [label.get_text() for label in ax.get_xticklabels()]
    assert tasks == list(drawn.TASKS)
    for row in TABLES["index"].itertuples():
        place = tasks.index(row.task) + 0.5, labels.index(row.subset)
        assert where[place] == number(row.eci, signed=True)


def test_heat_map_has_the_best_set_above_and_blue_for_gains():
    ax = figures.index(TABLES, MANIFEST)
    mean = TABLES["index"].groupby("subset")["eci"].mean().sort_values(ascending=False)
    assert [label.get_text() for label in ax.get_yticklabels()] == list(mean.index)
    (cells,) = (c for c in ax.collections if isinstance(c, PolyCollection))
    for path, face in zip(cells.get_paths(), cells.get_facecolors(), strict=True):
        x, y = path.vertices[:4].mean(axis=0)
        text = next(t.get_text() for t in ax.texts if t.get_position() == (x, round(y)))
        loss = text.startswith("-")
        assert to_hex(face) == (figures_base.LOSS if loss else figures_base.GAIN)


def test_heat_map_of_many_sets_keeps_the_40_best_as_dots_of_their_members():
    models = [f"a_rather_long_model_{i}" for i in range(6)]
    tables, manifest = drawn.make_tables(models), drawn.make_manifest(models)
    ax = figures.index(tables, manifest)
    assert "the 40 best of 57 sets" in ax.get_title(loc="left")
    (beside,) = ax.child_axes
    assert [label.get_text() for label in beside.get_xticklabels()] == models
    mean = tables["index"].groupby("subset")["eci"].mean().sort_values(ascending=False)
    members = {tuple(point) for point in beside.collections[1].get_offsets().tolist()}
    expected = {(models.index(m), i) for i, s in enumerate(mean.index[:40]) for m in s.split("+")}
    assert members == expected


def test_scores_are_dots_of_pooled_scores_best_first():
    ax = figures.scores(TABLES, MANIFEST, TASK)
    rows = of_task("scores").sort_values("pooled", ascending=False)
    assert dots(ax).tolist() == [[i, value] for i, value in enumerate(rows["pooled"])]
    assert segments(ax)[:, :, 1].tolist() == rows[["score_low", "score_high"]].values.tolist()
    (below,) = ax.child_axes
    members = {tuple(point) for point in below.collections[1].get_offsets().tolist()}
    order = list(drawn.MODELS)
    assert members == {(i, order.index(m)) for i, s in enumerate(rows["subset"])
                       for m in s.split("+")}  # fmt: skip


def test_scores_name_the_best_single():
    ax = figures.scores(TABLES, MANIFEST, TASK)
    rows = of_task("scores")
    best = rows[rows["n_models"] == 1].sort_values("pooled").iloc[-1]
    value = measured(best["pooled"], best["score_low"], best["score_high"])[0]
    assert f"Best single, dashed: {best['subset']}, {value}. Hollow: single models." in texts(ax)


def test_scores_without_intervals_are_means_with_standard_errors():
    scores = TABLES["scores"].assign(score_low=np.nan, score_high=np.nan)
    scores["score"] = scores["pooled"] - 0.001
    ax = figures.scores(TABLES | {"scores": scores}, MANIFEST, TASK)
    value = np.sort(scores[scores["task"] == TASK]["score"])[::-1]
    assert dots(ax)[:, 1] == pytest.approx(value)
    assert segments(ax)[:, :, 1] == pytest.approx(np.stack([value - 0.01, value + 0.01], 1))
    assert "± standard error" in ax.get_title(loc="left")


def test_a_score_far_below_the_others_is_an_arrow_at_the_edge():
    scores = TABLES["scores"].copy()
    worst = scores.index[(scores["task"] == TASK)][0]
    scores.loc[worst, ["pooled", "score_low", "score_high"]] = -7.0, -8.0, -6.0
    ax = figures.scores(TABLES | {"scores": scores}, MANIFEST, TASK)
    arrows = [c for c in ax.collections if isinstance(c, PathCollection)][-1]
    assert arrows.get_offsets().tolist() == [[len(of_task("scores")) - 1, ax.get_ylim()[0]]]
    assert ax.get_ylim()[0] > -1


def test_scores_of_many_sets_are_the_31_best():
    models = [f"m{i}" for i in range(6)]
    ax = figures.scores(drawn.make_tables(models), drawn.make_manifest(models), TASK)
    assert len(dots(ax)) == 31
    assert "the 31 best of 63 sets" in ax.get_title(loc="left")


def test_gains_are_those_over_sets_with_one_model_less():
    ax = figures.gains(TABLES, MANIFEST, TASK)
    rows = of_task("gains")
    fewer = rows["subset"].str.count(r"\+") - rows["over"].str.count(r"\+") == 1
    rows = rows[fewer]
    places = dict(zip(ax.get_yticks(), [t.get_text() for t in ax.get_yticklabels()], strict=True))
    headings = {place: text for place, text in _headings(ax)}
    found = []
    for value, place in dots(ax):
        added = headings[max(p for p in headings if p < place)]
        found.append((added, places[place], value))
    expected = [(f"adding {_added(row)} to", row.over, row.eci_pooled) for row in rows.itertuples()]
    assert sorted(found) == sorted(expected)
    shown = sorted(t.get_text() for t in ax.texts if re.match(r"[+-]?\d", t.get_text()))
    assert shown == sorted(
        measured(row.eci_pooled, row.eci_low, row.eci_high, signed=True)[0]
        for row in rows.itertuples()
    )


def _headings(ax):
    return [(t.get_position()[1], t.get_text()) for t in ax.texts if t.get_weight() == "bold"]


def _added(row):
    return (set(row.subset.split("+")) - set(row.over.split("+"))).pop()


def test_gains_of_many_sets_are_those_of_the_best():
    models = [f"a_rather_long_model_{i}" for i in range(6)]
    tables = drawn.make_tables(models)
    ax = figures.gains(tables, drawn.make_manifest(models), TASK)
    assert 30 < len(dots(ax)) <= 40
    assert re.search(r"the \d+ best of 57 sets", ax.get_title(loc="left"))
    best = of_task("index", tables=tables).sort_values("score").iloc[-1]["subset"]
    rows = of_task("gains", tables=tables)
    values = rows[(rows["subset"] == best) & rows["over"].str.count(r"\+").gt(0)]["eci_pooled"]
    assert set(values) <= set(dots(ax)[:, 0])


def test_a_dot_is_filled_where_its_interval_excludes_zero():
    ax = figures.gains(TABLES, MANIFEST, TASK)
    rows = of_task("gains").set_index("eci_pooled")
    for (value, _), face in zip(dots(ax), faces(ax), strict=True):
        sure = rows.loc[value, "eci_low"] > 0 or rows.loc[value, "eci_high"] < 0
        colour = figures_base.GAIN if value >= 0 else figures_base.LOSS
        assert same_color(face, colour if sure else figures_base.BACK)


def test_shapley_values_are_dots_with_their_numbers():
    ax = figures.shapley(TABLES, MANIFEST, TASK)
    rows = of_task("shapley").sort_values("value", ascending=False)
    assert dots(ax)[:, 0].tolist() == rows["value"].tolist()
    assert [label.get_text() for label in ax.get_yticklabels()] == list(rows["model"])
    assert segments(ax)[:, :, 0].tolist() == rows[["low", "high"]].values.tolist()
    for row in rows.itertuples():
        assert measured(row.value, row.low, row.high)[0] in texts(ax)


def test_strata_are_dots_with_their_rows():
    ax = figures.strata(TABLES, MANIFEST, TASK, "latitude", ALL)
    rows = of_task("strata")
    rows = rows[(rows["by"] == "latitude") & (rows["subset"] == ALL)]
    assert dots(ax)[:, 0].tolist() == rows["eci_pooled"].tolist()
    assert [label.get_text() for label in ax.get_yticklabels()] == list(rows["stratum"])
    assert {f"{n:,} rows" for n in rows["n_rows"]} <= set(texts(ax))


def test_a_stratum_is_filled_where_it_is_sure_of_a_gain_or_a_loss():
    p = {"forest": (0.01, 0.5), "cropland": (0.5, 0.01), "grassland": (0.5, 0.5)}
    strata = TABLES["strata"].copy()
    for stratum, pair in p.items():
        own = strata["stratum"] == stratum
        strata.loc[own, ["p_adjusted", "p_worse_adjusted"]] = pair
    ax = figures.strata(TABLES | {"strata": strata}, MANIFEST, TASK, "land cover", ALL)
    filled = [not same_color(face, figures_base.BACK) for face in faces(ax)]
    assert filled[:3] == [True, True, False]


def test_a_stratum_without_an_index_says_so():
    strata = TABLES["strata"].copy()
    strata.loc[strata["stratum"] == "forest", ["eci_pooled", "eci_low", "eci_high"]] = np.nan
    ax = figures.strata(TABLES | {"strata": strata}, MANIFEST, TASK, "land cover")
    assert sum(text.endswith("no index") for text in texts(ax)) == 1


def test_commonality_bars_are_the_shares():
    ax = figures.commonality(TABLES, MANIFEST, TASK)
    rows = of_task("commonality")
    pairs = [text.get_text() for text in ax.get_yticklabels()]
    parts = ("unique_a", "shared", "unique_b", "synergy")
    for part, bars in zip(parts, ax.containers, strict=True):
        for pair, bar in zip(pairs, bars, strict=True):
            a, b = pair.split(" · ")
            own = rows[(rows["model_a"] == a) & (rows["model_b"] == b) & (rows["part"] == part)]
            assert bar.get_width() == pytest.approx(own["share"].item())
    ends = [[bar.get_x() + bar.get_width() for bar in bars] for bars in ax.containers]
    positive = [sum(max(b[i].get_width(), 0) for b in ax.containers) for i in range(len(pairs))]
    assert np.max(ends, axis=0) == pytest.approx(positive)


def test_overlap_writes_a_value_both_ways_and_r2_one_way():
    ax = figures.overlap(TABLES, MANIFEST)
    models = list(drawn.MODELS)
    where = {text.get_position(): text.get_text() for text in ax.texts}
    frame = TABLES["overlap"].dropna(subset="model_b")
    for row in frame[frame["measure"] == "cka_debiased"].itertuples():
        a, b = models.index(row.model_a), models.index(row.model_b)
        expected = measured(row.value, row.low, row.high)[0]
        assert where[b + 0.5, a] == where[a + 0.5, b] == expected
    where = {t.get_position(): t.get_text() for t in figures.overlap(TABLES, MANIFEST, "r2").texts}
    for row in frame[frame["measure"] == "r2"].itertuples():
        a, b = models.index(row.model_a), models.index(row.model_b)
        assert where[b + 0.5, a] == measured(row.value, row.low, row.high)[0]


def test_scale_has_a_panel_for_each_target_and_estimator():
    ax = figures.scale(TABLES, MANIFEST)
    assert len(ax.child_axes) == 2 * len(drawn.TASKS)
    ranges = TABLES["scale"].set_index(["task", "estimator"])["range_km"]
    for panel in ax.child_axes:
        task, estimator = panel.get_title(loc="left").split(" · ")
        curve = TABLES["scale_curve"]
        curve = curve[(curve["task"] == task) & (curve["estimator"] == estimator)]
        points = panel.collections[0].get_offsets()
        assert points.tolist() == curve[["km", "value"]].values.tolist()
        assert panel.lines[0].get_ydata().tolist() == curve["fitted"].tolist()
        assert panel.lines[1].get_xdata()[0] == ranges[task, estimator]
        assert f"{number(ranges[task, estimator], 0)} km" in texts(panel)


def test_scale_without_curves_shows_the_ranges():
    ax = figures.scale({"scale": TABLES["scale"]}, MANIFEST)
    shown = dots(ax)
    assert sorted(shown[:, 0]) == sorted(TABLES["scale"]["range_km"])


def cells_of(ax):
    """The polygons of regions with an index or none: those that have edges."""
    (found,) = (c for c in ax.collections
                if isinstance(c, PolyCollection) and c.get_linewidth()[0] > 0)  # fmt: skip
    return found


def test_map_colours_cells_by_the_index():
    ax = figures.map(TABLES, MANIFEST, TASK, ALL)
    rows = of_task("maps")
    rows = rows[rows["subset"] == ALL]
    cells = cells_of(ax)
    assert len(cells.get_paths()) == len(rows)
    for value, face in zip(rows["eci_pooled"], cells.get_facecolors(), strict=True):
        colour = {True: figures_base.GAIN, False: figures_base.LOSS}[value >= 0]
        assert to_hex(face) == (figures_base.LINE if np.isnan(value) else colour)
    sure = (rows["eci_low"] > 0) | (rows["eci_high"] < 0)
    for same in (rows[sure], rows[~sure & rows["eci_low"].notna()]):
        shown = cells.get_facecolors()[rows.index.get_indexer(same.index)]
        order = same["eci_pooled"].abs().argsort().to_numpy()
        assert len(same) > 2 and (np.diff(shown[order, 3]) >= 0).all()
    strongest = rows.loc[sure, "eci_pooled"].abs().max()
    pale = cells.get_facecolors()[(~sure & rows["eci_low"].notna()).to_numpy(), 3]
    assert strongest and pale.max() < 0.4 < cells.get_facecolors()[sure.to_numpy(), 3].max()


def test_map_marks_sure_cells_with_a_dot_and_empty_ones_with_hatches():
    ax = figures.map(TABLES, MANIFEST, TASK, ALL)
    rows = of_task("maps")
    rows = rows[rows["subset"] == ALL]
    sure = (rows["p_adjusted"] < 0.05) | (rows["p_worse_adjusted"] < 0.05)
    assert 0 < len(dots(ax, 5)) == sure.sum() < len(rows)
    hatched = [c for c in ax.collections if c.get_hatch()]
    assert [len(c.get_paths()) for c in hatched] == [rows["eci_low"].isna().sum()]


def test_a_map_of_log_loss_says_so():
    maps = TABLES["maps"].assign(metric="log_loss")
    ax = figures.map(TABLES | {"maps": maps}, MANIFEST, TASK, ALL)
    assert ax.get_title(loc="left").endswith("by log_loss")


def test_a_cell_of_few_rows_is_hatched_though_it_has_an_index():
    maps = TABLES["maps"].copy()
    maps.loc[maps["subset"] == ALL, ["eci_low", "eci_high"]] = np.nan
    ax = figures.map(TABLES | {"maps": maps}, MANIFEST, TASK, ALL)
    (hatched,) = [c for c in ax.collections if c.get_hatch()]
    assert len(hatched.get_paths()) == (of_task("maps")["subset"] == ALL).sum()


def map_of(edges, **columns):
    rows = drawn.make_maps(TASK, ALL, np.array(edges, dtype=float), np.random.default_rng(0), 1.1)
    rows["eci_pooled"] = 0.1
    return figures.map(TABLES | {"maps": rows.assign(**columns)}, MANIFEST, TASK)


def test_map_is_cropped_to_the_data():
    world, europe = map_of(drawn.grid()), map_of(drawn.grid(36, 70, -10, 32, 4))
    assert np.ptp(world.get_xlim()) > 5 > 1.5 > np.ptp(europe.get_xlim())


def test_map_across_the_date_line_holds_together():
    ax = map_of([(-20, -18, 178, 180), (-20, -18, -180, -178)])
    assert np.ptp(ax.get_xlim()) < 0.3
    boxes = [path.get_extents() for path in cells_of(ax).get_paths()]
    assert max(box.width for box in boxes) < 0.05
    assert boxes[0].x1 == pytest.approx(boxes[1].x0)
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert any(label.endswith("E") for label in labels)
    assert any(label.endswith("W") for label in labels)


def test_regions_without_edges_are_circles_sized_by_rows():
    edges = dict.fromkeys(("lat_min", "lat_max", "lon_min", "lon_max"))
    ax = map_of([(0, 2, 0, 2), (8, 10, 8, 10)], n_rows=[10, 90], **edges)
    sizes = [c.get_sizes() for c in ax.collections if isinstance(c, PathCollection)][1]
    assert sizes[0] > sizes[1]  # the larger behind
    assert any("areas: rows" in text for text in texts(ax))


def test_map_and_strata_take_the_best_set_where_none_is_named():
    best = of_task("index").sort_values("eci").iloc[-1]["subset"]
    maps, strata = (TABLES[key][TABLES[key]["subset"].ne("")] for key in ("maps", "strata"))
    assert best in set(maps["subset"]) and best in set(strata["subset"])
    assert best in draw("map").get_title(loc="left")
    assert best in draw("strata").get_title(loc="left")


@pytest.mark.parametrize("name", NAMES)
def test_nothing_to_draw_is_said(name):
    empty = {key: TABLES[key].head(0) for key in ("index", "scores")}
    with pytest.raises(UsageError, match="nothing to draw|no task"):
        draw(name, tables=empty)


def test_an_unknown_task_is_said():
    with pytest.raises(UsageError, match='"other"'):
        figures.shapley(TABLES, MANIFEST, "other")


def test_a_setting_of_a_sweep_is_drawn_alone():
    keys = {"swept": ["ridge_lambda"]}
    low, high = drawn.make_tables(seed=1), drawn.make_tables(seed=2)
    tables = {
        key: pd.concat([low[key].assign(ridge_lambda=1.0), high[key].assign(ridge_lambda=10.0)])
        for key in low
    }
    for value, own in ((1.0, low), (10.0, high), (None, low)):  # None: not named, so the first
        setting = () if value is None else (("ridge_lambda", value),)
        ax = figures.shapley(tables, MANIFEST | keys, TASK, setting=setting)
        assert sorted(dots(ax)[:, 0]) == sorted(of_task("shapley", tables=own)["value"])
        ax = figures.index(tables, MANIFEST | keys, setting=setting)
        assert number(own["index"]["eci"].max(), signed=True) in {t.rstrip("*") for t in texts(ax)}


HOSTILE = (
    drawn.make_tables(drawn.HOSTILE, drawn.HOSTILE),
    drawn.make_manifest(drawn.HOSTILE, drawn.HOSTILE),
)


@pytest.mark.parametrize("name", NAMES)
def test_hostile_names_are_drawn_as_they_are(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ax = draw(name, *HOSTILE, task=drawn.HOSTILE[1])
        svg = figures.inline_svg(ax, drawn.HOSTILE[0], drawn.HOSTILE[0], "k")
    assert not any("$" in t.get_text() and t.get_parse_math() for t in ax.findobj(Text))
    assert "<script" not in svg
    found = "".join(ElementTree.fromstring(svg).itertext())
    assert "$\\frac{1}{2}$ =cmd()" in found or name == "strata"
    assert "long" * 12 not in found


def test_unprintable_letters_are_written_as_escapes():
    assert figures_base.name("a\x00\u202eb") == "a\\x00\\u202eb"


def test_long_names_are_cut_by_the_width_of_letters():
    assert figures_base.name("a" * 24) == "a" * 24
    assert figures_base.name("a" * 25) == "a" * 23 + "…"
    assert figures_base.name("地" * 13) == "地" * 11 + "…"


@pytest.mark.parametrize("name", NAMES)
def test_svg_stands_alone_in_a_page(name):
    svg = figures.inline_svg(draw(name), "A <b>title</b>", "What & why", "fig-1")
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("}svg") and root.get("role") == "img"
    assert "width" not in root.attrib and "height" not in root.attrib
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids)) and all(each.startswith("fig-1-") for each in ids)
    words = [next(e.text for e in root.iter() if e.get("id") == each)
             for each in root.get("aria-labelledby").split()]  # fmt: skip
    assert words == ["A <b>title</b>", "What & why"]
    references = re.findall(r'(?:url\(|href=")#([^")]+)', svg)
    assert set(references) <= set(ids)
    assert re.findall(r"https?://[^\"]*", svg) == ["http://www.w3.org/2000/svg"]
    for unwanted in ("DOCTYPE", "<?xml", "<metadata", "<style", "xlink", "font-family", "<image"):
        assert unwanted not in svg
    assert not re.search(r"#[0-9a-f]{6}\b", svg)  # all colours are the page's
    assert "var(--text)" in svg
    title = draw(name).get_title(loc="left")
    assert title in ["".join(e.itertext()) for e in root.iter() if e.tag.endswith("}text")]


@pytest.mark.parametrize("name", NAMES)
def test_svg_is_the_same_each_time(name):
    first, second = (figures.inline_svg(draw(name), "t", "d", "k") for _ in range(2))
    assert first == second


def test_svg_takes_a_figure_as_well_as_axes():
    ax = draw("index")
    assert figures.inline_svg(ax.figure, "t", "d", "k") == figures.inline_svg(ax, "t", "d", "k")


def test_a_notebook_shows_the_axes():
    assert draw("shapley")._repr_png_().startswith(b"\x89PNG")
