"""Tests of ecjax.page and its parts, of a page with all tables and figures."""

import base64
import gzip
import html
import json
import re
import time

import make_pages
import numpy as np
import pandas as pd
import pytest

import ecjax
from ecjax import page, page_downloads, page_figures, page_style, page_tables, store
from ecjax.errors import InputError
from ecjax.page_index import colour
from ecjax.page_methods import bibtex, methods
from ecjax.page_tables import Cell, Column
from ecjax.rounding import measured, number

MODELS = ["alphaearth", "tessera", "geoclip"]
TASKS = {"biomass": "regression", "crops": "classification"}
SECTIONS = ["s0-found", "s0-heat", "s0t0", "s0t1", "overlap", "scale", "warnings", "methods",
            "downloads", "run"]  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Directories of the three commands, about one study."""
    root = tmp_path_factory.mktemp("pages")
    store.write_results(root / "results", *make_pages.evaluation(MODELS, TASKS))
    store.write_results(root / "overlap", *make_pages.overlap(MODELS, TASKS))
    store.write_results(root / "scales", *make_pages.scale(MODELS, TASKS))
    return root


@pytest.fixture(scope="module")
def whole(folders):
    """The page with everything."""
    path = page.write_page(folders / "results", [folders / "overlap", folders / "scales"])
    return path.read_text("utf-8")


def rows_of(text, key):
    """Texts of the HTML rows of a table: main text, and small print where there is some."""
    body = text[text.index(f'id="{key}"') :].split("<tbody>")[1].split("</tbody>")[0]
    rows = []
    for row in re.findall("<tr>(.*?)</tr>", body):
        cells = re.findall("<t[hd][^>]*>(.*?)</t[hd]>", row)
        parts = [cell.replace("</small>", "").split("<small>") for cell in cells]
        plain = [[html.unescape(re.sub("<[^>]+>", "", p)) for p in part] for part in parts]
        rows.append(plain)
    return rows


def test_sections_and_contents_agree(whole):
    assert re.findall('<section id="([^"]+)">', whole) == SECTIONS
    assert re.findall('<li><a href="#([^"]+)">', whole) == SECTIONS
    assert whole.count("<h1>") == whole.count("<main ") == whole.count("<nav ") == 1


def test_every_id_is_there_once_and_every_label_names_one(whole):
    ids = re.findall(r'\bid="([^"]+)"', whole)
    assert len(ids) == len(set(ids))
    named = re.findall(r'aria-(?:labelledby|describedby)="([^"]+)"', whole)
    assert len(named) > 20 and set(" ".join(named).split()) <= set(ids)
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', whole)) <= {*ids, "main"}


def test_figures_have_words_with_numbers(whole):
    figures = re.findall("<figure.*?</figure>", whole, re.DOTALL)
    assert len(figures) == 2 * 7 + 1  # bars, five kinds and a map of each task; scale
    for figure in figures:
        told = re.search("<desc[^>]*>(.*?)</desc>", figure).group(1)
        assert re.search(r"\d", told), told


def test_no_matplotlib_leaves_a_page_that_names_the_extra(folders, monkeypatch):
    monkeypatch.setattr(page_figures, "ready", lambda: False)
    text = page.render(*store.read_results(folders / "results"))
    assert "pip install 'ecjax[plot]'" in text and text.count("<svg") == 2
    assert [key for key in SECTIONS if f'<section id="{key}"' in text] == [
        "s0-found", "s0-heat", "s0t0", "s0t1", "warnings", "methods", "run",
    ]  # fmt: skip


def test_numbers_of_the_heat_map_are_those_of_the_table(folders, whole):
    index = pd.read_parquet(folders / "results" / "index.parquet")
    index = index[index["metric"].isin(["r2", "accuracy"])]
    checked = 0
    for (subset,), *cells in rows_of(whole, "s0-index"):
        for task, (text, small) in zip(TASKS, cells, strict=True):
            (row,) = index[(index["task"] == task) & (index["subset"] == subset)].itertuples()
            told = measured(row.eci_pooled, row.eci_low, row.eci_high, signed=True)
            star = "*" if row.p_better_adjusted < 0.05 else ""
            assert [text, small] == [told[0] + star, " to ".join(told[1:])]
            checked += 1
    assert checked == 8


def test_numbers_of_scores_are_those_of_the_table(folders, whole):
    scores = pd.read_parquet(folders / "results" / "scores.parquet")
    scores = scores[(scores["task"] == "biomass") & (scores["metric"] == "r2")]
    scores = scores.sort_values("score", ascending=False).reset_index(drop=True)
    rows = rows_of(whole, "s0t0-scores")
    assert [row[0][0] for row in rows] == list(scores["subset"])
    for row, found in zip(rows, scores.itertuples(), strict=True):
        assert row[3][0] == number(found.score, 3)
        low, high = found.score_low, found.score_high
        assert " ".join(row[5]) == "{} {} to {}".format(*measured(found.pooled, low, high))


def test_a_page_saves_the_bytes_of_every_csv_file(folders, whole):
    found = re.findall(r'<script type="text/plain" id="csv-([^"]+)">([^<]+)</script>', whole)
    files = {path.name: path for name in ("results", "overlap", "scales")
             for path in (folders / name).glob("*.csv")}  # fmt: skip
    assert len(files) == 13 and {name for name, _ in found} == set(files)
    for name, content in found:
        assert gzip.decompress(base64.b64decode(content)) == files[name].read_bytes()
        assert f'data-csv="{name}"' in whole


def test_tables_too_large_for_the_page_are_named(monkeypatch):
    monkeypatch.setattr(page_downloads, "LARGEST", 60)
    monkeypatch.setattr(page_downloads, "ALL", 100)
    noise = np.random.default_rng(0).bytes(500)
    files = {"a.csv": noise, "b.csv": b"1", "c.csv": b"2\n" * 9, "d.csv": b"33", "e.csv": None}
    text = "".join(page_downloads.downloads(files))
    assert re.findall('id="csv-([^"]+)"', text) == ["b.csv", "c.csv", "d.csv"]
    for name in ("a.csv", "e.csv"):
        assert f"<li>{name}, too large for this page, lies beside it: </li>" in text
    assert page_downloads.downloads({}) == []


def test_a_changed_csv_file_is_refused(folders, tmp_path):
    store.write_results(tmp_path, *make_pages.scale(MODELS, TASKS))
    (tmp_path / "scale.csv").write_text("other\n")
    with pytest.raises(InputError, match="has changed since it was written"):
        page.write_page(tmp_path)


@pytest.mark.parametrize("name", ["overlap", "scales"])
def test_overlap_and_scale_have_pages_of_their_own(folders, name):
    text = page.write_page(folders / name).read_text("utf-8")
    own = {"overlap": "overlap", "scales": "scale"}[name]
    sections = [own, "warnings", "methods", "downloads", "run"]
    assert re.findall('<section id="([^"]+)">', text) == sections


def test_a_matrix_of_overlap_has_each_pair_twice(folders):
    text = page.write_page(folders / "overlap").read_text("utf-8")
    rows = [[cell[0] for cell in row] for row in rows_of(text, "o0-cka_debiased")]
    values = np.array([row[1:] for row in rows])
    assert (values == values.T).all() and set(np.diag(values)) == {""}
    predicted = np.array([[c[0] for c in row[1:]] for row in rows_of(text, "o0-r2")])
    assert (predicted != predicted.T).any()
    frame = pd.read_parquet(folders / "overlap" / "overlap.parquet")
    one = frame[(frame["model_a"] == MODELS[0]) & (frame["measure"] == "r2")].iloc[0]
    assert predicted[0, 1] == measured(one["value"], one["low"], one["high"])[0]


def test_what_stands_beside_must_be_overlap_or_scale_of_this_study(folders, tmp_path):
    results = folders / "results"
    with pytest.raises(InputError, match="holds the results of `ecjax evaluate`; --with takes"):
        page.write_page(results, [results])
    with pytest.raises(InputError, match="is the second of `ecjax scale`"):
        page.write_page(results, [folders / "scales"] * 2)
    with pytest.raises(InputError, match="holds the results of `ecjax overlap`; --with is for"):
        page.write_page(folders / "overlap", [folders / "scales"])
    for make, other in ((make_pages.overlap, "o"), (make_pages.scale, "s")):
        store.write_results(tmp_path / other, *make(MODELS, {"biomass": 1, "rivers": 1}))
        with pytest.raises(InputError, match='tasks which these results lack: ".*rivers"'):
            page.write_page(results, [tmp_path / other])


def test_what_stands_beside_must_be_of_the_same_data(tmp_path):
    rng = np.random.default_rng(0)
    x = {name: rng.normal(size=(90, 3)) for name in "ab"}
    place = {"lat": rng.uniform(0, 9, 90), "lon": rng.uniform(0, 9, 90)}
    task = ecjax.Task(x["a"][:, 0] + rng.normal(size=90), **place)
    other = ecjax.Task(-task.y, **place)
    ecjax.evaluate(x, {"t": task}, folds=3, protocol="paper", out=tmp_path / "results")
    ecjax.overlap(x, {"t": other}, out=tmp_path / "same vectors")
    ecjax.scale(x, {"t": task}, out=tmp_path / "same targets")
    beside = [tmp_path / "same vectors", tmp_path / "same targets"]
    page.write_page(tmp_path / "results", beside)
    changed = {"a": x["a"], "b": x["b"] + 1}
    ecjax.overlap(changed, {"t": task}, out=tmp_path / "other vectors")
    ecjax.scale(x, {"t": other}, out=tmp_path / "other targets")
    for name, words in (("other vectors", "ids or vectors"), ("other targets", "ids or targets")):
        with pytest.raises(InputError, match=f'of other {words} than these results, of "t"'):
            page.write_page(tmp_path / "results", [tmp_path / name])


def test_a_sure_difference_between_strata_is_said_in_words():
    tables, manifest = make_pages.evaluation(MODELS, TASKS)
    separation = tables["separation"].assign(p_adjusted=0.2)
    text = page.render(tables | {"separation": separation}, manifest)
    assert "</bdi> differs by" not in text
    first = separation["subset"].isin(tables["strata"]["subset"])
    changed = {"p_adjusted": 0.001, "eci_most": 0.561, "eci_least": -1.134,
               "most_stratum": "<north>", "least_stratum": "south"}  # fmt: skip
    separation.loc[first, list(changed)] = list(changed.values())
    text = page.render(tables | {"separation": separation}, manifest)
    assert "+0.561 in <bdi>&lt;north&gt;</bdi>, -1.134 in <bdi>south</bdi> (adjusted p" in text


def test_missing_tables_leave_their_sections_out():
    tables, manifest = make_pages.evaluation(MODELS, TASKS)
    few = {name: tables[name] for name in ("scores", "index", "folds")}
    text = page.render(few, manifest)
    for words in ("What each part adds", "Why pairs help", "Where fusing helps", "What separates"):
        assert words in page.render(tables, manifest) and words not in text
    assert "Scores of sets" in text


def test_results_of_an_earlier_version_have_a_page():
    tables, manifest = make_pages.evaluation(MODELS, TASKS, further=False)
    tables["scores"] = tables["scores"].drop(columns=["within_one_se"])
    manifest = {key: manifest[key] for key in ("name", "protocol", "tasks", "embeddings")}
    manifest["tasks"] = {name: {"rows": 9, "kind": kind} for name, kind in TASKS.items()}
    text = page.render(tables, manifest)
    assert "Main findings" in text and "Intervals are" not in text


def test_long_tables_have_their_other_rows_as_data():
    rows = [[f"a{i}+b", f"+{i}.5", Cell("1", "0 to 2", "g1")] for i in range(80)]
    columns = [Column("set", "set"), Column("x"), Column("y")]
    text = page_tables.table("k", "About", columns, rows, label="many", first=50)
    assert len(rows_of(text, "k")) == 50 and 'data-total="80"' in text
    assert "The first 50 of 80." in text
    data = json.loads(re.search('application/json">(.*)</script>', text).group(1))
    assert len(data["rows"]) == 30
    assert data["words"][data["rows"][0][0]] == "a50+b"
    assert data["rows"][0][1:] == ["+50.5", ["1", "0 to 2", "g1"]]
    most = page_tables.table("k", "About", columns, rows * 30, file="x.csv")
    assert "2,000 of 2,400 rows; all are in x.csv." in most
    assert page_tables.table("k", "About", columns, []) == ""


def test_data_cannot_end_its_element():
    text = page_tables.as_data(["</script><!--&\u2028"])
    assert not set("<>&\u2028") & set(text) and json.loads(text) == ["</script><!--&\u2028"]


def test_hostile_names_stay_text(tmp_path):
    tasks = {"<img src=x onerror=alert(2)>": "regression", "任务": "classification"}
    tables, manifest = make_pages.evaluation(list(make_pages.HOSTILE), tasks)
    manifest["name"] = "</title><script>alert(3)</script>"
    manifest["versions"] = {"ecjax": "}</pre><script>"}
    tables |= make_pages.overlap(list(make_pages.HOSTILE), tasks)[0]
    text = page.render(tables | make_pages.scale(["<u>", "b"], tasks)[0], manifest)
    for tag in ("img", "u", "b"):
        assert f"<{tag}>" not in text and f"<{tag} " not in text
    assert re.findall("<script([^>]*)>", text).count("") == 1  # the page's own
    assert "alert(3)</script>" not in text and "alert(1)</script>" not in text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_in_coloured_cells_can_be_read(scheme):
    colours = {"light": page_style.LIGHT, "dark": page_style.DARK}[scheme]
    ink, ink5 = page_style.INK[scheme]
    pairs = [(colours[f"{kind}{i}"], ink5 if i == 5 else ink) for kind in "gl" for i in range(1, 6)]
    pairs += [(colours[back], colours[text]) for back in ("back", "band")
              for text in ("text", "soft", "link")]  # fmt: skip
    for back, text in pairs:
        light, dark = sorted((_luminance(back), _luminance(text)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (back, text)


def _luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def test_colours_go_by_sign_and_size():
    values = [-9, -0.4, -0.39, -0.011, -0.009, 0, 0.009, 0.05, 0.3, 2, np.nan]
    assert [colour(v) for v in values] == ["l5", "l5", "l4", "l1", "", "", "", "g2", "g4", "g5", ""]


def test_methods_tell_what_the_manifest_says():
    manifest = make_pages.evaluation(MODELS, TASKS, further=False)[1]
    text = methods(manifest)
    for words in (
        "3 embeddings, alphaearth (64 columns), tessera (64 columns) and geoclip (64 columns)",
        "ridge regression and multinomial logistic regression", "5 folds at random (seed 42)",
        "13 half-decades from 1e-4", "C from 0.001 and 0.01", "Intervals are of 95 %, in closed",
        "2,000 rows per task", "new rows on this map", "intersection–union", "jax 0.10.2",
    ):  # fmt: skip
        assert words in text, words
    given = {"split": "spatial", "block_km": 250.0, "buffer_km": 20.0, "seeds": 3, "folds": 10}
    manifest |= {"protocol": "paper", "swept": ["ridge_lambda"], "arguments": {
        **manifest["arguments"], **given, "interval": "refit", "bootstraps": 1200,
        "ridge_lambda": [1.0], "logistic_c": [1.0], "bootstrap_choices": "redo"}}  # fmt: skip
    text = methods(manifest)
    for words in (
        "10 folds as whole blocks of the map, some 250 km wide", "within 20 km", "seeds 42 to 44",
        "λ = 1 and C = 1", "every value of ridge_lambda", "1,200 bootstrap replicates",
        "penalties chosen anew", "Wilcoxon",
    ):  # fmt: skip
        assert words in text, words
    assert methods({"name": "x"}) and "eprint = {2605.18667}" in bibtex({})
    assert "version = {0.1.0}" in bibtex(manifest)


def test_the_policy_lets_no_script_run_but_the_pages_own(whole):
    policy = re.search('Content-Security-Policy" content="([^"]+)"', whole).group(1)
    assert "default-src 'none'" in policy and "script-src 'sha256-" in policy
    assert "unsafe-inline" not in policy.split("script-src")[1]


@pytest.mark.long
def test_a_page_of_ten_embeddings_and_twenty_tasks(tmp_path):
    models = [f"embedding_{i}" for i in range(10)]
    tasks = {f"task_{i}": "regression" if i % 4 else "classification" for i in range(20)}
    store.write_results(tmp_path, *make_pages.evaluation(models, tasks, folds=20))
    started = time.process_time()
    path = page.write_page(tmp_path)
    seconds, size = time.process_time() - started, path.stat().st_size / 1e6
    print(f"1,023 sets × 20 tasks: {size:.1f} MB, {seconds:.0f} s of CPU")
    assert size < 15 and seconds < 60
    text = path.read_text("utf-8")
    assert "The first 50 of 1,013." in text and len(rows_of(text, "s0-index")) == 50
