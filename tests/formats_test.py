"""Tables for papers and figures as files: what they say, that names do no harm, what is replaced.

Numbers are read back from the texts and compared with the frames.
"""

import importlib.util
import itertools
import json
import math
import re

import numpy as np
import pandas as pd
import pytest

from ecjax import cli, figure_files, formats, layout, store
from ecjax.errors import InputError, UsageError
from ecjax.latex import escape as latex
from ecjax.markdown import escape as markdown
from ecjax.rounding import digits_of

HOSTILE = (
    "a_b", "50%", "$x$", r"\input{x}", "a|b", "*", "<script>", "`b`", "中文", "עברית", "[x]", "--",
    "~^#&", '"\'', r"\end{tabular}", "https://x.y", ":smile:", "@me", "![i](j)", "L" * 200,
)  # fmt: skip
MODELS = ("alpha", "a_b", "50%")
ENDED = re.compile(r" \\\\(\[-2pt\])?$")


def study(models=MODELS, tasks=("biomass", "crops"), protocol="strict", targets=(), seed=0):
    """Frames and manifest of a run, as evaluate makes them, with made-up numbers.

    The first task has the single targets, the last has classes.
    """
    rng = np.random.default_rng(seed)
    sizes = range(1, len(models) + 1)
    sets = ["+".join(c) for k in sizes for c in itertools.combinations(models, k)]
    columns = [(task, None) for task in tasks] + [(tasks[0], target) for target in targets]
    scores, index = [], []
    for (task, target), subset in itertools.product(columns, sets):
        metric = "accuracy" if task == tasks[-1] and len(tasks) > 1 else "r2"
        score, sem = rng.uniform(0.1, 0.9), 10 ** rng.uniform(-4, -1)
        members = subset.split("+")
        scores.append({"task": task, "target": target, "subset": subset, "n_models": len(members),
                       "dims": 9, "metric": metric, "score": score, "sem": sem,
                       "pooled": score, "score_low": score - sem, "score_high": score + sem,
                       "n_rows": 100, "reason": None})  # fmt: skip
        if len(members) > 1:
            eci, half = rng.normal(0, 0.3), 10 ** rng.uniform(-3, -0.5)
            index.append({"task": task, "target": target, "subset": subset, "metric": metric,
                          "score": score, "best_single": members[0], "best_single_share": math.nan,
                          "best_single_score": 0.1,
                          "eci": eci, "eci_pooled": eci + 0.001, "eci_low": eci - half,
                          "eci_high": eci + half, "p_adjusted": rng.uniform() ** 3,
                          "p_better_adjusted": rng.uniform() ** 3, "reason": None})  # fmt: skip
    scores = pd.DataFrame(scores)
    whole = scores["target"].isna()
    tables = {"scores": scores[whole].drop(columns="target"), "index": pd.DataFrame(index)}
    if targets:
        tables["targets"] = scores[~whole]
    if protocol == "strict":
        tables["index"]["eci"] = tables["index"]["eci_pooled"]
    manifest = {
        "name": "my-study", "protocol": protocol, "device": "cpu", "precision": "float64",
        "swept": [], "notes": [], "study": {"rows": {}}, "versions": {"ecjax": "0"},
        "arguments": {"confidence": 0.9, "interval": "ratio", "split": "random"},
        "tasks": {task: {"kind": "regression", "rows": 100} for task in tasks},
        "embeddings": dict.fromkeys(models, 3),
    }  # fmt: skip
    return tables, manifest


def tables_of(text):
    """Caption → rows of cells, of a LaTeX or a Markdown text; markup of names is kept."""
    found = {}
    if "\\begin{table}" in text:
        for part in text.split("\\begin{table}")[1:]:
            title = re.search(r"\\caption\[(.*?)\]\{", part).group(1)
            lines = [line for line in part.splitlines() if ENDED.search(line)]
            found[title] = [re.split(r"(?<!\\) ?& ", ENDED.sub("", line)) for line in lines]
        return found
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, rest = part.partition("\n")
        lines = [line for line in rest.splitlines() if line.startswith("| ")]
        rows = [re.split(r" \| ", line[2:-2]) for line in lines]
        found[title] = [rows[0], *rows[2:]]  # the second is of dashes
    return found


def numbers(cell):
    """What a cell says: its numbers in their order, whether it is bold, whether starred."""
    bold = "**" in cell or r"\mathbf" in cell
    starred = r"\*" in cell or "^{*}" in cell
    return [float(n) for n in re.findall(r"[+-]?\d+\.\d+", cell)], bold, starred


def rows_of(table):
    """Set → cells, the intervals of LaTeX joined to the line above them."""
    rows = {}
    for label, *cells in table[2:]:
        if label.strip():
            name, rows[label] = label, cells
        else:
            rows[name] = [a + b for a, b in zip(rows[name], cells, strict=True)]
    return rows


@pytest.mark.parametrize("name", ["latex", "markdown"])
@pytest.mark.parametrize("protocol", ["strict", "paper"])
def test_tables_say_what_the_frames_say(name, protocol):
    tables, manifest = study(protocol=protocol, targets=("water", "trees"))
    text = formats.render(tables, manifest, name)
    escape = {"latex": latex, "markdown": markdown}[name]
    found = {title: rows_of(table) for title, table in tables_of(text).items()}
    assert len(found) == (4 if protocol == "strict" else 6)
    for title, rows in found.items():
        of_scores = title.startswith("Scores")
        single = "single targets" in title
        columns = [("biomass", t) for t in ("water", "trees")] if single else None
        columns = columns or [("biomass", None), ("crops", None)]
        pooled = protocol == "strict" or "pooled" in title
        for place, (task, target) in enumerate(columns):
            frame = tables["targets" if single else "scores"] if of_scores else tables["index"]
            own = frame[frame["task"] == task]
            if "target" in own:
                own = own[own["target"].isna() if target is None else own["target"] == target]
            value = "score" if of_scores else "eci_pooled" if pooled else "eci"
            best = own[value].max()
            assert len(rows) == len(own)
            for row in own.to_dict("records"):
                said, bold, starred = numbers(rows[escape(row["subset"])][place])
                assert bold == (row[value] == best)
                if of_scores:
                    digits = digits_of(row["sem"])
                    expected = [row[value], row["sem"]]
                    assert not starred
                else:
                    ends = [row["eci_low"], row["eci_high"]] if pooled else []
                    digits = digits_of((ends[1] - ends[0]) / 2) if pooled else 3
                    expected = [row[value], *ends]
                    p = row["p_better_adjusted" if pooled else "p_adjusted"]
                    assert starred == (p < 0.05)
                assert said == [round(number, digits) for number in expected]


def test_latex_and_markdown_say_the_same():
    tables, manifest = study(tasks=("biomass", "soil", "crops"))
    texts = [tables_of(formats.render(tables, manifest, f)) for f in ("latex", "markdown")]
    first, second = ([rows_of(table) for table in of.values()] for of in texts)
    assert len(first) == len(second) == 2
    for one, two in zip(first, second, strict=True):
        for cells, others in zip(one.values(), two.values(), strict=True):
            assert list(map(numbers, cells)) == list(map(numbers, others))


def test_captions_say_what_the_numbers_are():
    strict = [sheet.caption for sheet in layout.sheets(*study())]
    assert "Mean score over folds ± its standard error" in strict[0]
    assert "its 90 % interval (kind: ratio)" in strict[1]
    assert "intersection-union" in strict[1] and "Benjamini and Hochberg over sets" in strict[1]
    paper = layout.sheets(*study(protocol="paper"))
    assert [sheet.title for sheet in paper][1:] == [
        "Complementarity index", "Complementarity index of pooled losses",
    ]  # fmt: skip
    assert "Wilcoxon" in paper[1].caption and "interval" not in paper[1].caption
    assert "p_better_adjusted" in paper[2].caption
    text = formats.render(*study(), "latex")
    assert "protocol strict" in text and "\\usepackage" not in text.replace("% ", "").split("\n")


def test_what_is_undefined_is_a_dash():
    tables, manifest = study()
    tables["scores"].loc[0, ["score", "sem"]] = math.nan
    tables["index"].loc[0, ["eci", "eci_pooled", "eci_low", "eci_high", "p_better_adjusted"]] = (
        math.nan
    )
    assert "| alpha | - |" in formats.render(tables, manifest, "markdown")
    assert "alpha & -- &" in formats.render(tables, manifest, "latex")
    caption = layout.sheets(tables, manifest)[1].caption
    assert "-: undefined, index.csv tells why." in caption
    tables["scores"].loc[1, "sem"] = math.nan
    value = tables["scores"].loc[1, "score"]
    assert f"| a\\_b | {value:.3f} |" in formats.render(tables, manifest, "markdown")


def test_every_swept_setting_has_its_tables():
    tables, manifest = study()
    both = {
        name: pd.concat([frame.assign(ridge_lambda=k) for k in (1.0, 10.0)], ignore_index=True)
        for name, frame in tables.items()
    }
    both["scores"].loc[both["scores"]["ridge_lambda"] == 10, "score"] /= 2
    manifest["swept"] = ["ridge_lambda"]
    sheets = layout.sheets(both, manifest)
    assert [sheet.title for sheet in sheets] == [
        f"{what}, ridge_lambda = {k}" for k in (1.0, 10.0)
        for what in ("Scores", "Complementarity index")
    ]  # fmt: skip
    assert sheets[0].rows != sheets[2].rows and sheets[1].rows == sheets[3].rows


def test_many_sets_are_cut_to_the_best_and_counted():
    models = [f"m{i}" for i in range(7)]
    tables, manifest = study(models, ("a", "b", "c"))
    scores, index = layout.sheets(tables, manifest)
    assert len(scores.rows) == 7 + layout.SETS and scores.singles == 7
    assert len(index.rows) == layout.SETS and index.singles == 0
    left = 2**7 - 1 - 7 - layout.SETS
    assert f"{left} more are in scores.csv" in scores.more
    assert f"{left} more are in index.csv" in index.more
    for sheet in (scores, index):  # the best of every column is among them
        for place in range(3):
            assert sum(row[place].best for _, row in sheet.rows) == 1
    for name in ("latex", "markdown"):
        text = formats.render(tables, manifest, name)
        assert f"{left} more are in index.csv" in text
        assert name == "markdown" or max(map(len, tables_of(text).values())) <= 2 + 36


def test_wide_tables_are_dealt_to_several():
    tasks = [f"task {i}" for i in range(20)]
    sheets = layout.sheets(*study(tasks=tasks))
    scores = [sheet for sheet in sheets if sheet.title == "Scores"]
    assert [head for sheet in scores for head, _ in sheet.columns] == tasks
    assert max(len(sheet.columns) for sheet in scores) <= layout.COLUMNS
    narrow = layout.sheets(*study(tasks=["x" * 40 + str(i) for i in range(8)]))
    heads = [head for sheet in narrow for head, _ in sheet.columns if sheet.title == "Scores"]
    assert len(set(heads)) == 8  # cut, but told apart
    assert max(len(sheet.columns) for sheet in narrow) < 8


def braces(text):
    """Depth at the end, and the least on the way, of what TeX takes for braces."""
    bare = re.sub(r"\\[{}\\]", "", re.sub(r"(?<!\\)%.*", "", text))
    steps = [{"{": 1, "}": -1}[c] for c in bare if c in "{}"]
    depth = list(itertools.accumulate(steps, initial=0))
    return depth[-1], min(depth)


def test_hostile_names_are_harmless_in_latex():
    text = formats.render(*study(HOSTILE[:7], HOSTILE), "latex")
    assert braces(text) == (0, 0)
    body = re.sub(r"(?m)^%.*$", "", text)
    commands = set(re.findall(r"\\([A-Za-z]+)", body))
    assert "input" not in commands and "script" not in commands
    ends = re.findall(r"\\end\{(\w+)\}", body)
    assert ends == ["tabular", "table"] * (len(ends) // 2) and len(ends) > 4
    columns = {len(row) for table in tables_of(text).values() for row in table}
    assert max(columns) <= layout.COLUMNS + 1
    # After the end of a row, TeX would take a star or a bracket for an argument of it.
    text += formats.render(*study(("*", "[x]", "]")), "latex")
    assert "{[}x{]}+{]} &" in text and "{*} &" in text
    assert not re.search(r"\\\\(\[-2pt\])?\n[*\[]", text)
    for special in "$%#_&":
        assert not re.search(rf"(?<!\\){re.escape(special)}", latex(f"a{special}b"))
    assert latex("中文é") == r"\ecjaxletters{中文}{4E2D 6587}é"
    assert latex("a--b") == "a-{}-b" and latex(r"\x") == r"\textbackslash{}x"


def test_hostile_names_are_harmless_in_markdown():
    text = formats.render(*study(HOSTILE[:7], HOSTILE), "markdown")
    for table in text.split("\n## ")[1:]:
        lines = [line for line in table.splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert "<" not in text and ">" not in text
    for name in HOSTILE:
        shown = re.sub(r"\\(.)", r"\1", markdown(name))  # what a reader sees
        for entity, letter in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
            shown = shown.replace(entity, letter)
        assert shown == name
    for name, special in (("`b`", "`"), ("*", "*"), ("a_b", "_"), ("[x]", "["), ("$x$", "$")):
        assert not re.search(rf"(?<!\\){re.escape(special)}", markdown(name))
    assert markdown("https://x.y") == r"https\://x.y" and markdown("p: q") == "p: q"
    assert markdown(layout.label("עברית")) == "&#8296;עברית&#8297;"


def written(tmp_path, **changes):
    """A directory of results of `study`, with gains and Shapley values."""
    tables, manifest = study(**changes)
    index = tables["index"]
    manifest["tasks"] = {
        k: v | {"targets": ["y"], "classes": []} for k, v in manifest["tasks"].items()
    }
    tables["gains"] = index.assign(over=index["best_single"], score_difference=0.1)
    store.write_results(tmp_path, tables, manifest)
    return tables, manifest


def report(folder, name):
    return cli.main(["report", str(folder), f"--format={name}"])


def test_command_writes_tables_and_says_where(tmp_path, capsys):
    written(tmp_path)
    for name, file in (("latex", "tables.tex"), ("markdown", "tables.md")):
        assert report(tmp_path, name) == cli.DONE
        assert capsys.readouterr().out == f"{tmp_path / file}\n"
        tables, manifest = store.read_results(tmp_path)
        assert (tmp_path / file).read_text("utf-8") == formats.render(tables, manifest, name)
    assert report(tmp_path, "word") == cli.USAGE
    assert "html, latex, markdown, png, pdf" in capsys.readouterr().err
    assert report(tmp_path / "none", "latex") == cli.BAD_INPUT


def test_names_of_figures_are_safe_and_unique():
    taken = set()
    names = [figure_files._free(figure_files._safe((task, "scores")), taken) for task in HOSTILE]
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", name) for name in names)
    assert len({name.casefold() for name in names}) == len(HOSTILE)
    assert figure_files._safe(("../../etc", "map")) == "etc-map"
    assert max(map(len, names)) < 60
    assert [figure_files._free(name, taken) for name in ("Y", "y", "y")] == ["Y", "y-2", "y-3"]


def test_figures_need_the_extra(tmp_path, monkeypatch, capsys):
    written(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert report(tmp_path, "png") == cli.USAGE
    assert "pip install 'ecjax[plot]'" in capsys.readouterr().err
    assert report(tmp_path, "latex") == cli.DONE and not (tmp_path / "figures").exists()


@pytest.mark.parametrize("ending, start", [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_figures_are_files_of_their_own(tmp_path, capsys, ending, start):
    pytest.importorskip("matplotlib")
    written(tmp_path, tasks=("<b>/x", "中文"))
    assert report(tmp_path, ending) == cli.DONE
    paths = [tmp_path / "figures" / line for line in capsys.readouterr().out.splitlines()]
    assert [path.name for path in paths] == [
        f"{name}.{ending}"
        for name in ("index", "b-x-scores", "b-x-gains", "unnamed-scores", "unnamed-gains")
    ]
    contents = [path.read_bytes() for path in paths]
    assert all(content.startswith(start) for content in contents)
    listed = json.loads((tmp_path / "figures" / "figures.json").read_text("utf-8"))
    assert listed[f"unnamed-scores.{ending}"] == "scores of the sets of 中文"
    assert report(tmp_path, ending) == cli.DONE
    assert [path.read_bytes() for path in paths] == contents


def test_directories_without_figures_are_refused(tmp_path):
    pytest.importorskip("matplotlib")
    store.write_results(tmp_path, {"comparison": pd.DataFrame({"task": ["a"]})}, {"study": {}})
    with pytest.raises(InputError, match="no table that there is a figure of"):
        formats.write(tmp_path, "png")
    with pytest.raises(UsageError, match="unknown"):
        formats.check_format("")
