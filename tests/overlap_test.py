"""`ecjax overlap` and `ecjax.overlap`: samples, the table, what is printed and refused."""

import json

import likeness
import make_tables
import numpy as np
import pandas as pd
import pytest
from quick import quickly_compiled
from scipy import stats

import ecjax
from ecjax import cli, overlap_correlation
from ecjax.align import align
from ecjax.rounding import number
from ecjax.study import read_study

SYMMETRIC = ("cka", "cka_debiased", "cca", "cca_centred", "cca_weighted", "rsa")
COLUMNS = "sample model_a model_b measure value low high n_rows reason".split()


@pytest.fixture
def embeddings():
    rng = np.random.default_rng(8)
    common = rng.normal(size=(60, 2))
    return {name: common @ rng.normal(size=(2, p)) + rng.normal(size=(60, p)) for name, p in SIZES}


SIZES = (("a", 4), ("b", 3), ("c", 3))


def by_measure(table, a, b):
    other = table["model_b"].isna() if b is None else table["model_b"] == b
    return table[(table["model_a"] == a) & other].set_index("measure")["value"]


def test_arrays_give_a_row_for_each_pair_and_measure(embeddings):
    result = ecjax.overlap(embeddings)
    table = result.overlap
    assert list(table) == COLUMNS and (table["sample"] == "rows").all()
    assert (table["n_rows"] == 60).all() and table["reason"].isna().all()
    assert len(table) == 3 + 3 * (len(SYMMETRIC) + 2)
    for name, x in embeddings.items():
        found = by_measure(table, name, None)
        assert found.index.tolist() == ["participation_ratio"]
        assert found.iloc[0] == pytest.approx(likeness.participation_ratio(x), rel=1e-10)
    found = by_measure(table, "a", "c")
    for measure, value in likeness.measures(embeddings["a"], embeddings["c"]).items():
        assert found[measure] == pytest.approx(value, abs=1e-10)
    assert by_measure(table, "c", "a").index.tolist() == ["r2"]
    assert by_measure(table, "c", "a")["r2"] != found["r2"]
    ends = table[["low", "value", "high"]].to_numpy()
    assert (np.diff(ends, axis=1) > 0).all()
    assert not result.undefined and "CKA, debiased" in str(result)


def test_a_wider_level_a_wider_interval_and_another_seed_another_dealing(embeddings):
    first = ecjax.overlap(embeddings).overlap
    wide = ecjax.overlap(embeddings, confidence=0.99).overlap
    assert ((wide["high"] - wide["low"]) > (first["high"] - first["low"])).all()
    other = ecjax.overlap(embeddings, seed=1).overlap
    same = other["measure"] != "r2"
    assert np.allclose(other["value"][same], first["value"][same], rtol=0, atol=1e-12)
    assert (other["low"] != first["low"]).all()


def test_rows_may_come_in_any_order(embeddings):
    ids = np.array([f"place {i}" for i in range(60)], object)
    order = np.random.default_rng(0).permutation(60)
    one = ecjax.overlap(embeddings, id=ids)
    two = ecjax.overlap({k: x[order] for k, x in embeddings.items()}, id=ids[order])
    pd.testing.assert_frame_equal(one.overlap, two.overlap, check_exact=True)


def test_samples_are_named_by_the_tasks_that_share_their_rows(embeddings):
    y = np.random.default_rng(1).normal(size=60)
    own = {name: x[:45] + 1 for name, x in embeddings.items()}
    tasks = {"u": y, "v": ecjax.Task(y[:45], embeddings=own), "w": y**2}
    table = ecjax.overlap(embeddings, tasks).overlap
    assert table.groupby("sample", sort=False)["n_rows"].first().to_dict() == {"u+w": 60, "v": 45}
    whole = ecjax.overlap(embeddings).overlap
    assert (table[table["sample"] == "u+w"]["value"].to_numpy() == whole["value"]).all()


def test_one_embedding_has_its_dimensions_alone(embeddings):
    table = ecjax.overlap({"a": embeddings["a"]}).overlap
    assert table["measure"].tolist() == ["participation_ratio"]


def test_what_is_undefined_is_null_with_a_reason(embeddings):
    flat = {"a": embeddings["a"], "b": np.full((60, 3), 0.1)}
    result = ecjax.overlap(flat)
    assert result.undefined
    null = result.overlap[result.overlap["value"].isna()]
    assert null["reason"].str.len().min() > 10 and null["low"].isna().all()
    assert set(null["measure"]) == {
        "participation_ratio", "r2", *SYMMETRIC
    }  # fmt: skip
    few = ecjax.overlap({k: x[:39] for k, x in embeddings.items()}).overlap
    r2 = few[few["measure"] == "r2"]
    assert r2["value"].isna().all() and r2["reason"].str.contains("fewer than 40 rows").all()


def test_wrong_arguments_and_input_are_told(embeddings):
    with pytest.raises(ecjax.InputError, match="different numbers of rows.*a 60, b 59"):
        ecjax.overlap({"a": embeddings["a"], "b": embeddings["b"][:59]})
    with pytest.raises(ecjax.InputError, match="one table under two names"):
        ecjax.overlap({"a": embeddings["a"], "b": embeddings["a"]})
    with pytest.raises(ecjax.InputError, match="at least one row"):
        ecjax.overlap({name: x[:0] for name, x in embeddings.items()})
    with pytest.raises(ecjax.InputError, match="dict such as"):
        ecjax.overlap(embeddings["a"])
    with pytest.raises(ecjax.UsageError, match="confidence"):
        ecjax.overlap(embeddings, confidence=95)
    with pytest.raises(ecjax.UsageError, match="leave out id"):
        ecjax.overlap(embeddings, {"t": np.zeros(60)}, id=np.arange(60))


@pytest.fixture(scope="module")
def planted():
    """Four embeddings of which some share more than others, tasks of two samples, and results."""
    rng = np.random.default_rng(8)
    common = rng.normal(size=(60, 4))
    x = {
        name: common @ rng.normal(size=(4, p)) + rng.normal(size=(60, p))
        for name, p in (*SIZES, ("d", 2))
    }
    y = pd.DataFrame(common[:, :2] + 0.3 * rng.normal(size=(60, 2)), columns=["one", "two"])
    own = {name: values[:45] for name, values in x.items()}
    few = ecjax.Task(common[:45, 3], embeddings=own)
    tasks = {"several": y, "few": few}
    with quickly_compiled():
        results = ecjax.evaluate(x, tasks, protocol="paper", folds=3)
    return x, tasks, results


@pytest.fixture(scope="module")
def correlated(planted):
    x, tasks, results = planted
    return ecjax.overlap(x, tasks, results=results)


def test_overlap_is_correlated_with_the_index_of_the_same_rows(planted, correlated):
    table = correlated.overlap_correlation
    assert list(correlated.tables) == ["overlap", "overlap_correlation"]
    keys = table[["task", "target"]].fillna("").drop_duplicates().to_numpy().tolist()
    targets = [["several", ""], ["several", "one"], ["several", "two"], ["few", ""]]
    assert keys == [*targets, ["", ""]] and (table["metric"] == "r2").all()
    index = planted[2].index
    index = index[index["target"].isna() & (index["metric"] == "r2")]
    for task in ("several", "few"):
        values = correlated.overlap[correlated.overlap["sample"] == task]
        values = values[values["measure"] == "rsa"]
        eci = index[index["task"] == task].set_index("subset")["eci"]
        own = eci[values["model_a"] + "+" + values["model_b"]]
        row = table[(table["task"] == task) & table["target"].isna()].set_index("measure")
        rho = stats.spearmanr(values["value"], own).statistic
        assert row.loc["rsa", "rho"] == pytest.approx(rho, abs=1e-12)


def test_the_text_tells_the_rho_of_all_tasks(correlated):
    text = str(correlated)
    assert "rho of overlap with the index" in text and "Mantel" in text
    table = correlated.overlap_correlation
    for row in table[table["task"].isna()].itertuples():
        line = next(one for one in text.splitlines() if one.startswith(f"{row.measure} "))
        assert line.split()[1:3] == [number(row.rho, signed=True), number(row.p_value)]
        assert line.split()[-2:] == ["6", "2"]
    assert max(map(len, text.splitlines())) <= 100


def test_why_a_rho_is_undefined_is_told_and_settings_apart(correlated):
    table = correlated.overlap_correlation
    table = table.assign(rho=np.nan, p_value=np.nan, p_adjusted=np.nan, reason="too few")
    swept = pd.concat([table.assign(folds=3), table.assign(folds=4)])
    manifest = correlated.manifest | {"results": {"swept": ["folds"]}}
    text = ecjax.Overlap(correlated.overlap, manifest, swept).as_text()
    assert "  cka, cka_debiased, cca, cca_centred, cca_weighted, rsa, r2: too few" in text
    assert all(f"rho of overlap with the index, folds = {k}" in text for k in (3, 4))


def test_results_of_other_rows_are_refused(planted):
    x, tasks, results = planted
    short = {name: rows[:50] for name, rows in x.items()}
    with pytest.raises(ecjax.InputError, match='results of task "several" are of other ids'):
        ecjax.overlap(short, {"several": tasks["several"][:50]}, results=results)
    with pytest.raises(ecjax.InputError, match="none of this study's tasks"):
        ecjax.overlap(x, results=results)


def run(*arguments):
    with quickly_compiled():
        return cli.main([str(a) for a in arguments])


def test_the_command_writes_prints_and_reports(tmp_path, capsys):
    study, out = make_tables.study(tmp_path, top='name = "mine"'), tmp_path / "out"
    assert run("overlap", study, f"--out={out}", "--confidence=0.9") == cli.DONE
    printed = capsys.readouterr()
    assert printed.err == "cpu, float64\n"
    assert "mine: overlap of 2 embeddings" in printed.out and "t: 60 rows" in printed.out
    assert {p.name for p in out.iterdir()} == {"overlap.parquet", "overlap.csv", "manifest.json"}
    table = pd.read_parquet(out / "overlap.parquet")
    wanted = ecjax.overlap(ecjax.read_study(study), confidence=0.9).overlap
    assert list(table) == COLUMNS
    assert (table["value"] == wanted["value"]).all() and (table["low"] == wanted["low"]).all()
    (task,) = align(read_study(study))
    found = by_measure(table, "a", "b")["cka"]
    plain = likeness.cka(*(x.astype(float) for x in task.embeddings.values()))
    assert found == pytest.approx(plain, abs=1e-10)
    assert f"{by_measure(table, 'a', 'b')['cka_debiased']:.3f}" in printed.out
    text = pd.read_csv(out / "overlap.csv")
    assert np.allclose(text["value"], table["value"], rtol=1e-15)
    manifest = json.loads((out / "manifest.json").read_text("utf-8"))
    assert manifest["complete"] and manifest["arguments"] == {"seed": 42, "confidence": 0.9}
    assert manifest["samples"] == {"t": {"rows": 60, "groups": 20}}
    assert run("report", out) == cli.DONE
    again, _, page = capsys.readouterr().out.rpartition("\nPage: ")
    assert again and again in printed.out and page == f"{out / 'report.html'}\n"
    assert '<section id="overlap">' in (out / "report.html").read_text("utf-8")
    first = (out / "overlap.parquet").read_bytes()
    assert run("overlap", study, f"--out={out}", "--confidence=0.9") == cli.DONE
    assert (out / "overlap.parquet").read_bytes() == first


def test_the_command_takes_results_and_writes_how_they_relate(tmp_path, capsys):
    study, out = make_tables.study(tmp_path), tmp_path / "out"
    results = f"--results={tmp_path / 'results'}"
    assert run("evaluate", study, f"--out={tmp_path / 'results'}", "--folds=3") == cli.DONE
    capsys.readouterr()
    assert run("overlap", study, f"--out={out}", results) == cli.DONE
    printed = capsys.readouterr().out
    assert f"r2: {overlap_correlation.NO_TASK}" in printed  # of two models
    table = pd.read_parquet(out / "overlap_correlation.parquet")
    assert list(table) == overlap_correlation.COLUMNS and len(table) == 2 * 7
    assert (table["reason"][:7] == overlap_correlation.FEW).all()
    assert len(pd.read_csv(out / "overlap_correlation.csv")) == len(table)
    manifest = json.loads((out / "manifest.json").read_text("utf-8"))
    assert manifest["results"]["protocol"] == "strict"
    assert run("report", out) == cli.DONE
    assert capsys.readouterr().out.split("\nPage:")[0] in printed
    # Without results, of the same study, the table goes.
    assert run("overlap", study, f"--out={out}") == cli.DONE
    assert not (out / "overlap_correlation.csv").exists()
    make_tables.write(make_tables.vectors(3, seed=5), tmp_path / "b.csv")
    assert run("overlap", study, f"--out={tmp_path / 'new'}", results) == cli.BAD_INPUT
    assert 'results of task "t" are of other ids' in capsys.readouterr().err
    assert run("overlap", study, f"--out={tmp_path / 'new'}", f"--results={out}") == cli.BAD_INPUT
    assert "holds no index, which `ecjax evaluate` writes" in capsys.readouterr().err


def test_the_command_refuses_another_studys_directory(tmp_path, capsys):
    study, out = make_tables.study(tmp_path), tmp_path / "out"
    assert run("overlap", study, f"--out={out}") == cli.DONE
    same = "--protocol=paper", "--folds=4"
    capsys.readouterr()
    assert run("evaluate", study, f"--out={out}", *same) == cli.BAD_INPUT
    assert (
        "holds the results of `ecjax overlap`, not of `ecjax evaluate`" in capsys.readouterr().err
    )
    make_tables.write(make_tables.vectors(3, seed=5), tmp_path / "b.csv")
    assert run("overlap", study, f"--out={out}") == cli.BAD_INPUT
    assert 'the data of task "t"' in capsys.readouterr().err


def test_the_command_exits_3_where_a_value_is_undefined(tmp_path, capsys):
    flat = make_tables.vectors(3)
    flat.iloc[:, 1:] = 0.5
    flat.iloc[:, 2] = 0.25
    make_tables.write(flat, tmp_path / "b.csv")
    study = make_tables.study(tmp_path)
    assert run("overlap", study, f"--out={tmp_path / 'out'}") == cli.UNDEFINED
    assert " -" in capsys.readouterr().out
