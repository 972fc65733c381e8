"""The whole job on arrays: one call, chunks, orders, shared rows, tables and refusals."""

import hashlib
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
import reference
from quick import quickly_compiled
from watch import watched

import ecjax
from ecjax import compute as compute_module
from ecjax import plan as plan_module
from ecjax.arrays import align_arrays
from ecjax.pieces import Piece
from ecjax.settings import Settings

WIDTHS = {"a": 4, "b": 3, "c": 3, "d": 2}
N = 57
TABLES = ("scores", "folds", "index", "targets")


@pytest.fixture(scope="module", autouse=True)
def quick():
    with quickly_compiled():
        yield


def embeddings_of(rng, widths=WIDTHS, n=N):
    return {name: rng.normal(size=(n, width)) for name, width in widths.items()}


def tasks_of(rng, embeddings):
    """Two regressions (one and two targets) and a classification, on the same rows."""
    n = len(next(iter(embeddings.values())))
    signal = sum(x[:, 0] for x in embeddings.values())
    cuts = np.quantile(signal, [0.33, 0.66])
    return {
        "height": signal + rng.normal(size=n),
        "soil": signal[:, None] * [1, 0.3] + rng.normal(size=(n, 2)),
        "crop": np.array(["maize", "rice", "wheat"])[
            np.searchsorted(cuts, signal + 0.5 * rng.normal(size=n))
        ],
    }


@pytest.fixture(scope="module")
def watched_run():
    """A run of 15 subsets × 3 tasks, with what it compiled and called."""
    rng = np.random.default_rng(1)
    embeddings = embeddings_of(rng)
    tasks = tasks_of(rng, embeddings)
    jax.clear_caches()  # so that every program that runs is seen
    with pytest.MonkeyPatch.context() as patch, watched(patch) as seen:
        result = ecjax.evaluate(embeddings, tasks, folds=6, predictions=True, protocol="paper")
    return embeddings, tasks, result, seen


def test_the_whole_study_is_one_program_executed_once(watched_run):
    _, _, result, seen = watched_run
    assert seen.compiled == ["jit(study)"]
    assert seen.executed == ["jit(study)"]
    assert len(result.scores) == 15 * (2 + 2 + 3)


def test_other_contents_of_the_same_shapes_compile_nothing(watched_run, monkeypatch):
    embeddings, tasks, _, _ = watched_run
    rng = np.random.default_rng(2)
    rows = embeddings_of(rng)
    labels = tasks_of(rng, rows)
    changes = [
        (embeddings, tasks, {"seed": 7}),
        (embeddings, tasks, {"ridge_lambda": 30.0, "logistic_c": 0.1}),
        (embeddings, tasks, {"logistic_tolerance": 1e-7}),
        (embeddings, labels, {}),
        (rows, labels, {"seed": 3, "ridge_lambda": 0.2, "logistic_c": 5.0}),
    ]
    scores = set()
    for x, y, arguments in changes:
        with watched(monkeypatch) as seen:
            found = ecjax.evaluate(x, y, folds=6, predictions=True, protocol="paper", **arguments)
        assert seen.compiled == [], arguments
        assert seen.executed == ["jit(study)"], arguments
        scores.add(tuple(found.folds["score"]) + tuple(found.folds["gradient_norm"].dropna()))
    assert len(scores) == len(changes)


COLUMNS = {
    "scores": "task subset n_models dims metric score sem within_one_se seed_std pooled score_low "
    "score_high n_rows chosen_ridge_lambda chosen_logistic_c chosen_low chosen_high grid_edge "
    "reason",
    "folds": "task subset metric seed fold fold_name score n_train n_test n_dropped gradient_norm "
    "converged chosen_ridge_lambda chosen_logistic_c grid_edge",
    "index": "task target subset metric score best_single best_single_share best_single_score eci "
    "eci_pooled eci_permuted eci_low eci_high eci_low_simultaneous eci_high_simultaneous p_value "
    "p_adjusted "
    "p_better p_better_adjusted reason",
    "targets": "task target subset n_models dims metric score sem within_one_se seed_std pooled "
    "score_low score_high n_rows chosen_ridge_lambda chosen_logistic_c chosen_low chosen_high "
    "grid_edge reason",
    "gains": "task target subset over metric score_difference eci_pooled eci_low eci_high reason",
    "shapley": "task target model metric value low high reason",
    "predictions": "task id lat lon subset target seed fold y prediction squared_error",
    "commonality": "task target model_a model_b metric part value low high share reason",
    "points": "task id lat lon metric subset loss best_single_loss eci",
}


NUMBERS = ["score", "sem", "eci", "p_value", "prediction", "eci_low", "p_better", "value", "high"]


def test_columns_rows_and_types_of_the_tables(watched_run):
    embeddings, _, result, _ = watched_run
    subsets = reference.all_subsets(embeddings)
    assert set(result.tables) == set(COLUMNS)
    for table, columns in COLUMNS.items():
        assert list(getattr(result, table).columns) == columns.split(), table
    rows = {
        "scores": 15 * 7,
        "folds": 15 * 7 * 6,
        "index": 11 * (7 + 2 * 2),
        "targets": 15 * 2 * 2,
        "predictions": 15 * N * (1 + 2 + 3),
        "gains": (6 * 2 + 4 * 6 + 8) * (7 + 2 * 2),
        "shapley": 4 * (7 + 2 * 2),
        "commonality": 6 * 5 * (1 + 1 + 2 + 2),  # metrics whose best value is 1
        "points": 11 * N * 3,
    }
    assert {table: len(frame) for table, frame in result.tables.items()} == rows
    for frame in result.tables.values():
        for column in frame.columns.intersection(NUMBERS):
            assert frame[column].dtype == np.float64
        for column in frame.columns.intersection(["n_models", "dims", "n_rows", "fold", "seed"]):
            assert frame[column].dtype == np.int64
    assert result.folds["converged"].dtype == "boolean"
    assert result.scores["within_one_se"].dtype == "boolean"
    for _, group in result.scores.groupby(["task", "metric"]):
        assert group["subset"].tolist() == subsets
        assert group["dims"].tolist() == [sum(WIDTHS[m] for m in s.split("+")) for s in subsets]
        assert group["n_models"].tolist() == [s.count("+") + 1 for s in subsets]
    assert result.scores["task"].unique().tolist() == ["height", "soil", "crop"]
    assert result.index["best_single"].isin(list(WIDTHS)).all()
    regression = result.folds["task"] != "crop"
    assert result.folds.loc[regression, ["gradient_norm", "converged"]].isna().all(axis=None)
    assert (result.folds.loc[~regression, "gradient_norm"] <= 1e-5).all()
    sizes = result.folds["n_test"] + result.folds["n_train"]
    assert (sizes == N).all() and set(result.folds["n_test"]) == {9, 10}


def test_the_readme_explains_every_column_of_the_index():
    text = (Path(__file__).resolve().parents[1] / "README.md").read_text("utf-8")
    unnamed = [name for name in COLUMNS["index"].split() if f"`{name}`" not in text]
    assert unnamed == ["subset"], "which needs no explanation"


def test_predictions_reproduce_the_pooled_scores_and_the_folds(watched_run):
    _, tasks, result, _ = watched_run
    pooled = result.scores.set_index(["task", "subset", "metric"])["pooled"]
    expected_fold = np.empty(N)
    for k, (_, held_out) in enumerate(reference.splits(N, 6, 42)):
        expected_fold[held_out] = k
    frame = result.predictions
    assert (frame["fold"] == expected_fold[frame["id"]]).all()
    assert ((frame["y"] - frame["prediction"]) ** 2 == frame["squared_error"]).all()
    for (task, subset), rows in frame.groupby(["task", "subset"]):
        if task == "crop":
            wide = rows.pivot(index="id", columns="target", values="prediction")
            truth = rows.pivot(index="id", columns="target", values="y")
            np.testing.assert_allclose(wide.sum(axis=1), 1, atol=1e-12)
            right = wide.to_numpy().argmax(1) == truth.to_numpy().argmax(1)
            assert pooled[task, subset, "accuracy"] == pytest.approx(right.mean(), abs=1e-12)
            of_truth = wide.to_numpy()[truth.to_numpy() == 1]
            expected = -np.log(of_truth).mean()
            assert pooled[task, subset, "log_loss"] == pytest.approx(expected, abs=1e-12)
            continue
        y = np.asarray(tasks[task]).reshape(N, -1)
        sums = rows.groupby("target")["squared_error"].sum()
        scaled = sums.to_numpy() / y.var(axis=0)
        expected = 1 - scaled.sum() / (N * y.shape[1])
        assert pooled[task, subset, "r2"] == pytest.approx(expected, abs=1e-12)
        assert pooled[task, subset, "mse"] == pytest.approx(1 - expected, abs=1e-12)


def test_tasks_that_share_arrays_give_the_same_numbers_as_alone(watched_run):
    embeddings, tasks, result, _ = watched_run
    alone = ecjax.evaluate(embeddings, {"height": tasks["height"]}, folds=6, protocol="paper")
    together = result.folds[result.folds["task"] == "height"].reset_index(drop=True)
    pd.testing.assert_frame_equal(together, alone.folds, rtol=0, atol=1e-12)


def ridge_study():
    rng = np.random.default_rng(4)
    embeddings = embeddings_of(rng, {"a": 4, "b": 3, "c": 3})
    own = embeddings_of(rng, {"a": 4, "b": 3, "c": 3}, n=41)
    shared = tasks_of(rng, embeddings)["soil"]
    return embeddings, {
        "soil": shared,
        "height": ecjax.Task(rng.normal(size=41) + own["a"][:, 0], embeddings=own),
    }


def pieces_of(monkeypatch, *arguments, **keywords):
    """The result, and the pieces of each chunk."""
    chunks = []
    original = plan_module.make_plan

    def make_plan(*given):
        plan = original(*given)
        chunks.extend(plan.chunks)
        return plan

    with monkeypatch.context() as patch:
        patch.setattr(compute_module, "make_plan", make_plan)
        return ecjax.evaluate(*arguments, protocol="paper", **keywords), chunks


def test_chunks_by_sample_seed_and_subset_change_no_ridge_number(monkeypatch):
    embeddings, tasks = ridge_study()
    arguments = {"folds": 4, "seeds": 2, "predictions": True}
    whole, chunks = pieces_of(monkeypatch, embeddings, tasks, **arguments)
    assert len(chunks) == 1 and len(chunks[0]) == 2
    # The budget of one seed of about half the subsets, by the plan's own estimate.
    plan = plan_module.make_plan(
        align_arrays(embeddings, tasks),
        Settings(protocol="paper", **arguments),
        jax.devices("cpu")[0],
    )
    half = plan_module.subsets.requested("abc")[:4]
    need = max(plan.bytes(Piece(i, (0,), half)) for i in range(len(plan.samples)))
    cut, chunks = pieces_of(
        monkeypatch, embeddings, tasks, max_memory_gib=1.001 * need / 2**30, **arguments
    )
    pieces = [piece for chunk in chunks for piece in chunk]
    assert {piece.sample for piece in pieces} == {0, 1}
    assert any(len(piece.seeds) == 1 for piece in pieces)
    assert any(len(piece.subsets) < 7 for piece in pieces)
    for table in (*TABLES, "predictions"):
        pd.testing.assert_frame_equal(
            getattr(whole, table), getattr(cut, table), rtol=1e-12, atol=1e-12, obj=table
        )


def test_a_budget_into_which_nothing_fits_is_refused():
    embeddings, tasks = ridge_study()
    with pytest.raises(ecjax.InputError, match="max_memory_gib"):
        ecjax.evaluate(embeddings, tasks, folds=4, max_memory_gib=1e-6, protocol="paper")


@pytest.fixture(scope="module")
def crops():
    """Two embeddings of one width, and a classification, at both tolerances."""
    rng = np.random.default_rng(5)
    embeddings = embeddings_of(rng, {"a": 4, "b": 4}, n=70)
    tasks = {"crop": tasks_of(rng, embeddings)["crop"]}
    runs = {
        tolerance: ecjax.evaluate(
            embeddings, tasks, folds=4, logistic_tolerance=tolerance, protocol="paper"
        )
        for tolerance in (1e-5, 1e-9)
    }
    return embeddings, tasks, runs


def log_losses(result):
    rows = result.scores[result.scores["metric"] == "log_loss"].copy()
    rows["subset"] = ["+".join(sorted(s.split("+"))) for s in rows["subset"]]
    return rows.set_index("subset")["score"].sort_index()


BOUNDS = {1e-5: 1e-3, 1e-9: 1e-6}


def assert_same_log_loss(found, expected, tolerance):
    pd.testing.assert_series_equal(
        log_losses(found), log_losses(expected), rtol=BOUNDS[tolerance], atol=0
    )


def test_chunks_change_no_log_loss(crops, monkeypatch):
    embeddings, tasks, runs = crops
    plan = plan_module.make_plan(
        align_arrays(embeddings, tasks), Settings(folds=4, protocol="paper"), jax.devices("cpu")[0]
    )
    budget = 1.001 * plan.bytes(Piece(0, (0,), ((0, 1),))) / 2**30
    for tolerance in BOUNDS:
        cut, chunks = pieces_of(
            monkeypatch, embeddings, tasks, folds=4, logistic_tolerance=tolerance,
            max_memory_gib=budget,
        )  # fmt: skip
        assert [chunk[0].subsets for chunk in chunks] == [((0,), (1,)), ((0, 1),)]
        assert_same_log_loss(cut, runs[tolerance], tolerance)


def test_the_order_of_embeddings_changes_no_log_loss(crops):
    embeddings, tasks, runs = crops
    turned = dict(reversed(embeddings.items()))
    for tolerance in BOUNDS:
        found = ecjax.evaluate(
            turned, tasks, folds=4, logistic_tolerance=tolerance, protocol="paper"
        )
        assert found.scores["subset"].unique().tolist() == ["b", "a", "b+a"]
        assert_same_log_loss(found, runs[tolerance], tolerance)


def test_the_order_of_embeddings_changes_no_ridge_number():
    embeddings, tasks = ridge_study()
    turned = {name: embeddings[name] for name in "cab"}

    def scores(result):
        frame = result.folds.copy()
        frame["subset"] = ["+".join(sorted(s.split("+"))) for s in frame["subset"]]
        return frame.set_index(["task", "subset", "metric", "fold"])["score"].sort_index()

    one = {"soil": tasks["soil"]}
    first, second = (
        ecjax.evaluate(x, one, folds=4, protocol="paper") for x in (embeddings, turned)
    )
    np.testing.assert_allclose(scores(first), scores(second), rtol=1e-9, atol=1e-9)
    assert second.scores["subset"].unique().tolist() == reference.all_subsets("cab")


@pytest.mark.parametrize(
    "arguments, word",
    [
        ({"protocol": "stric"}, "stric is unknown; accepted: paper, strict"),
        ({"inner_folds": 5}, "only --protocol=strict"),
        ({"inner_folds": 1, "protocol": "strict"}, "no row to fit to"),
        ({"inner_folds": -1, "protocol": "strict"}, "inner_folds"),
        ({"precision": "float32", "protocol": "strict"}, "--precision=float64"),
        ({"split": "stratified"}, "stratified"),
        ({"penalty": "banded"}, "add --protocol=strict"),
        ({"precision": "float16"}, "float16"),
        ({"interval": "bootstrap"}, "bootstraps"),
        ({"fold": 5}, "fold"),
        ({"folds": 1}, "folds"),
        ({"folds": 2.5}, "folds"),
        ({"seeds": 0}, "seeds"),
        ({"ridge_lambda": 0}, "ridge_lambda"),
        ({"ridge_lambda": [1, 1]}, "ridge_lambda"),
        ({"logistic_c": -1}, "logistic_c"),
        ({"logistic_tolerance": float("nan")}, "logistic_tolerance"),
        ({"require_platform": "abacus"}, "abacus"),
    ],
)
def test_refused_arguments(arguments, word):
    rng = np.random.default_rng(0)
    with pytest.raises(ecjax.UsageError, match=word):
        ecjax.evaluate(
            {"a": rng.normal(size=(30, 2))},
            {"y": rng.normal(size=30)},
            **({"protocol": "paper"} | arguments),
        )


def test_no_tasks_is_refused():
    with pytest.raises(ecjax.UsageError, match="tasks"):
        ecjax.evaluate({"a": np.ones((30, 2))}, protocol="paper")


def test_a_second_run_writes_the_same_bytes(tmp_path):
    embeddings, tasks = ridge_study()
    arguments = {"folds": 4, "seeds": 2, "predictions": True}

    def bytes_of(folder):
        return {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.glob("*.*"))
            if path.suffix != ".json"
        }

    result = ecjax.evaluate(
        embeddings, tasks, out=tmp_path / "first", protocol="paper", **arguments
    )
    first = bytes_of(tmp_path / "first")
    ecjax.evaluate(embeddings, tasks, out=tmp_path / "second", protocol="paper", **arguments)
    ecjax.evaluate(embeddings, tasks, out=tmp_path / "first", protocol="paper", **arguments)
    assert first == bytes_of(tmp_path / "second") == bytes_of(tmp_path / "first")
    parquet = {f"{name}.parquet" for name in result.tables}
    assert parquet <= set(first) and "scores.csv" in first and "folds.csv" not in first
    written = pd.read_parquet(tmp_path / "first" / "scores.parquet")
    np.testing.assert_array_equal(written["score"], result.scores["score"])


def test_an_embedding_of_the_coordinates_is_one_like_others(tmp_path, monkeypatch):
    rng = np.random.default_rng(5)
    lat, lon = rng.uniform(-60, 60, N), rng.uniform(-180, 180, N)
    a, place = rng.normal(size=(N, 3)), ecjax.Coordinates(degree=2)
    tasks = {"t": ecjax.Task(np.sin(np.radians(lat)) + a[:, 0], lat=lat, lon=lon)}
    out = tmp_path / "out"
    found = ecjax.evaluate({"a": a, "place": place}, tasks, folds=5, out=out, protocol="paper")
    with monkeypatch.context() as patch:  # the array is refused, for it has sin(lat)
        patch.setattr("ecjax.align.guard", lambda *_: ())
        given = ecjax.evaluate(
            {"a": a, "place": place.encode(lat, lon)}, tasks, folds=5, protocol="paper"
        )
    for name, frame in given.tables.items():
        pd.testing.assert_frame_equal(found.tables[name], frame)
    assert found.manifest["embeddings"] == {"a": 3, "place": 8}
    made = {"t": {"place": {"encoding": "spherical_harmonics", "degree": 2}}}
    assert found.manifest["coordinates"] == found.manifest["study"]["coordinates"] == made
    assert "coordinates" not in given.manifest
    other = {"a": a, "place": ecjax.Coordinates(degree=1)}
    with pytest.raises(ecjax.InputError, match=r"coordinates\.t\.place\.degree \(there: 2; now: 1"):
        ecjax.evaluate(other, tasks, folds=5, out=out, protocol="paper")
