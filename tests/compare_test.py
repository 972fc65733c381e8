"""What differs between two runs: settings, rows, numbers, and the tests that rows allow."""

import dataclasses
import json

import numpy as np
import pytest
from quick import quickly_compiled
from scipy import stats

import ecjax
from ecjax import cli, paired, store
from ecjax.compare_tests import OTHER_FOLDS, UNKNOWN
from ecjax.encode import arrow_table

N = 80
PRIMARY = ("r2", "accuracy")


@pytest.fixture(scope="module", autouse=True)
def quick():
    with quickly_compiled():
        yield


def world(n=N, seed=3):
    """Two embeddings, and tasks of one target and of two."""
    rng = np.random.default_rng(seed)
    x = {"alpha": rng.normal(size=(n, 3)), "be|ta": rng.normal(size=(n, 2))}
    signal = x["alpha"][:, 0] + x["be|ta"][:, 0]
    height = signal + rng.normal(size=n)
    soil = signal[:, None] * [1, 0.4] + rng.normal(size=(n, 2))
    return x, {"height": height, "soil": soil}


def evaluate(x, tasks, **arguments):
    return ecjax.evaluate(x, tasks, **{"folds": 6, "protocol": "paper", **arguments})


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Directories of the same study by several settings."""
    out = tmp_path_factory.mktemp("runs")
    x, tasks = world()
    better = {**x, "alpha": x["alpha"].copy()}
    better["alpha"][:, 2] = tasks["height"] + 0.4 * np.random.default_rng(9).normal(size=N)
    settings = {
        "plain": (x, {}),
        "seed": (x, {"seed": 7}),
        "strict": (x, {"protocol": "strict"}),
        "rows": (x, {"predictions": True}),
        "rows seed": (x, {"predictions": True, "seed": 7}),
        "better": (better, {"predictions": True}),
        "better folds": (better, {}),
        "sweep": (x, {"ridge_lambda": [1.0, 30.0]}),
    }
    for name, (embeddings, arguments) in settings.items():
        evaluate(embeddings, tasks, out=out / name, **arguments)
    return out


def primary(found):
    """Rows of whole tasks and primary metrics that both runs have."""
    table = found.comparison
    whole = table["target"].isna() & table["metric"].isin(PRIMARY) & (table["present"] == "both")
    return table[whole]


def test_rounding_is_no_finding():
    rng = np.random.default_rng(0)
    losses, scores = rng.uniform(1, 2, 300), rng.uniform(0.2, 0.3, (2, 20))
    noise = 1e-13 * (1 + rng.uniform(size=300))
    found = paired.by_rows(losses, losses * (1 + noise), "r2", None, 3, 0.95)
    assert np.isnan(found.p_value) and found.reason == paired.NO_DIFFERENCE
    assert paired.by_rows(losses, losses * (1 + 1e6 * noise), "r2", None, 3, 0.95).p_value < 1e-9
    assert all(np.isnan(one.p_value) for one in paired.by_folds(scores, scores + 1e-14))


def test_a_run_is_identical_to_itself(runs):
    found = ecjax.compare(runs / "rows", runs / "rows")
    assert found.identical and set(found.manifest["tables"].values()) == {"bytes"}
    table = found.comparison
    assert (table["present"] == "both").all()
    changes = [name for name in table.columns if name.endswith("_difference")]
    assert not table[[n for n in changes if n != "tested_difference"]].fillna(0).any(axis=None)
    assert table["p_value"].isna().all() and table["reason"].notna().all()
    text = found.as_text()
    assert "every number in them is the same" in text and "significant" not in text
    assert "No setting and no version differs." in text


def test_equal_numbers_in_other_files_are_said_to_be_equal(runs, tmp_path):
    tables, manifest = store.read_results(runs / "plain")
    # Another writer: the same numbers in other bytes.
    shuffled = {name: frame.copy() for name, frame in tables.items()}
    store.write_results(tmp_path / "same", shuffled, manifest)
    path = tmp_path / "same" / "scores.parquet"
    tables["scores"].to_parquet(path, compression="none", index=False)
    listed = json.loads((tmp_path / "same" / "manifest.json").read_text("utf-8"))
    listed["files"]["scores.parquet"] = store.sync_and_hash(path)
    (tmp_path / "same" / "manifest.json").write_text(json.dumps(listed), "utf-8")
    found = ecjax.compare(runs / "plain", tmp_path / "same")
    assert found.manifest["tables"]["scores"] == "numbers"
    assert found.manifest["tables"]["index"] == "bytes" and found.identical


def test_numbers_are_those_of_the_tables(runs):
    found = ecjax.compare(runs / "plain", runs / "strict").comparison
    key = ["task", "metric", "subset"]
    for word, name in (("first", "plain"), ("second", "strict")):
        tables, _ = store.read_results(runs / name)
        whole = found[found["target"].isna()].set_index(key)
        for of, columns in (("scores", ("score", "pooled")), ("index", ("eci", "eci_pooled"))):
            frame = tables[of]
            frame = (frame if of == "scores" else frame[frame["target"].isna()]).set_index(key)
            for column in columns:
                np.testing.assert_array_equal(whole[f"{column}_{word}"][frame.index], frame[column])
        single = found[found["target"].notna()].set_index([*key, "target"])
        of_targets = tables["targets"].set_index([*key, "target"])
        assert len(single) == len(of_targets)
        np.testing.assert_array_equal(
            single[f"score_{word}"][of_targets.index], of_targets["score"]
        )
    np.testing.assert_array_equal(
        found["score_difference"], found["score_second"] - found["score_first"]
    )


def test_folds_of_another_seed_allow_no_test_by_folds(runs):
    found = ecjax.compare(runs / "plain", runs / "seed")
    assert found.manifest["rows"] == {"height": "", "soil": ""}
    whole = primary(found)
    assert (whole["reason"] == OTHER_FOLDS).all() and whole["p_value"].isna().all()
    assert "seed (first: 42; second: 7)" in found.as_text()


def test_the_test_by_folds_is_the_two_sided_one_of_the_same_folds(runs):
    found = primary(ecjax.compare(runs / "plain", runs / "better folds"))
    folds = [store.read_results(runs / n)[0]["folds"] for n in ("plain", "better folds")]
    row = found[(found["task"] == "height") & (found["subset"] == "alpha")].iloc[0]
    scores = [
        of[(of["task"] == "height") & (of["metric"] == "r2") & (of["subset"] == "alpha")]["score"]
        for of in folds
    ]
    change = scores[1].to_numpy() - scores[0].to_numpy()
    assert row["test"] == "folds" and row["n_units"] == 6
    assert row["p_value"] == pytest.approx(stats.wilcoxon(change).pvalue, abs=1e-12)
    assert row["tested_difference"] == pytest.approx(change.mean())
    # Another protocol deals arrays of the same ids to the same folds.
    other = primary(ecjax.compare(runs / "plain", runs / "strict"))
    assert (other["test"] == "folds").all()


def test_a_better_embedding_is_found_by_rows_and_a_useless_change_is_not(runs):
    found = ecjax.compare(runs / "rows", runs / "better")
    whole = primary(found)
    row = whole[(whole["task"] == "height") & (whole["subset"] == "alpha")].iloc[0]
    assert row["test"] == "rows" and row["n_units"] == N
    assert row["p_adjusted"] < 1e-3 and row["low"] > 0 and row["tested_difference"] > 0.1
    alone = whole[whole["subset"] == "be|ta"]
    assert alone["p_value"].isna().all() and (alone["reason"] == "all differences are zero").all()
    text = found.as_text()
    assert "higher in the second run" in text and "Tests by rows" in text
    assert 'the data of task "height"' in text


@pytest.fixture(scope="module")
def classes():
    """Two runs of three classes by different seeds."""
    rng = np.random.default_rng(4)
    x = {"alpha": rng.normal(size=(N, 3))}
    signal = x["alpha"][:, 0] + 0.5 * rng.normal(size=N)
    land = np.array(["rice", "maize", "rye"])[np.digitize(signal, [-0.3, 1.0])]
    return [evaluate(x, {"land": land}, folds=4, predictions=True, seed=seed) for seed in (42, 8)]


@pytest.mark.parametrize("kind", ["regression", "classes"])
def test_the_difference_tested_by_rows_is_that_of_the_pooled_scores(runs, classes, kind):
    pair = classes if kind == "classes" else (runs / "rows", runs / "rows seed")
    tested = ecjax.compare(*pair).comparison
    assert (tested["test"] == "rows").all()
    metrics = {"accuracy", "balanced_accuracy", "log_loss"} if kind == "classes" else {"r2", "mse"}
    assert set(tested["metric"]) == metrics
    assert tested["target"].notna().any() == (kind == "regression")
    np.testing.assert_allclose(
        tested["tested_difference"], tested["pooled_difference"], rtol=0, atol=1e-9
    )
    assert (tested["standard_error"] > 0).all()
    assert (tested["p_adjusted"].notna() == tested["metric"].isin(PRIMARY)).all()
    assert (tested["p_adjusted"].dropna() >= tested["p_value"][tested["p_adjusted"].notna()]).all()


def test_other_rows_allow_no_test(runs, tmp_path):
    x, tasks = world()
    fewer = {name: values[:-5] for name, values in tasks.items()}
    evaluate({k: v[:-5] for k, v in x.items()}, fewer, out=tmp_path / "fewer", predictions=True)
    found = ecjax.compare(runs / "rows", tmp_path / "fewer")
    whole = primary(found)
    assert (
        whole["p_value"].isna().all() and (whole["reason"] == "the rows differ (80 and 75)").all()
    )
    assert whole["score_difference"].notna().all()
    assert "the rows differ (80 and 75)" in found.as_text()
    other = {**tasks, "height": tasks["height"] + 1e-9}
    evaluate(x, other, out=tmp_path / "other")
    rows = ecjax.compare(runs / "plain", tmp_path / "other").manifest["rows"]
    assert rows == {"height": "the rows differ (ids or targets)", "soil": ""}


def test_what_is_in_one_run_alone_is_listed(runs):
    x, tasks = world()
    one = evaluate(x, {"height": tasks["height"]})
    two = evaluate({**x, "gamma": x["alpha"][:, ::-1]}, {"height": tasks["height"]})
    found = ecjax.compare(runs / "plain", one)
    alone = found.comparison[found.comparison["present"] == "first"]
    assert set(alone["task"]) == {"soil"} and (alone["reason"] == "in one run alone").all()
    assert "first, soil: all of it" in found.as_text()
    assert alone["score_second"].isna().all() and alone["score_first"].notna().all()
    table = ecjax.compare(one, two).comparison
    assert set(table["subset"][table["present"] == "second"]) == {
        "gamma", "alpha+gamma", "be|ta+gamma", "alpha+be|ta+gamma",
    }  # fmt: skip
    # A result that no directory was written of has no fingerprint, but its rows are known.
    assert (primary(ecjax.compare(one, two))["reason"] != UNKNOWN).all()


def test_a_sweep_meets_a_run_of_one_of_its_settings(runs):
    found = ecjax.compare(runs / "plain", runs / "sweep")
    table = found.comparison
    both = table[table["present"] == "both"]
    assert set(both["ridge_lambda"]) == {1.0}
    assert set(table["ridge_lambda"][table["present"] == "second"]) == {30.0}
    assert (both["score_difference"] == 0).all()
    itself = ecjax.compare(runs / "sweep", runs / "sweep")
    assert itself.identical and (itself.comparison["present"] == "both").all()
    assert not itself.comparison.duplicated(
        ["task", "target", "metric", "subset", "ridge_lambda"]
    ).any()


def test_results_of_an_earlier_version_go_by_the_study_s_fingerprint(runs, tmp_path):
    tables, manifest = store.read_results(runs / "plain")
    for task in manifest["tasks"].values():
        del task["targets_hash"], task["folds_hash"]
    store.write_results(tmp_path / "old", tables, manifest)
    itself = ecjax.compare(tmp_path / "old", runs / "plain")
    assert itself.manifest["rows"] == {"height": "", "soil": ""}
    assert (primary(itself)["test"] == "folds").all()
    other = ecjax.compare(tmp_path / "old", runs / "better folds")
    assert set(other.manifest["rows"].values()) == {UNKNOWN}
    assert (primary(other)["reason"] == UNKNOWN).all()
    # Predictions tell their rows themselves.
    tables, manifest = store.read_results(runs / "better")
    for task in manifest["tasks"].values():
        del task["targets_hash"]
    store.write_results(tmp_path / "old rows", tables, manifest)
    assert (primary(ecjax.compare(tmp_path / "old rows", runs / "rows"))["test"] == "rows").all()
    tables["predictions"].loc[tables["predictions"]["task"] == "height", "y"] += 1
    store.write_results(tmp_path / "old rows", tables, manifest)
    changed = primary(ecjax.compare(tmp_path / "old rows", runs / "rows"))
    assert set(changed["task"][changed["test"] == "rows"]) == {"soil"}


def test_blocks_and_groups_are_units(tmp_path):
    x, tasks = world()
    rng = np.random.default_rng(0)
    lat, lon = rng.uniform(-50, 50, (2, N))
    group = np.arange(N) % 8
    task = {"height": ecjax.Task(tasks["height"], lat=lat, lon=lon, group=group)}
    same = {"folds": 4, "predictions": True}
    blocks = [
        evaluate(x, task, split="spatial", block_km=2000, ridge_lambda=k, **same) for k in (1, 9)
    ]
    found = primary(ecjax.compare(*blocks))
    units = blocks[0].manifest["tasks"]["height"]["units"]
    assert (found["test"] == "rows").all() and (found["n_units"] == units).all() and units < N
    groups = [evaluate(x, task, split="group", ridge_lambda=k, **same) for k in (1, 9)]
    found = primary(ecjax.compare(*groups))
    assert (found["test"] == "folds").all() and (found["n_units"] == 4).all()
    seeds = ecjax.compare(groups[0], evaluate(x, task, split="group", seed=5, **same))
    assert primary(seeds)["reason"].str.contains("do not tell the groups").all()


def test_a_transformed_target_is_tested_as_it_is_scored():
    x, tasks = world()
    task = {"people": ecjax.Task(np.expm1(np.abs(tasks["height"])), transform="log1p")}
    found = ecjax.compare(
        *(evaluate(x, task, predictions=True, ridge_lambda=k) for k in (1, 50))
    ).comparison
    np.testing.assert_allclose(found["tested_difference"], found["pooled_difference"], atol=1e-9)
    plain = {"people": ecjax.Task(np.abs(tasks["height"]))}
    other = ecjax.compare(evaluate(x, task), evaluate(x, plain))
    assert other.manifest["rows"] == {"people": "the target is transformed otherwise"}


def test_command_prints_and_writes(runs, tmp_path, capsys):
    first, second = str(runs / "rows"), str(runs / "better")
    assert cli.main(["compare", first, second]) == cli.DONE
    printed = capsys.readouterr().out
    assert "Largest differences" in printed and not list(tmp_path.iterdir())
    out = tmp_path / "out"
    assert cli.main(["compare", first, second, f"--out={out}"]) == cli.DONE
    assert {path.name for path in out.iterdir()} == {
        "comparison.parquet", "comparison.csv", "manifest.json",
    }  # fmt: skip
    tables, manifest = store.read_results(out)
    again = ecjax.compare(first, second).comparison
    assert arrow_table(tables["comparison"]).equals(arrow_table(again))
    assert manifest["study"]["command"] == "compare" and manifest["first"]["name"] == "arrays"
    assert cli.main(["compare", first, second, f"--out={out}"]) == cli.DONE  # again
    assert cli.main(["compare", second, second, f"--out={out}"]) == cli.BAD_INPUT
    assert cli.main(["compare", first, second, f"--out={first}"]) == cli.BAD_INPUT
    assert "not of `ecjax compare`" in capsys.readouterr().err


def test_directories_that_are_not_whole_are_refused(runs, tmp_path, capsys):
    tables, manifest = store.read_results(runs / "plain")
    store.write_results(tmp_path / "half", tables, manifest)
    (tmp_path / "half" / "folds.parquet").unlink()
    store.write_results(tmp_path / "overlap", {"overlap": tables["scores"]}, manifest)
    cases = {"half": "is missing", "nothing": "no such directory", "overlap": "holds no scores"}
    for name, says in cases.items():
        assert cli.main(["compare", str(runs / "plain"), str(tmp_path / name)]) == cli.BAD_INPUT
        assert says in capsys.readouterr().err
    assert cli.main(["compare", "one"]) == cli.USAGE
    with pytest.raises(ecjax.UsageError, match="not DataFrame"):
        ecjax.compare(tables["scores"], runs / "plain")


def test_hostile_names_are_cut_and_harmless():
    x, tasks = world()
    names = {"alpha": "=cmd()", "be|ta": "x" * 200}
    renamed = {names[k]: v for k, v in x.items()}
    odd = {"<script>\u2028": tasks["height"], "y" * 200: tasks["soil"]}
    found = ecjax.compare(evaluate(renamed, odd), evaluate(renamed, odd, ridge_lambda=9.0))
    text = found.as_text()
    assert all(line.isprintable() for line in text.splitlines())
    assert "=cmd()" in text and "x" * 40 not in text
    assert set(found.comparison["task"]) == set(odd)


def test_a_comparison_is_frozen(runs):
    found = ecjax.compare(runs / "plain", runs / "plain")
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.comparison = None
