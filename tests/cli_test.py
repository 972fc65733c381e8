"""The command line from outside: what it prints, writes and returns."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pandas as pd
import pytest
from quick import OPTION, quickly_compiled
from watch import watched

from ecjax import cli, host, options
from ecjax.settings import Settings

N = 60


@pytest.fixture(scope="module", autouse=True)
def quick():
    with quickly_compiled():
        yield


@pytest.fixture
def study_folder(tmp_path):
    """A small study: two embeddings, a regression and a classification task."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(N, 5))
    ids = np.arange(100, 100 + N)
    for name, columns in {"alpha": slice(0, 3), "beta": slice(2, 5)}.items():
        table = pd.DataFrame(x[:, columns]).add_prefix("emb_")
        table.insert(0, "id", ids)
        table.to_parquet(tmp_path / f"{name}.parquet", index=False)
    y = x @ rng.normal(size=5) + 0.3 * rng.normal(size=N)
    land = np.where(y > 0.5, "forest", np.where(y < -0.5, "water", "grass"))
    pd.DataFrame({"id": ids, "height": y, "land": land}).to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "study.toml").write_text(
        """
[embeddings.alpha]
path = "alpha.parquet"
[embeddings.beta]
path = "beta.parquet"
[tasks.height]
path = "t.csv"
target = "height"
kind = "regression"
[tasks.land]
path = "t.csv"
target = "land"
kind = "classification"
""",
        encoding="utf-8",
    )
    return tmp_path


def edit(folder, old, new):
    """Changes the task table; asserts that there was something to change."""
    text = (folder / "t.csv").read_text()
    assert old in text
    (folder / "t.csv").write_text(text.replace(old, new))


def run(*arguments):
    return cli.main([str(a) for a in arguments])


def evaluate(folder, *flags, out="out"):
    """Under the protocol that is quick to compile; `strict` has tests of its own.

    All evaluations of the same tables do the same, so that one program serves them.
    """
    paths = folder / "study.toml", f"--out={folder / out}"
    same = "--protocol=paper", "--folds=4", "--seeds=2", "--predictions"
    return run("evaluate", *paths, *same, *flags)


def without_classes(folder):
    """Leaves the regression, for which other seeds and tables are compiled in no time."""
    text = (folder / "study.toml").read_text()
    (folder / "study.toml").write_text(text[: text.index("[tasks.land]")])


def test_evaluate_writes_tables_and_prints_the_index(study_folder, capsys):
    assert evaluate(study_folder) == cli.DONE
    printed = capsys.readouterr()
    assert "alpha+beta" in printed.out and "height" in printed.out
    assert printed.err.startswith("cpu")
    written = {path.name for path in (study_folder / "out").iterdir()}
    names = {"scores", "folds", "index", "targets", "gains", "shapley", "commonality"}
    names |= {"predictions", "points"}
    csv = names - {"folds", "predictions", "points"}
    assert written == (
        {f"{n}.parquet" for n in names}
        | {f"{n}.csv" for n in csv}
        | {"manifest.json", "progress.json", "cells"}
    )
    scores = pd.read_parquet(study_folder / "out" / "scores.parquet")
    assert len(scores) == 3 * (2 + 3)
    assert scores["score"].notna().all()


def test_refits_that_choose_anew(study_folder, capsys):
    text = (study_folder / "study.toml").read_text()
    (study_folder / "study.toml").write_text(text[: text.index("[tasks.land]")])
    refits = "--protocol=strict", "--interval=refit", "--bootstraps=20"
    ends = []
    for choices in ("keep", "redo"):
        given = *refits, f"--bootstrap_choices={choices}"
        assert evaluate(study_folder, *given) == cli.DONE
        assert ("(20 replicates, penalties chosen anew)" in capsys.readouterr().out) == (
            choices == "redo"
        )
        manifest = json.loads((study_folder / "out" / "manifest.json").read_text("utf-8"))
        assert manifest["arguments"]["bootstrap_choices"] == choices
        ends.append(pd.read_parquet(study_folder / "out" / "index.parquet")["eci_low"])
    assert (ends[0] != ends[1]).all()
    assert run("plan", study_folder / "study.toml", "--folds=4", *given) == cli.DONE
    assert "5 programs for 5 calls" in capsys.readouterr().out


def test_report_prints_the_same_summary_and_writes_a_page(study_folder, capsys):
    evaluate(study_folder)
    summary = capsys.readouterr().out.split("\nTables:")[0]
    assert run("report", study_folder / "out") == cli.DONE
    printed = capsys.readouterr()
    assert printed.out.split("\nPage:")[0] == summary and not printed.err
    assert "<svg" in (study_folder / "out" / "report.html").read_text()
    told = study_folder / "out" / "progress.json"
    told.write_text(told.read_text("utf-8").replace("done", "interrupted", 1), "utf-8")
    assert run("report", study_folder / "out") == cli.DONE
    assert "the last run is not done (interrupted, 1 of 1 cell," in capsys.readouterr().err


def test_evaluating_again_says_that_the_page_is_gone(study_folder, capsys):
    without_classes(study_folder)
    evaluate(study_folder)
    run("report", study_folder / "out")
    capsys.readouterr()
    assert evaluate(study_folder, "--predictions=false") == cli.DONE
    assert (
        "removed, because the earlier run's: predictions.parquet, "
        "points.parquet, report.html; `ecjax report" in (capsys.readouterr().err)
    )
    assert not (study_folder / "out" / "report.html").exists()


def test_validate_fits_nothing_and_tells_what_it_read(study_folder, capsys, monkeypatch):
    monkeypatch.setattr("ecjax.engine.study", None)
    assert run("validate", study_folder / "study.toml") == cli.DONE
    printed = capsys.readouterr().out
    assert "height" in printed and "land" in printed and "3 columns" in printed
    assert 'emb_0 … emb_2, id "id"' in printed and "without compiling" in printed
    assert max(map(len, printed.splitlines())) < 100


def test_validate_as_json(study_folder, capsys):
    flags = "--format=json", "--split=group", "--folds=4"
    assert run("validate", study_folder / "study.toml", flags[0]) == cli.DONE
    found = json.loads(capsys.readouterr().out)
    assert found["usable"] and found["errors"] == [] and found["path"] == "study.toml"
    assert [task["name"] for task in found["tasks"]] == ["height", "land"]
    assert found["needs"]["folds"] == [20] and found["needs"]["seconds"] > 0
    assert run("validate", study_folder / "study.toml", *flags) == cli.BAD_INPUT
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert not found["usable"] and found["needs"] is None and len(found["tasks"]) == 2
    assert 'task "height": --split=group needs' in found["errors"][0]
    assert found["errors"][0] in printed.err
    assert run("validate", study_folder / "study.toml", "--format=xml") == cli.USAGE
    assert "validate has text and json" in capsys.readouterr().err
    assert run("validate", study_folder / "none.toml", flags[0]) == cli.BAD_INPUT
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["path"] == "none.toml" and not found["usable"] and not found["tasks"]
    assert "no such file" in found["errors"][0] and found["errors"][0] in printed.err


def test_validate_tells_every_table_that_cannot_be_used(study_folder, capsys):
    (study_folder / "alpha.parquet").write_bytes(b"PAR1 and no more")
    table = pd.read_parquet(study_folder / "beta.parquet")
    table.assign(id=7).to_parquet(study_folder / "beta.parquet", index=False)
    edit(study_folder, "height", "tall")
    assert run("validate", study_folder / "study.toml") == cli.BAD_INPUT
    printed = capsys.readouterr()
    assert printed.out == "" and "ecjax: 3 errors:\n" in printed.err
    for words in ("alpha.parquet", '"7"', "unknown column for a target"):
        assert words in printed.err


def plan(folder, *flags):
    given = "--protocol=paper", "--folds=4", "--max_memory_gib=1"
    return run("plan", folder / "study.toml", *given, *flags)


PLAN = """\
study: what `ecjax evaluate` would take

sample       rows  columns  targets  classes  sets  gram  hat  folds  operations   time    memory
-------------------------------------------------------------------------------------------------
height+land    60        6        1        3     3     3    0      4       1.7e6  < 1 s  0.20 MiB

folds       4; 1 seed
sweep       none
operations  1.7e6
memory      up to 0.20 MiB in a call; the budget is 1.00 GiB
time        < 1 s on 2 cores of a 2.x GHz Xeon, without compiling; assumes 20 evaluations for each
            logistic fit, and may be four times as long, or a fifth
compiled    1 program for 1 call
"""


def test_plan_counts_and_compiles_nothing(study_folder, capsys, monkeypatch):
    monkeypatch.setattr(host, "available_cores", lambda: 2)
    with watched(monkeypatch) as seen:
        assert plan(study_folder) == cli.DONE
    assert seen.compiled == seen.executed == []
    printed = capsys.readouterr()
    assert printed.out == PLAN
    assert printed.err == "cpu, float64\n"
    assert {path.suffix for path in study_folder.iterdir()} == {".csv", ".parquet", ".toml"}


def test_plan_shows_the_sweep(study_folder, capsys):
    with (study_folder / "study.toml").open("a") as study:
        study.write("[sweep]\nridge_lambda = [0.1, 1, 10]\nseed = [0, 1]\n")
    assert plan(study_folder) == cli.DONE
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines if line.startswith("height")] == [
        ["height+land", "2", "60"], ["height", "4", "60"],
    ]  # fmt: skip
    assert "sweep       6 settings: ridge_lambda = 0.1, 1, 10; seed = 0, 1" in lines
    assert "compiled    2 programs for 6 calls; 6 cells with --out" in lines


def test_plan_fails_as_evaluate_would(study_folder, capsys):
    assert plan(study_folder, "--max_memory_gib=0.0000001") == cli.BAD_INPUT
    assert "raise --max_memory_gib" in capsys.readouterr().err
    assert plan(study_folder, "--folds=31") == cli.BAD_INPUT
    assert "use --folds=30" in capsys.readouterr().err
    assert plan(study_folder, "--require_platform=tpu") == cli.USAGE
    (study_folder / "beta.parquet").unlink()
    assert plan(study_folder) == cli.BAD_INPUT
    assert "beta.parquet" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, says",
    [
        ([], ""),
        (["evaluat"], "unknown command"),
        (["tasks", "x"], "`ecjax tasks"),
        (["compare", "x"], "DIR1 DIR2"),
        (["overlap", "s.toml"], "overlap needs --out=DIR"),
        (["overlap", "s.toml", "--out=o", "--folds=3"], "unknown flag --folds"),
        (["overlap", "s.toml", "--out=o", "--confidence=2"], "give a share such as 0.95"),
        (["plan"], "STUDY"),
        (["plan", "s.toml", "--folds=1"], "folds"),
        (["evaluate", "s.toml", "--out=o", "--protocol=paper", "--inner_folds=4"], "only"),
        (["evaluate", "s.toml", "--out=o", "--split=spatia"], "spatial, hash, column"),
        (["evaluate", "s.toml", "--out=o", "--block_km=50"], "block_km is for split=spatial"),
        (["plan", "s.toml", "--split=column", "--folds=20"], "the column says which there are"),
        (["plan", "s.toml", "--split=spatial", "--block_km=x"], "block_km=x: give a number"),
        (["evaluate", "s.toml", "--out=o", "--interval=bootstrap"], "give their number"),
        (["plan", "s.toml", "--bootstraps=x"], "bootstraps=x: give a whole number of at least 0"),
        (["plan", "s.toml", "--gflops=3"], "gib_per_s: wanted too"),
        (["plan", "s.toml", "--devices=0"], "devices=0: give a number above 0"),
        (["plan", "s.toml", "--passes=3"], "give 2, or 1"),
        (["plan", "s.toml", "--passes=1", "--predictions"], "made in the second pass"),
        (["plan", "s.toml", "--bootstrap_choices=redo"], "give --interval=refit --bootstraps=200"),
        (["plan", "s.toml", "--bootstrap_choices=new"], "accepted: keep, redo"),
        (["evaluate", "s.toml", "--out=o", "--interval=refit"], "as in bootstraps=200"),
        (["evaluate", "s.toml", "--out=o", "--precision=float16"], "unknown"),
        (["evaluate", "s.toml", "--out=o", "--fold=3"], "did you mean --folds?"),
        (["evaluate", "s.toml", "--out=o", "--quux"], "`ecjax evaluate --help` lists its flags"),
        (["evaluate", "s.toml", "--out=o", "--folds=x"], "folds=x: give a whole number of at "),
        (["evaluate", "s.toml", "--out=o", "--predictions=x"], "predictions=x: give true or false"),
        (["evaluate", "s.toml", "--out=o", "--max_memory_gib=x"], "max_memory_gib=x: give a num"),
        (["evaluate", "s.toml", "--out=o", "--folds=1"], "folds"),
        (["evaluate", "s.toml", "--out=o", "--ridge_lambda=a"], "numbers"),
        (["evaluate", "s.toml", "--out=o", "--ridge_lambda=-1"], "above 0"),
        (["evaluate", "s.toml"], "--out"),
        (["scale", "s.toml"], "scale needs --out"),
        (["scale", "s.toml", "--out=o", "--result=r"], "did you mean --results?"),
        (["scale", "--out=o"], "`ecjax scale STUDY [--flags]` is wanted"),
        (["evaluate", "--out=o"], "STUDY"),
    ],
)
def test_misuse_exits_1_and_says_what_to_do(arguments, says, capsys):
    assert cli.main(arguments) == cli.USAGE
    assert says in capsys.readouterr().err
    assert not os.path.exists("o")


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help_of_a_command_lists_its_flags(command, capsys):
    assert run(command, "--help") == cli.DONE
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0].startswith(f"usage: ecjax {command}") and max(map(len, lines)) <= 100
    assert "absl" not in printed.out and "undefok" not in printed.out and not printed.err
    flags = [line.split()[0].split("=")[0][2:] for line in lines if line.startswith("  --")]
    assert flags == list(options.COMMANDS[command].flags)
    asked = {field.name for field in dataclasses.fields(Settings)} - {"probe"}  # a function
    asked |= {"max_input_bytes"}  # of `read_study`
    if command == "plan":  # it is the same for every process
        asked -= {"profile", "shard", "coordinator", "num_processes", "process_id"}
    assert command not in ("plan", "evaluate") or set(flags) - {"out", *cli.OF_PLANS} == asked


def test_help_lists_the_commands(capsys):
    assert run("--help") == cli.DONE
    printed = capsys.readouterr().out
    assert "usage: ecjax COMMAND" in printed
    assert all(f"  ecjax {command} " in printed for command in cli.COMMANDS)
    assert list(cli.COMMANDS) == list(options.COMMANDS)
    assert run() == cli.USAGE
    assert capsys.readouterr().err == printed


def test_tasks_lists_public_label_sets(capsys):
    assert run("tasks") == cli.DONE
    printed = capsys.readouterr().out
    assert "bt-biomass" in printed and "`ecjax fetch --task=NAME`" in printed


@pytest.mark.parametrize("arguments", [["--help"], ["validate", "STUDY"], ["plan", "STUDY"]])
def test_a_reader_that_goes_is_no_error(study_folder, arguments):
    arguments = [study_folder / "study.toml" if a == "STUDY" else a for a in arguments]
    process = subprocess.Popen(
        [sys.executable, "-m", "ecjax", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.close()
    assert process.stderr.read() in ("", "cpu, float64\n")
    assert process.wait(60) == cli.DONE


def test_an_unknown_subset_is_misuse(study_folder, capsys):
    assert evaluate(study_folder, "--subsets=alpha+typo") == cli.USAGE
    assert 'holds "typo", which is no embedding of this study' in capsys.readouterr().err
    assert not (study_folder / "out").exists()


@pytest.mark.parametrize("platform, package", [("tpu", "jax[tpu]"), ("gpu", "jax[cuda12]")])
def test_required_platform_that_is_not_there(study_folder, capsys, platform, package):
    if jax.default_backend() == platform:
        pytest.skip(f"there is a {platform}")
    assert evaluate(study_folder, f"--require_platform={platform}") == cli.USAGE
    message = capsys.readouterr().err
    assert f"require_platform={platform}" in message
    assert f"install {package}, or leave require_platform out" in message
    assert not (study_folder / "out").exists()


def test_bad_input_exits_2_without_traceback_and_writes_nothing(study_folder, capsys):
    (study_folder / "beta.parquet").unlink()
    assert evaluate(study_folder) == cli.BAD_INPUT
    message = capsys.readouterr().err
    assert "beta.parquet" in message and "Traceback" not in message
    assert not (study_folder / "out").exists()


def test_row_30_constant_column_has_no_weight_and_is_reported(study_folder, capsys):
    tight = "--logistic_tolerance=1e-9"
    evaluate(study_folder, tight)
    before = pd.read_parquet(study_folder / "out" / "scores.parquet")
    table = pd.read_parquet(study_folder / "alpha.parquet")
    table["emb_3"] = 7.25
    table.to_parquet(study_folder / "alpha.parquet", index=False)
    evaluate(study_folder, tight, out="out2")
    printed = capsys.readouterr().out
    assert "alpha" in printed and "constant column: 1, first emb_3" in " ".join(printed.split())
    after = pd.read_parquet(study_folder / "out2" / "scores.parquet")
    # Logistic fits stop at a tolerance, and another width of the table moves where they do.
    fitted = (before["metric"] == "log_loss").to_numpy()
    for rows, rtol in ((~fitted, 1e-9), (fitted, 1e-6)):
        pd.testing.assert_series_equal(before["score"][rows], after["score"][rows], rtol=rtol)


def split_study(folder):
    """Adds places, a group and a column of folds to the tasks."""
    table = pd.read_csv(folder / "t.csv")
    rng = np.random.default_rng(0)
    table["lat"], table["lon"] = rng.uniform(-1, 1, (2, N)) + [[70], [179.5]]
    table["lon"] = np.where(table["lon"] > 180, table["lon"] - 360, table["lon"])
    table["country"] = rng.choice(["NA", "007", "7"], N)
    table["part"] = rng.choice(["train", "test"], N)
    table.to_csv(folder / "t.csv", index=False)
    keys = 'lat = "lat"\nlon = "lon"\ngroup = "country"\nsplit = "part"'
    text = (folder / "study.toml").read_text()
    (folder / "study.toml").write_text(text.replace('path = "t.csv"', f'path = "t.csv"\n{keys}'))
    return table


def test_splits_of_a_study(study_folder, capsys):
    table = split_study(study_folder)
    assert run("validate", study_folder / "study.toml") == cli.DONE
    assert 'lon "lon", group "country", split "part"' in capsys.readouterr().out
    text = (study_folder / "study.toml").read_text()
    (study_folder / "study.toml").write_text(text.split("[tasks.land]")[0])  # classes: splits_test
    command = ("evaluate", study_folder / "study.toml", "--subsets=alpha,beta", "--protocol=paper")
    tests = {
        "group": ("--folds=0", [(table["country"] == c).sum() for c in ("007", "7", "NA")]),
        "column": ("--seed=7", [(table["part"] == "test").sum()]),
        "stratified": ("--folds=4", None),
        "spatial": ("--folds=3", None),
    }
    for split, (flag, sizes) in tests.items():
        out = study_folder / split
        arguments = [*command, f"--out={out}", f"--split={split}", flag]
        if split == "stratified":  # a regression has no classes
            assert run(*arguments) == cli.USAGE
            assert 'task "height" is a regression' in capsys.readouterr().err
            continue
        if split == "spatial":
            arguments += ["--block_km=20", "--buffer_km=5"]
        assert run(*arguments) == cli.DONE
        folds = pd.read_parquet(out / "folds.parquet").drop_duplicates("fold")
        if sizes is not None:
            assert folds["n_test"].tolist() == sizes
        assert (folds["n_dropped"].max() > 0) == (split == "spatial")
        assert (folds[["n_train", "n_test", "n_dropped"]].sum(axis=1) == N).all()
        assert f"{split} fold" in capsys.readouterr().out


def test_scale_of_a_study_with_its_results(study_folder, capsys):
    split_study(study_folder)
    assert evaluate(study_folder) == cli.DONE
    study, results = study_folder / "study.toml", f"--results={study_folder / 'out'}"
    capsys.readouterr()
    # `height` has no range, because its rows are independent of each other, as are those of `land`.
    assert run("scale", study, f"--out={study_folder / 's'}", results) == cli.UNDEFINED
    printed = capsys.readouterr()
    assert printed.out.startswith("study: scale of 2 targets\n") and printed.err == "cpu, float64\n"
    assert "rho of the range with the index" in printed.out and "To know:" in printed.out
    tables = "scale", "scale_correlation", "scale_curve"
    names = {f"{name}.{ending}" for name in tables for ending in ("parquet", "csv")}
    assert {path.name for path in (study_folder / "s").iterdir()} == names | {"manifest.json"}
    correlated = pd.read_parquet(study_folder / "s" / "scale_correlation.parquet")
    assert set(correlated["subset"]) == {"alpha", "beta", "alpha+beta"}
    assert run("report", study_folder / "s") == cli.DONE
    assert "rho of the range with the index" in capsys.readouterr().out
    assert run("report", study_folder / "out", f"--with={study_folder / 's'}") == cli.DONE
    page = (study_folder / "out" / "report.html").read_text("utf-8")
    assert '<section id="scale">' in page and 'data-csv="scale.csv"' in page
    assert run("report", study_folder / "s", f"--with={study_folder / 's'}") == cli.BAD_INPUT
    assert "--with is for the page of `ecjax evaluate`" in capsys.readouterr().err
    # Other orders of rows give the same bytes.
    table = pd.read_csv(study_folder / "t.csv").sample(frac=1, random_state=1)
    table.to_csv(study_folder / "t.csv", index=False)
    assert run("scale", study, f"--out={study_folder / 's2'}") == cli.UNDEFINED
    first, second = (study_folder / d / "scale.parquet" for d in ("s", "s2"))
    assert first.read_bytes() == second.read_bytes()


def test_a_study_without_what_the_split_needs(study_folder, capsys):
    for flags in (["--split=spatial"], ["--split=group"], ["--split=group", "--folds=0"]):
        assert plan(study_folder, *flags) == cli.BAD_INPUT
        assert f'task "height": {flags[0]} needs' in capsys.readouterr().err
    table = split_study(study_folder)
    assert plan(study_folder, "--split=group") == cli.BAD_INPUT
    assert "3 groups for --folds=4; use --folds=3 or fewer, or --folds=0" in capsys.readouterr().err
    table.assign(part="val").to_csv(study_folder / "t.csv", index=False)
    assert run("validate", study_folder / "study.toml") == cli.BAD_INPUT
    assert 'split holds "val" in every row' in capsys.readouterr().err


def test_other_settings_in_the_directory_are_named(study_folder, capsys):
    """And nothing beside them: hashes of rows and folds change with the settings."""
    assert evaluate(study_folder) == cli.DONE
    changed = {
        "--split=hash": "split (there: random; now: hash)",
        "--protocol=strict --folds=5 --penalty=banded": "protocol (there: paper; now: strict), "
        "folds (there: 4; now: 5), penalty (there: shared; now: banded)",
    }
    for flags, says in changed.items():
        assert evaluate(study_folder, *flags.split()) == cli.BAD_INPUT
        message = capsys.readouterr().err
        assert f"the results of this study with other settings: {says}. Name another" in message


def test_more_seeds_extend_the_same_directory(study_folder):
    without_classes(study_folder)
    assert evaluate(study_folder, "--seeds=1", "--predictions=false") == cli.DONE
    assert evaluate(study_folder, "--ridge_lambda=1,10") == cli.DONE
    scores = pd.read_parquet(study_folder / "out" / "scores.parquet")
    assert set(scores["ridge_lambda"]) == {1.0, 10.0}
    assert scores["seed_std"].notna().all()


def test_shuffled_embedding_table_changes_no_byte(study_folder):
    evaluate(study_folder)
    names = ("scores.parquet", "folds.parquet", "index.parquet", "scores.csv")
    before = [(study_folder / "out" / name).read_bytes() for name in names]
    table = pd.read_parquet(study_folder / "beta.parquet").sample(frac=1, random_state=1)
    table.to_parquet(study_folder / "beta.parquet", index=False)
    evaluate(study_folder)
    assert [(study_folder / "out" / name).read_bytes() for name in names] == before


@pytest.mark.parametrize("stage", ["cpu, float64", "Finished XLA compilation of jit(study)"])
def test_interrupts_end_within_two_seconds_and_write_nothing(study_folder, stage, interruptible):
    """While the study program is traced and compiled, and while it runs."""
    rng = np.random.default_rng(0)
    rows, width = 3000, 200
    ids = np.arange(rows)
    for name in ("alpha", "beta"):
        table = pd.DataFrame(rng.normal(size=(rows, width))).add_prefix("emb_")
        table.insert(0, "id", ids)
        table.to_parquet(study_folder / f"{name}.parquet", index=False)
    height, land = rng.normal(size=rows), rng.choice(list("abcdefgh"), rows)
    pd.DataFrame({"id": ids, "height": height, "land": land}).to_csv(
        study_folder / "t.csv", index=False
    )
    command = [sys.executable, "-m", "ecjax", "evaluate", study_folder / "study.toml"]
    command += ["--protocol=paper"]
    process = subprocess.Popen(
        # Seeds enough for a minute of computing, so that it ends because it is told to.
        [*command, f"--out={study_folder / 'out'}", "--seeds=40"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"JAX_LOG_COMPILES": "1", OPTION.upper(): "1"},
    )
    for line in process.stderr:
        if stage in line:
            break
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    if process.poll() is None:  # the call is estimated to end soon
        process.send_signal(signal.SIGINT)
    started = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == cli.INTERRUPTED
    assert time.monotonic() - started < 2
    assert "interrupted" in errors and "Traceback" not in errors
    assert not list((study_folder / "out").glob("*.parquet"))
    assert not list((study_folder / "out" / "cells").glob("*.cell"))


def test_sigterm_keeps_the_cells_that_are_done_and_the_same_command_goes_on(study_folder):
    study = study_folder / "study.toml"
    text = study.read_text("utf-8").split("[tasks.land]")[0]
    values = ", ".join(f"{0.1 * i:.1f}" for i in range(1, 201))
    study.write_text(f"{text}\n[sweep]\nridge_lambda = [{values}]\n", encoding="utf-8")
    out = study_folder / "out"
    command = [sys.executable, "-m", "ecjax", "evaluate", study, f"--out={out}"]
    process = subprocess.Popen(
        [*command, "--protocol=paper"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {OPTION.upper(): "1"},
    )
    for line in process.stderr:
        if "cell 3/200" in line:
            break
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == cli.INTERRUPTED
    done = int(re.search(r"interrupted; ([0-9]+) of 200 cells are done and kept", errors)[1])
    assert 3 <= done < 200 and len(list((out / "cells").glob("*.cell"))) == done
    assert json.loads((out / "progress.json").read_text("utf-8"))["state"] == "interrupted"
    assert run("status", out) == cli.DONE
    assert run(*command[3:], "--protocol=paper") == cli.DONE
    assert run("status", out) == cli.DONE and run("compact", out) == cli.DONE
    assert len(pd.read_parquet(out / "scores.parquet")) == 200 * 3 * 2


def test_internal_errors_show_no_traceback(study_folder, capsys, monkeypatch):
    def broken(*_):
        raise RuntimeError("broken on purpose")

    monkeypatch.setitem(cli.COMMANDS, "report", broken)
    assert run("report", study_folder) == cli.USAGE
    message = capsys.readouterr().err
    assert "broken on purpose" in message and "Traceback" not in message
