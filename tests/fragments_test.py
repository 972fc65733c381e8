"""What a notebook shows of results: the same numbers as the summary, escaped, without a script."""

from html.parser import HTMLParser

import drawn
import numpy as np
import pandas as pd
import pytest

from ecjax import Overlap, Result, ScaleResult
from ecjax.rounding import number

HOSTILE = drawn.HOSTILE[:3]


class Rows(HTMLParser):
    """Cells of every table row, and every tag."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.tags, self.inside = [], set(), False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.inside = self.inside or tag in ("td", "th")
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data):
        if self.inside:
            self.rows[-1][-1] += data


def make_results(models=drawn.MODELS, tasks=drawn.TASKS, **manifest):
    tables, manifest = (
        drawn.make_tables(models, tasks),
        drawn.make_manifest(models, tasks) | manifest,
    )
    kept = {key: tables[key] for key in ("scores", "index")}
    folds = tables["scores"].assign(seed=0, fold=0)
    result = Result(folds=folds, targets=tables["scores"].head(0), manifest=manifest, **kept)
    return result, Overlap(tables["overlap"], manifest), ScaleResult(tables["scale"], manifest)


def test_a_result_shows_its_index_with_stars():
    result, _, _ = make_results()
    head, singles, *rows = Rows(result._repr_html_()).rows
    assert head == ["set", *drawn.TASKS]
    assert singles[0] == "best single"
    found = {(row[0], task): text for row in rows for task, text in zip(drawn.TASKS, row[1:],
                                                                        strict=True)}  # fmt: skip
    expected = {
        (row.subset, row.task): number(row.eci, signed=True) + "*" * (row.p_better_adjusted < 0.05)
        for row in result.index.itertuples()
    }
    assert found == expected


def test_a_long_index_is_cut_and_says_so():
    result, _, _ = make_results([f"m{i}" for i in range(6)])
    text = result._repr_html_()
    assert len(Rows(text).rows) == 41
    assert "and 18 more" in text  # 57 sets and the best single


def test_settings_of_a_sweep_are_named_and_cut():
    tables = drawn.make_tables(tasks=("a",))
    swept = {key: pd.concat([tables[key].assign(ridge_lambda=float(i)) for i in range(5)])
             for key in ("scores", "index")}  # fmt: skip
    manifest = drawn.make_manifest(tasks=("a",)) | {"swept": ["ridge_lambda"]}
    folds = tables["scores"].assign(seed=0, fold=0)
    text = Result(folds=folds, targets=folds.head(0), manifest=manifest, **swept)._repr_html_()
    assert "ridge_lambda" in text and "2 more settings" in text
    assert text.count("<table>") == 3


def test_an_overlap_shows_its_matrix():
    _, overlap, _ = make_results()
    head, *rows = Rows(overlap._repr_html_()).rows
    assert head == ["", *drawn.MODELS]
    frame = overlap.overlap[overlap.overlap["measure"] == "cka_debiased"]
    for row in frame.itertuples():
        a, b = drawn.MODELS.index(row.model_a), drawn.MODELS.index(row.model_b)
        assert rows[a][b + 1] == rows[b][a + 1] == number(row.value)
    assert all(rows[i][i + 1] == "" for i in range(len(rows)))


def test_a_scale_shows_the_ranges_and_a_dash_where_there_is_none():
    _, _, scale = make_results()
    scale.scale.loc[0, "range_km"] = np.nan
    head, *rows = Rows(scale._repr_html_()).rows
    assert head == ["task", "target", "paper, km", "variogram, km"]
    values = scale.scale["range_km"].to_numpy().reshape(-1, 2)
    assert [row[2:] for row in rows] == [[number(v, 0) for v in pair] for pair in values]
    assert rows[0][2] == "-"


@pytest.mark.parametrize("which", range(3))
def test_hostile_names_are_escaped(which):
    text = make_results(HOSTILE, HOSTILE, name="<img src=x>")[which]._repr_html_()
    assert "<script" not in text and "<img" not in text
    assert "&lt;script&gt;" in text and "高分辨率地球嵌入" in text
    allowed = set("div p b bdi table thead tbody tr th td".split())
    assert Rows(text).tags <= allowed
