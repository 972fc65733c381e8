"""Tests of ecjax.digest, ecjax.report and ecjax.page: the numbers and names a reader sees."""

import itertools
import math
import re
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from ecjax import page, page_figures, report, report_files, store
from ecjax.digest import plain_name
from ecjax.errors import InputError

EMBEDDINGS = {"alphaearth": 64, "tessera": 128, "geoclip": 512}
SINGLES = {
    ("biomass", "r2"): {"alphaearth": 0.711, "tessera": 0.706, "geoclip": 0.31},
    ("crops", "accuracy"): {"alphaearth": 0.569, "tessera": 0.55, "geoclip": 0.588},
}
FUSED = {
    ("biomass", "r2"): {
        "alphaearth+tessera": 0.767, "alphaearth+geoclip": 0.637, "tessera+geoclip": 0.70,
        "alphaearth+tessera+geoclip": 0.75,
    },
    ("crops", "accuracy"): {
        "alphaearth+tessera": 0.5, "alphaearth+geoclip": 0.58, "tessera+geoclip": 0.57,
        "alphaearth+tessera+geoclip": 0.5879,
    },
}  # fmt: skip
OTHER_METRICS = {"biomass": ["mse"], "crops": ["balanced_accuracy", "log_loss"]}


@pytest.fixture(autouse=True)
def without_matplotlib(monkeypatch):
    """The page of an installation without it; that with figures is page_test's."""
    monkeypatch.setattr(page_figures, "ready", lambda: False)


def study(embeddings=EMBEDDINGS, singles=SINGLES, fused=FUSED):
    """Frames and manifest of a run of two tasks and three embeddings, as evaluate makes them."""
    scores, index, folds = [], [], []
    for (task, metric), alone in singles.items():
        together = fused[task, metric]
        for subset, score in {**alone, **together}.items():
            members = subset.split("+")
            for name in [metric, *OTHER_METRICS[task]]:
                value = score if name == metric else 1 - score
                scores.append(
                    {"task": task, "subset": subset, "n_models": len(members),
                     "dims": sum(embeddings[m] for m in members), "metric": name, "score": value,
                     "sem": 0.02, "seed_std": math.nan, "pooled": value - 0.01,
                     "score_low": math.nan, "score_high": math.nan, "n_rows": 4581, "reason": None}
                )  # fmt: skip
                for fold in range(20):
                    fit = {} if task == "biomass" else {"gradient_norm": 9e-6, "converged": True}
                    folds.append({"task": task, "subset": subset, "metric": name, "seed": 42,
                                  "fold": fold, "score": value, "n_train": 4352, "n_test": 229,
                                  **fit})  # fmt: skip
        for subset, score in together.items():
            best = max(subset.split("+"), key=alone.__getitem__)
            eci = (score - alone[best]) / (1 - alone[best])
            for name in [metric, *OTHER_METRICS[task]]:
                index.append(
                    {"task": task, "target": None, "subset": subset, "metric": name,
                     "score": score, "best_single": best, "best_single_share": math.nan,
                     "best_single_score": alone[best], "eci": eci, "eci_pooled": eci - 0.004,
                     "eci_low": math.nan, "eci_high": math.nan, "p_value": 0.01,
                     "p_adjusted": 0.002 if eci > 0 else 0.9,
                     "p_better_adjusted": 0.003 if eci > 0 else 0.9, "reason": None}
                )  # fmt: skip
    rows = {"scores": scores, "folds": folds, "index": index}
    tables = {name: pd.DataFrame(records) for name, records in rows.items()}
    manifest = {
        "name": "my-study", "protocol": "paper", "versions": {"ecjax": "0.1.0", "jax": "0.10.2"},
        "device": "cpu", "precision": "float64", "study": {"folds": 20},
        "arguments": {"folds": 20, "seeds": 1, "ridge_lambda": [1.0], "out": "/home/me/secret"},
        "swept": [], "notes": [],
        "tasks": {
            "biomass": {"kind": "regression", "rows": 4581, "targets": ["agb"], "classes": []},
            "crops": {"kind": "classification", "rows": 3596, "targets": ["label"],
                      "classes": ["maize", "rice"]},
        },
        "embeddings": dict(embeddings), "timings": {"total": 12.5}, "complete": True,
    }  # fmt: skip
    return tables, manifest


def renamed(names):
    """The study with its three embeddings under other names."""
    new = dict(zip(EMBEDDINGS, names, strict=True))

    def name(subset):
        return "+".join(new[member] for member in subset.split("+"))

    groups = [
        {
            key: {name(subset): score for subset, score in scores.items()}
            for key, scores in g.items()
        }
        for g in (SINGLES, FUSED)
    ]
    return study({new[k]: v for k, v in EMBEDDINGS.items()}, *groups)


def lines_of(tables, manifest, **options):
    text = report.summary(tables, manifest, **options)
    assert text.endswith("\n") and not re.search(r"[ \t]$", text, re.MULTILINE)
    return text.splitlines()


def test_summary_and_page_say_what_intervals_rest_on(tmp_path):
    tables, manifest = study()
    assert "independent" not in report.summary(tables, manifest)  # nothing is known of them
    manifest["arguments"] |= {"interval": "ratio", "confidence": 0.9}
    for task, count in (("biomass", 31), ("crops", 1)):
        manifest["tasks"][task] |= {"unit": "block", "units": count}
    says = "Intervals of 90 % by ratio; taken to be independent: 1 to 31 blocks of each task."
    assert says in report.summary(tables, manifest)
    store.write_results(tmp_path, tables, manifest)
    text = page.write_page(tmp_path).read_text("utf-8")
    assert says in unescape(re.sub("<[^>]+>", "", text))
    redone = {"interval": "refit", "bootstraps": 200, "bootstrap_choices": "redo"}
    manifest["arguments"] |= redone
    says = "Intervals of 90 % by refit (200 replicates, penalties chosen anew); taken"
    assert says in report.summary(tables, manifest)


def test_summary_of_a_study_line_by_line():
    lines = lines_of(*study(), width=110)
    assert lines == [
        "my-study: 2 tasks of 3,596 to 4,581 rows · 3 embeddings, 7 sets · protocol paper"
        " · 20 folds · 1 seed · cpu, float64",
        "",
        "index                          biomass      crops",
        "best single                 alphaearth    geoclip",
        "its score                        0.711      0.588",
        "metric                              r2   accuracy",
        "--------------------------------------------------",
        "alphaearth+tessera              +0.194*    -0.160",
        "alphaearth+geoclip              -0.256     -0.019",
        "tessera+geoclip                 -0.020     -0.044",
        "alphaearth+tessera+geoclip      +0.135*     0.000",
        "",
        "biomass  alphaearth+tessera: 0.767, closes 19 % of what alphaearth (0.711) left;"
        " significant (p = 0.002)",
        "crops    geoclip alone: 0.588; no set does better, the nearest is"
        " alphaearth+tessera+geoclip (0.588)",
        "",
        "Cells and sentences: eci, the share of what the set's best single leaves to a perfect"
        " score that fusing",
        "closes. 1: perfect; 0: no gain; negative: fusing hurts. *: adjusted p < 0.05. -:"
        " undefined. The p is",
        "p_better_adjusted under strict, p_adjusted under paper. Scores are means over folds.",
    ]


def test_every_cell_is_the_index_of_the_frame():
    tables, manifest = study()
    index = tables["index"]
    index["eci"] = np.linspace(-3, 0.9, len(index))
    index["p_adjusted"] = np.tile([0.049, 0.051], len(index) // 2)
    lines = lines_of(tables, manifest)
    rows = {line.split()[0]: line.split()[1:] for line in lines[7:11]}
    for column, (task, metric) in enumerate(SINGLES):
        chosen = index[(index["task"] == task) & (index["metric"] == metric)]
        for row in chosen.itertuples():
            star = "*" if row.p_adjusted < 0.05 else ""
            assert rows[row.subset][column] == f"{row.eci:+.3f}{star}"


def test_rows_follow_the_study_whatever_the_order_of_the_tables():
    tables, manifest = study()
    expected = report.summary(tables, manifest)
    for name in ("scores", "index"):
        tables[name] = tables[name].sort_values(["task", "subset"], ascending=False)
    assert report.summary(tables, manifest) == expected


def test_rows_of_single_targets_are_left_out():
    tables, manifest = study()
    expected = report.summary(tables, manifest)
    single = tables["index"].assign(target="one", eci=0.99)
    tables["index"] = pd.concat([tables["index"], single], ignore_index=True)
    assert report.summary(tables, manifest) == expected


def test_true_index_stands_beside_the_pooled_one():
    tables, manifest = study()
    tables["index"]["eci_true"] = tables["index"]["eci"] + 0.1
    text = report.summary(tables, manifest)
    # eci 0.19377, pooled 0.004 less, true 0.1 more
    assert re.search(r"alphaearth\+tessera +\+0\.19 \(\+0\.29\)\* +-0\.16 \(-0\.06\)", text)
    assert "eci_pooled (in brackets the true index)" in text
    # Sentences give the index of the cells, not that of the mean scores.
    tables["index"]["eci_pooled"] = tables["index"]["eci"] - 0.1
    text = report.summary(tables, manifest)
    assert "+0.09 (+0.29)*" in text and "alphaearth+tessera: 0.767, closes 9 %" in text


def test_under_strict_the_best_single_is_the_best_pooled_one():
    tables, manifest = study()
    scores = tables["scores"]
    better = (scores["subset"] == "tessera") & (scores["metric"] == "r2")
    scores.loc[better, "pooled"] = 0.72
    assert lines_of(tables, manifest)[3].split() == ["best", "single", "alphaearth", "geoclip"]
    manifest["protocol"] = "strict"
    lines = lines_of(tables, manifest)
    assert lines[3].split() == ["best", "single", "tessera", "geoclip"]
    assert lines[4].split() == ["its", "score", "0.720", "0.578"]
    # One single has three scores: pooled, of the folds' own choice, mean over folds.
    says = "pooled over all rows; that in brackets is of the singles that the folds chose"
    assert says in " ".join(lines)
    assert says in page.render(tables, manifest)


def test_stars_are_of_the_protocols_own_test():
    """The paper's test cannot reach 0.05 with five folds; under strict that of the intervals is
    asked."""
    tables, manifest = study()
    tables["index"]["p_adjusted"] = 0.053
    text = report.summary(tables, manifest)
    assert "0.194*" not in text and "not significant" in text
    manifest["protocol"] = "strict"
    text = report.summary(tables, manifest)
    assert "0.194*" in text and "not significant" not in text


def test_undefined_numbers_are_dashes_with_their_reason():
    tables, manifest = study()
    index, scores = tables["index"], tables["scores"]
    index.loc[index["task"] == "crops", ["score", "eci", "eci_pooled", "p_adjusted"]] = np.nan
    index.loc[index["task"] == "crops", "reason"] = "one class only"
    scores.loc[scores["task"] == "crops", "score"] = np.nan
    scores.loc[scores["task"] == "crops", "reason"] = "one class only"
    lines = lines_of(tables, manifest)
    assert "alphaearth+tessera              +0.194*         -" in lines
    assert "crops    no set has a score" in lines
    assert "  crops: no accuracy score for 7 of 7 sets: one class only" in lines
    assert not any("index for" in line for line in lines)  # follows from the missing scores


def test_an_index_undefined_for_its_own_reason_is_named():
    tables, manifest = study()
    perfect = tables["index"]["subset"] == "alphaearth+tessera"
    perfect &= tables["index"]["metric"] == "r2"
    tables["index"].loc[perfect, ["eci", "p_adjusted"]] = np.nan
    tables["index"].loc[perfect, "best_single_score"] = 1.0
    tables["index"].loc[perfect, "reason"] = "the best single is perfect"
    lines = lines_of(tables, manifest)
    assert "  biomass: no r2 index for 1 of 4 sets: the best single is perfect" in lines


def test_missing_scores_of_single_targets_are_named():
    tables, manifest = study()
    tables["targets"] = pd.DataFrame(
        {"task": "biomass", "target": ["a", "b", "b"], "subset": ["x", "x", "y"], "metric": "r2",
         "score": [0.1, np.nan, np.nan], "reason": [None, "constant target", "constant target"]}
    )  # fmt: skip
    lines = lines_of(tables, manifest)
    assert "  biomass: no r2 score for 1 of 2 targets: constant target" in lines


def test_choices_at_the_edge_of_the_grid():
    tables, manifest = study()
    folds = tables["folds"]
    folds["grid_edge"] = pd.array([None] * len(folds), "boolean")
    folds.loc[folds["task"] == "biomass", "grid_edge"] = False
    edge = (folds["task"] == "biomass") & (folds["fold"] < 3)
    edge &= folds["subset"].isin(["geoclip", "alphaearth"])
    folds.loc[edge, "grid_edge"] = True
    folds["chosen_ridge_lambda"] = np.where(edge, 4.352e5, 100.0)
    folds["chosen_logistic_c"] = np.nan
    says = "at an edge of the grid for 6 of 140 choices, of 2 sets (grid_edge in folds.parquet; "
    says += "--ridge_lambda takes a wider grid)"
    assert told(tables, manifest) == f"To know: biomass: λ = 4.4e+05 {says}"
    folds.loc[edge & (folds["fold"] == 0), "chosen_ridge_lambda"] = 0.4352  # the other end
    assert told(tables, manifest) == f"To know: biomass: λ = 0.44 to 4.4e+05 {says}"
    folds["chosen_ridge_lambda"] = np.nan  # each embedding has its own
    assert told(tables, manifest) == f"To know: biomass: λ of an embedding {says}"
    folds["chosen_logistic_c"] = 0.005
    by_loss = "chosen by log-loss; --logistic_c takes another grid, or one C"
    says = says.replace("--ridge_lambda takes a wider grid", by_loss)
    assert told(tables, manifest) == f"To know: biomass: C = 0.005 {says}"


def test_index_above_the_gain_over_any_one_model():
    """Real crops in blocks: each fold's single scored worse in it than one model for all."""
    singles = {("crops", "accuracy"): {"alphaearth": 0.35, "geoclip": 0.33, "tessera": 0.1}}
    fused = {("crops", "accuracy"): {"alphaearth+geoclip": 0.39, "geoclip+tessera": 0.34}}
    tables, manifest = study(singles=singles, fused=fused)
    tables["scores"]["pooled"] = tables["scores"]["score"]
    manifest["protocol"] = "strict"
    index = tables["index"]
    index["best_single_share"] = 1.0
    assert "To know" not in report.summary(tables, manifest)
    first = index["subset"] == "alphaearth+geoclip"
    index.loc[first, ["best_single_share", "best_single_score"]] = 0.8, 0.32
    index.loc[first, "eci"] = (0.39 - 0.32) / (1 - 0.32)
    text = " ".join(report.summary(tables, manifest, width=400).split())
    assert (
        "alphaearth+geoclip: 0.390, closes 10 % of what each fold's single (0.320; alphaearth in "
        "80 %) left, closes 6 % of what alphaearth alone (0.350) left"
    ) in text
    assert told(tables, manifest) == (
        "To know: crops: folds differ in the single they choose: the index of 1 of 2 sets is above "
        "the gain over the better single alone, of alphaearth+geoclip +0.062 over alphaearth "
        "(gains.parquet)"
    )
    # A single of each fold that is no worse than one for all: nothing to know.
    index.loc[first, "best_single_score"] = 0.35
    assert "To know" not in report.summary(tables, manifest)


def told(tables, manifest):
    """What there is to know, as one line."""
    text = report.summary(tables, manifest, width=400)
    return " ".join(text[text.index("To know") :].split())


def test_notes_and_unconverged_fits():
    tables, manifest = study()
    manifest["notes"] = [
        {"task": "biomass", "source": "alphaearth", "reason": "id absent", "count": 1234,
         "first": "10342"},
        {"task": "crops", "source": "task table", "reason": "few members", "count": 1, "first": ""},
    ]  # fmt: skip
    folds = tables["folds"]
    late = (folds["task"] == "crops") & (folds["fold"] < 2) & (folds["subset"] == "geoclip")
    folds.loc[late, "converged"] = False
    folds.loc[late, "gradient_norm"] = [2e-5, 3e-4] * 3  # three metrics of the same two fits
    lines = lines_of(tables, manifest)
    assert lines[-5:] == [
        "To know:",
        "  biomass, alphaearth: id absent: 1,234, first 10342",
        "  crops, task table: few members: 1",
        "  crops: 2 of 140 fits stopped above the tolerance (largest gradient norm 3.0e-04; see",
        "    folds.parquet)",
    ]
    assert report.summary(*study()).count("To know") == 0


def test_many_notes_are_counted():
    tables, manifest = study()
    note = {"task": "biomass", "source": "x", "reason": "constant column", "count": 1, "first": "c"}
    manifest["notes"] = [note] * 45
    lines = lines_of(tables, manifest)
    assert sum("constant column" in line for line in lines) == 30
    assert lines[-1] == "  and 15 more, see manifest.json and the tables"


def test_a_sweep_has_a_block_per_setting():
    base, manifest = study()
    tables = {}
    for name, frame in base.items():
        strong = frame.copy()
        if name == "index":
            strong["eci"] = strong["eci"] - 0.1
        if name == "scores":
            strong["score"] = strong["score"] - 0.1
        swept = [frame.assign(ridge_lambda=0.1), strong.assign(ridge_lambda=10.0)]
        tables[name] = pd.concat(swept, ignore_index=True)
    manifest["swept"] = ["ridge_lambda"]
    text = report.summary(tables, manifest)
    first, second = text.split("ridge_lambda = 10.0:")
    assert "ridge_lambda = 0.1:" in first
    assert "alphaearth+tessera              +0.194*    -0.160" in first
    assert "alphaearth+tessera              +0.094*    -0.260" in second
    assert re.search(r"its score +0\.611 +0\.488\n", second)
    html = page.render(tables, manifest)
    assert html.count("<svg") == 4
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(ids) == len(set(ids)) > 8


def test_a_setting_without_a_value_is_a_setting_of_its_own():
    tables, manifest = study()
    for frame in tables.values():
        frame["ridge_lambda"] = np.where(frame["task"] == "biomass", 1.0, np.nan)
    manifest["swept"] = ["ridge_lambda"]
    first, second = report.summary(tables, manifest).split("ridge_lambda = none:")
    assert "biomass" in first and "crops" not in first
    assert "crops" in second.split("Cells")[0] and "biomass" not in second


def many_models(count=6):
    """A regression study of all sets of many models; the score grows with the size of the set."""
    embeddings = {f"model{i}": 8 for i in range(count)}
    sets = [c for n in range(1, count + 1) for c in itertools.combinations(embeddings, n)]
    scores = {"+".join(c): 0.1 * len(c) + 0.001 * int(c[0][-1]) for c in sets}
    singles = {name: score for name, score in scores.items() if "+" not in name}
    fused = {name: score for name, score in scores.items() if "+" in name}
    return study(embeddings, {("biomass", "r2"): singles}, {("biomass", "r2"): fused})


def test_more_than_forty_sets_show_the_best_ten():
    lines = lines_of(*many_models(), width=120)
    assert lines[2].split() == ["biomass:", "best", "sets", "by", "r2", "score", "index"]
    assert lines[4].startswith("model5 (best single)") and "0.105" in lines[4]
    shown = [line for line in lines if line.startswith("model") and " over " in line]
    assert len(shown) == 10
    assert shown[0].split()[:2] == ["model0+model1+model2+model3+model4+model5", "0.600"]
    assert "and 47 more in index.parquet" in lines  # 63 sets, 6 of them singles, 10 shown
    html = page.render(*many_models())
    assert html.count("<rect") == 40 and "The 40 largest of 57." in html


def test_a_wide_table_is_cut_between_tasks():
    wide = lines_of(*study(), width=200)
    narrow = lines_of(*study(), width=45)
    assert sum(line.startswith("index ") for line in wide) == 1
    assert sum(line.startswith("index ") for line in narrow) == 2
    heads = [line.split()[1:] for line in narrow if line.startswith("index ")]
    assert heads == [["biomass"], ["crops"]]
    assert max(len(line) for line in narrow if not line.startswith("my-study")) <= 45


def test_hostile_and_long_names_on_the_terminal():
    long, hidden = "x" * 200, "a\x1b[31m\u202ered"
    tables, manifest = renamed(["<script>abcd", hidden, long])
    text = report.summary(tables, manifest)
    assert "\x1b" not in text and "\u202e" not in text
    assert "1=<script>abcd, 2=a\\x1b[31m\\u202ered, 3=" + "x" * 29 + "…" in text
    assert re.search(r"^1\+2 +\+0\.194\*", text, re.MULTILINE)
    assert "x" * 30 not in text
    assert plain_name("y" * 30) == "y" * 30


def test_wide_letters_keep_the_columns_aligned():
    lines = lines_of(*renamed(["地球", "tessera", "geoclip"]))
    cell = next(line for line in lines if line.startswith("地球+tessera"))
    other = next(line for line in lines if line.startswith("tessera+geoclip"))
    # each of the two letters takes two columns, so the text is two letters shorter
    assert cell.index("+0.194") + 2 == other.index("-0.020")


def test_colour_changes_nothing_but_codes():
    tables, manifest = study()
    plain = report.summary(tables, manifest)
    colored = report.summary(tables, manifest, color=True)
    assert "\x1b" not in plain
    assert "\x1b[1m    +0.194*\x1b[0m" in colored
    assert colored.count("\x1b[1m") == 2
    assert re.sub(r"\x1b\[\dm", "", colored) == plain


class Balanced(HTMLParser):
    """Collects texts and tags; fails where tags do not nest."""

    VOID = ("meta", "br", "wbr")
    EMPTY_SVG = ("line", "rect", "path")

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.texts, self.attributes = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in self.EMPTY_SVG, tag
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, tag

    def handle_data(self, data):
        self.texts.append(data)


def parsed(html):
    parser = Balanced()
    parser.feed(html)
    parser.close()
    assert not parser.open
    return parser


def test_page_is_one_file_that_needs_nothing(tmp_path):
    store.write_results(tmp_path, *study())
    path = page.write_page(tmp_path)
    assert path == tmp_path / "report.html"
    html = path.read_text(encoding="utf-8")
    parser = parsed(html)
    assert not re.search(r"(?i)https?:|//\w|@import|\burl\((?!#)", html.replace("URL", ""))
    assert not {"src", "xlink:href"} & {name for name, _ in parser.attributes}
    assert {value[0] for name, value in parser.attributes if name == "href"} == {"#"}
    assert not {"link", "img", "iframe"} & set(parser.tags)
    assert parser.tags.count("svg") == 2
    kinds = [value for name, value in parser.attributes if name == "type"]
    assert kinds == ["text/plain"] * 2  # scores and index, inert
    assert parser.tags.count("script") == 3
    assert "prefers-color-scheme: dark" in html and "@media print" in html
    assert "ecjax[plot]" in html
    assert "/home/me/secret" not in html


def test_page_shows_the_numbers_of_the_frames():
    tables, manifest = study()
    html = page.render(tables, manifest)
    texts = [text.strip() for text in parsed(html).texts]
    joined = " ".join("".join(parsed(html).texts).split())
    for needle in ("+0.194*", "+0.194", "+0.190", "0.767", "0.0020", "4,581", "0.10.2"):
        assert needle in joined, needle
    assert "alphaearth+tessera: 0.767, closes 19 % of what alphaearth (0.711) left" in joined
    assert texts.count("+0.194*") == 2  # the matrix and the picture
    # bars stand best first
    order = re.findall(r"<g><title>([^:]+): ", html)
    best_first = ["alphaearth+tessera", "alphaearth+tessera+geoclip", "tessera+geoclip",
                  "alphaearth+geoclip"]  # fmt: skip
    assert order[:4] == best_first
    assert re.findall(r'rect class="([^"]+)"', html)[:4] == [
        "gain", "gain", "loss pale", "loss pale",
    ]  # fmt: skip
    widths = [float(w) for w in re.findall(r'<rect [^>]*width="([\d.]+)"', html)[:4]]
    ratio = widths[0] / widths[3]
    assert ratio == pytest.approx(0.19377 / 0.25606, rel=0.01)


def test_page_describes_each_picture_in_words():
    html = page.render(*study())
    titles = re.findall(r'aria-labelledby="(\S+) (\S+)"', html)
    assert len(titles) == 2
    for title, words in titles:
        assert f'<title id="{title}">Complementarity index on ' in html
        text = re.search(f'<desc id="{words}">([^<]+)</desc>', html).group(1)
        assert "alphaearth+tessera" in text and "star" in text


def test_a_tiny_p_is_not_zero():
    tables, manifest = study()
    tables["index"]["p_adjusted"] = [3e-7, 0.9e-4, 1e-4, 0.002] * (len(tables["index"]) // 4)
    html = page.render(tables, manifest)
    shown = re.findall(r"<td>([^<]+)</td></tr>", html)
    # By metric within set: those of the primary ones are every second and every third.
    wanted = tables["index"].query("metric in ('r2', 'accuracy')")["p_adjusted"]
    told = {3e-7: "&lt; 0.0001", 0.9e-4: "&lt; 0.0001", 1e-4: "0.0001", 0.002: "0.0020"}
    assert sorted(shown) == sorted(told[p] for p in wanted)


def test_page_with_truth_without_index_and_with_extreme_values():
    tables, manifest = study()
    index = tables["index"]
    index["eci_true"] = index["eci"] + 0.1
    index.loc[index["subset"] == "tessera+geoclip", "eci_pooled"] = -50.0
    html = page.render(tables, manifest)
    parsed(html)
    assert html.count('class="true"') == 8 and "-50.00 (" in html
    xs = [float(x) for x in re.findall(r'<rect [^>]*\bx="([-\d.]+)"', html)]
    assert 0 <= min(xs) and max(xs) <= 760

    tables, manifest = study()
    tables["index"][["eci", "eci_pooled", "p_adjusted"]] = np.nan
    tables["index"]["reason"] = "constant target"
    html = page.render(tables, manifest)
    parsed(html)
    assert "<svg" not in html and "No index is defined: <bdi>constant target</bdi>." in html


def test_page_escapes_hostile_names():
    names = ["<script>alert(1)</script>", 'שלום"\u202e&', "x" * 200]
    tables, manifest = renamed(names)
    manifest["name"] = "</title><img src=x onerror=alert(1)>"
    manifest["versions"] = {"<b>": "</table>"}
    note = {"task": "<i>", "source": "<u>", "reason": "</ul>", "count": 1, "first": "<s>"}
    manifest["notes"] = [note]
    tables["index"]["reason"] = "<em>"
    html = page.render(tables, manifest)
    parser = parsed(html)
    assert parser.tags.count("script") == 1
    assert not {"img", "i", "u", "s", "em"} & set(parser.tags)
    assert "\u202e" not in html
    texts = "".join(parser.texts)
    assert "<script>alert(1)</script>" in texts and "x" * 200 in texts
    assert "<bdi>&lt;script&gt;alert(1)&lt;/script&gt;</bdi>" in html
    assert "שלום" in unescape(html)


def test_page_of_the_same_results_is_the_same(tmp_path):
    store.write_results(tmp_path, *study())
    first = page.write_page(tmp_path).read_bytes()
    assert page.write_page(tmp_path).read_bytes() == first
    assert "predictions" not in store.read_results(tmp_path)[0]


def test_summary_and_page_are_the_same_from_the_files(tmp_path):
    tables, manifest = study()
    store.write_results(tmp_path, tables, manifest)
    again = store.read_results(tmp_path)
    assert report.summary(*again) == report.summary(tables, manifest)
    files = {f"{name}.csv": (tmp_path / f"{name}.csv").read_bytes() for name in ("scores", "index")}
    text = page.write_page(tmp_path).read_text(encoding="utf-8")
    assert text == page.render(tables, manifest, files)


def test_page_refuses_what_is_not_whole(tmp_path):
    with pytest.raises(InputError, match="manifest.json"):
        page.write_page(tmp_path)
    assert list(tmp_path.iterdir()) == []


def with_rule(within, tables, manifest):
    """The study with the flags of biomass' sets, in the order of SINGLES and FUSED; r2 only."""
    scores = tables["scores"]
    rows = (scores["task"] == "biomass") & (scores["metric"] == "r2")
    scores["within_one_se"] = pd.array([None] * len(scores), dtype="boolean")
    scores.loc[rows, "within_one_se"] = within
    return tables, manifest


def test_the_smallest_set_within_one_error_of_the_best(tmp_path):
    tables, manifest = with_rule([False, True, False, True, False, False, True], *study())
    words = "tessera (0.706), within one standard error of alphaearth+tessera (0.767 ± 0.020)"
    heading = "The smallest set that does about as well as the best of all, by mean over folds:"
    text = report.summary(tables, manifest)
    assert f"{heading}\nbiomass  {words}\n" in text
    assert "crops" not in text[text.index(heading) :].splitlines()[2]  # it has no flag
    store.write_results(tmp_path, tables, manifest)  # nulls and flags come back as they went
    again, manifest = store.read_results(tmp_path)
    assert report.summary(again, manifest) == text
    page.write_page(tmp_path)
    html = unescape(re.sub("<[^>]*>", "", (tmp_path / report_files.PAGE).read_text("utf-8")))
    assert words in html


def test_fewer_columns_then_the_score_decide_between_sets_of_one_size():
    within = [True, True, True, True, False, False, True]
    assert "alphaearth (0.711), within" in report.summary(*with_rule(within, *study()))
    other = study({"alphaearth": 128, "tessera": 64, "geoclip": 512})
    assert "tessera (0.706), within" in report.summary(*with_rule(within, *other))
    same = study({"alphaearth": 64, "tessera": 64, "geoclip": 512})
    assert "alphaearth (0.711), within" in report.summary(*with_rule([True] * 7, *same))


def test_the_best_set_may_be_the_smallest_near_it():
    within = [False, False, False, True, False, False, False]
    text = report.summary(*with_rule(within, *study()))
    assert "alphaearth+tessera (0.767 ± 0.020), the best itself" in text


def test_the_transform_of_a_target_stands_at_its_metric(tmp_path):
    tables, manifest = study()
    manifest["tasks"]["biomass"]["transform"] = "<log1p>"
    assert "r2 (<log1p>)" in report.summary(tables, manifest)
    store.write_results(tmp_path, tables, manifest)
    text = page.write_page(tmp_path).read_text("utf-8")
    assert "r2 (&lt;log1p&gt;)" in text and "<log1p>" not in text
