"""Protocol `strict` on ridge regression against loops over scikit-learn, and against leaks."""

import dataclasses

import jax
import numpy as np
import pandas as pd
import pytest
import reference
from make_studies import default_grid, study
from quick import quickly_compiled

import ecjax
from ecjax import engine, inner
from ecjax.arrays import align_arrays
from ecjax.evaluate import Run
from ecjax.folds import random_folds
from ecjax.plan import make_plan
from ecjax.program import Penalties
from ecjax.progress import Silent
from ecjax.settings import Settings


def absolute(*values):
    return lambda n_train: np.sort(values)[::-1]


def columns_of_test_rows(embeddings, folds, seed):
    """Adds to the first embedding a column for each of two folds that is constant outside it."""
    n = len(embeddings["a"])
    rng = np.random.default_rng(1)
    marks = np.full((n, 2), [3e4, 0.1])
    for j, (_, rows) in enumerate(reference.splits(n, folds, seed)[:2]):
        marks[rows, j] = rng.normal(size=len(rows))
    embeddings["a"] = np.hstack([marks, embeddings["a"]])


# widths, rows, {task: (targets, strength)}, arguments of evaluate, grid
CASES = {
    "one task": ([3, 2], 40, {"u": (1, 1)}, {"folds": 5}, None),
    "tasks on the same rows": ([3, 4], 61, {"u": (2, 1), "v": (1, 0), "w": (3, 0.3)},
                               {"folds": 7}, None),
    "three embeddings": ([5, 2, 3], 52, {"u": (2, 0.5)}, {"folds": 6, "inner_folds": 3}, None),
    "each fold its own": ([3, 2], 41, {"u": (1, 0.5)}, {"folds": 5, "inner_folds": 0}, None),
    "three folds": ([3, 2], 31, {"u": (2, 0.5)}, {"folds": 3}, None),
    "two folds": ([3, 2], 33, {"u": (2, 0.5), "v": (1, 0)}, {"folds": 2}, None),
    "two folds, three groups": ([4], 35, {"u": (1, 1)}, {"folds": 2, "inner_folds": 3}, None),
    "two seeds": ([3, 2], 37, {"u": (2, 0.5)}, {"folds": 4, "seeds": 2, "seed": 5}, None),
    "more columns than rows": ([30, 9], 36, {"u": (1, 1)}, {"folds": 4}, None),
    "own grid": ([3, 2], 40, {"u": (2, 0.3)}, {"folds": 5, "ridge_lambda": [1, 300, 10]},
                 absolute(1, 300, 10)),
    "one penalty": ([3, 2], 40, {"u": (1, 1)}, {"folds": 5, "ridge_lambda": 7.0}, absolute(7.0)),
    "columns of test rows": ([3, 2], 43, {"u": (1, 1)}, {"folds": 5}, None),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_equals_loops_over_scikit_learn(case):
    widths, n, targets, arguments, grid = CASES[case]
    grid = grid or default_grid
    embeddings, tasks = study(widths, n, targets)
    folds, first = arguments["folds"], arguments.get("seed", 42)
    if case == "columns of test rows":
        columns_of_test_rows(embeddings, folds, first)
    found = ecjax.evaluate(embeddings, tasks, protocol="strict", **arguments)
    by_fold = found.folds[found.folds["metric"] == "r2"]
    by_fold = by_fold.set_index(["task", "subset", "seed"]).sort_index(kind="stable")
    index = found.index[found.index["metric"] == "r2"]
    for task, y in tasks.items():
        y = reference.StandardScaler().fit_transform(y)
        seeds = range(first, first + arguments.get("seeds", 1))
        losses = {}
        for subset in reference.all_subsets(embeddings):
            errors = []
            for seed in seeds:
                expected = reference.nested_ridge(
                    embeddings, subset, y, folds, seed, arguments.get("inner_folds", 5), grid
                )
                rows = by_fold.loc[(task, subset, seed)]
                np.testing.assert_allclose(rows["chosen_ridge_lambda"], expected.chosen, rtol=1e-12)
                for (_, held_out), score in zip(
                    reference.splits(n, folds, seed), rows["score"], strict=True
                ):
                    r2 = reference.r2_score(
                        y[held_out], expected.predictions[held_out],
                        multioutput="variance_weighted",
                    )  # fmt: skip
                    assert score == pytest.approx(r2, abs=1e-8 * max(1, abs(r2)))
                errors.append(((y - expected.predictions) ** 2).sum(1))
            losses[subset] = np.array(errors)  # (r, n)
            of_set = found.scores[(found.scores["task"] == task) & (found.scores["metric"] == "r2")]
            of_set = of_set[of_set["subset"] == subset].iloc[0]
            pooled = 1 - losses[subset].sum(1).mean() / (y**2).sum()
            assert of_set["pooled"] == pytest.approx(pooled, abs=1e-8)
            chosen = by_fold.loc[(task, subset)]["chosen_ridge_lambda"]
            assert of_set["chosen_ridge_lambda"] == np.median(chosen)
            assert (of_set["chosen_low"], of_set["chosen_high"]) == (chosen.min(), chosen.max())
        if folds < 3:
            continue  # the inner losses choose: see strict_index_test
        own = index[(index["task"] == task) & index["target"].isna()]
        for row in own.itertuples():
            members = row.subset.split("+")
            best, chosen = 0.0, []
            for r, seed in enumerate(seeds):
                fold_of_row = random_folds(n, folds, (seed,)).fold_of_row()[0]
                of_seed = {subset: values[r] for subset, values in losses.items()}
                _, names, loss = reference.strict_index(of_seed, fold_of_row, row.subset, members)
                best, chosen = best + loss, chosen + names
            eci = 1 - losses[row.subset].sum() / best
            assert row.eci == row.eci_pooled == pytest.approx(eci, abs=1e-8)
            again = (row.score - row.best_single_score) / (1 - row.best_single_score)
            assert row.eci == pytest.approx(again, abs=1e-10)
            assert row.best_single == max(members, key=chosen.count)
            share = chosen.count(row.best_single) / len(chosen)
            assert row.best_single_share == pytest.approx(share)


@pytest.fixture
def quick():
    with quickly_compiled():
        yield


@pytest.mark.parametrize("folds", [5, 2])
def test_the_compiled_route_has_the_same_numbers(folds, quick):
    embeddings, tasks = study([4, 9, 2], 62, {"u": (2, 1), "v": (1, 0.3)})
    aligned = align_arrays(embeddings, tasks)
    settings = Settings(protocol="strict", folds=folds, seeds=2, subsets=("a", "b+c"))
    plan = make_plan(aligned, settings, jax.devices("cpu")[0])
    (piece,) = plan.chunks[0]
    program = plan.program(piece, True)
    assert program.on_host and len(program.lattice.subsets) == 4
    penalties = Penalties(*(np.float64(v) for v in (np.nan, np.nan, 1e-5)))
    found = []
    for on_host in (True, False):
        programs = (dataclasses.replace(program, on_host=on_host),)
        with jax.enable_x64(True):
            (sums,) = jax.device_get(engine.study(programs, (plan.data(piece),), penalties))
        found.append(sums.regression)
    for name, ours, compiled in zip(found[0]._fields, *found, strict=True):
        assert ours.dtype == np.float64
        atol = 1e-9 if name == "row_slope" else 1e-12  # a difference, divided by its step
        np.testing.assert_allclose(ours, compiled, rtol=1e-11, atol=atol, err_msg=name)


def test_equal_losses_go_to_the_stronger_penalty():
    """An embedding that is constant in all inner fits predicts the mean whatever the penalty."""
    embeddings, tasks = study([2], 30, {"u": (1, 1)})
    embeddings["b"] = np.full((30, 2), 0.1)
    embeddings["b"][7] = 5.0  # so that the table's column varies
    found = ecjax.evaluate(embeddings, tasks, protocol="strict", folds=5, subsets="b")
    with_row = next(i for i, (_, f) in enumerate(reference.splits(30, 5, 42)) if 7 in f)
    chosen = found.folds.set_index("fold").loc[with_row]
    assert (chosen["chosen_ridge_lambda"] == 24 * 100).all() and chosen["grid_edge"].all()


def test_a_column_with_one_giant_value_keeps_its_digits():
    """Its variance among most training rows is 1e-20 of the table's."""
    embeddings, tasks = study([2, 1], 40, {"u": (1, 1)})
    embeddings["a"] = embeddings["a"] / embeddings["a"].std(0)
    embeddings["a"][3, 0] = 1e10
    found = ecjax.evaluate(embeddings, tasks, protocol="strict", folds=5)
    y = reference.StandardScaler().fit_transform(tasks["u"])
    fold = next(i for i, (_, f) in enumerate(reference.splits(40, 5, 42)) if 3 in f)
    for subset in ("a", "a+b"):
        expected = reference.nested_ridge(embeddings, subset, y, 5, 42, 5, default_grid)
        rows = found.folds[(found.folds["subset"] == subset) & (found.folds["metric"] == "r2")]
        assert rows["chosen_ridge_lambda"].tolist()[fold] == pytest.approx(expected.chosen[fold])


def test_held_out_rows_change_nothing_but_their_own_score():
    """Other values of some held-out rows leave the fold's choice and its other predictions."""
    embeddings, tasks = study([3, 2], 50, {"u": (2, 0.5)})
    arguments = {"protocol": "strict", "folds": 5, "predictions": True}
    first = ecjax.evaluate(embeddings, tasks, **arguments)
    held_out = reference.splits(50, 5, 42)[2][1]
    altered = held_out[: len(held_out) // 2]
    rng = np.random.default_rng(3)
    for x in embeddings.values():
        x[altered] = x[altered] * 100 + rng.normal(size=x[altered].shape)
    tasks["u"][altered] *= -7
    second = ecjax.evaluate(embeddings, tasks, **arguments)
    chosen = [
        r.folds[r.folds["fold"] == 2]["chosen_ridge_lambda"].tolist() for r in (first, second)
    ]
    assert chosen[0] == chosen[1]
    kept = [
        r.predictions[(r.predictions["fold"] == 2) & ~r.predictions["id"].isin(altered)]
        for r in (first, second)
    ]
    assert len(kept[0]) == 3 * 2 * (len(held_out) - len(altered))
    np.testing.assert_allclose(kept[0]["prediction"], kept[1]["prediction"], rtol=1e-9)


def mean_r2(leak, repetitions, protocol):
    """Pooled R² with and without a leak, of each repetition: (repetitions, 2)."""
    n, folds, found = 60, 5, []
    for seed in range(repetitions):
        rng = np.random.default_rng([seed, 9])
        fold_of_row = random_folds(n, folds, (seed,)).fold_of_row()[0]
        own = np.eye(folds)[fold_of_row]  # which fold a row is in
        clean = rng.normal(size=(n, 3))
        y = 0.5 * clean[:, :1] + rng.normal(size=(n, 1))
        leaky = clean
        if leak == "labels of test rows":
            leaky = np.hstack([clean, own[:, :1] * y])
        elif leak == "labels by fold":
            # Knowing the levels of other folds is no leak, but helps to read the other columns:
            # none of them tells anything here, so that nothing above 0 can be known.
            leaky, y = np.hstack([clean, own]), rng.normal(size=(n, 1)) + 3 * fold_of_row[:, None]
        elif leak == "scale of test rows":
            leaky = clean * np.where(own[:, :1] > 0, 1 + 10 * abs(y), 1)
        arguments = {"protocol": protocol, "folds": folds, "seed": seed}
        scores = [ecjax.evaluate({"a": x}, {"u": y}, **arguments).scores for x in (leaky, clean)]
        found.append([one["pooled"].iloc[0] for one in scores])
    return np.array(found)


LEAKS = ["labels of test rows", "labels by fold", "scale of test rows"]


@pytest.mark.parametrize("leak", LEAKS)
@pytest.mark.parametrize("repetitions", [15, pytest.param(200, marks=pytest.mark.long)])
def test_leaks_bring_no_gain(leak, repetitions):
    leaky, clean = mean_r2(leak, repetitions, "strict").T
    known = np.zeros(repetitions) if leak == "labels by fold" else clean
    assert (leaky - known).mean() <= 2 * (leaky - known).std() / np.sqrt(repetitions)


def test_chunks_change_nothing():
    embeddings, tasks = study([6, 5, 3, 2], 240, {"u": (2, 0.5), "v": (1, 0.1)})
    arguments = {"protocol": "strict", "folds": 4, "seeds": 2, "predictions": True}
    whole = ecjax.evaluate(embeddings, tasks, **arguments)
    settings = Settings(**arguments)
    aligned = align_arrays(embeddings, tasks)
    device = jax.devices("cpu")[0]
    plan = make_plan(aligned, settings, device)
    size = plan.work(plan.chunks[0]).bytes
    small = dataclasses.replace(settings, max_memory_gib=0.45 * size / 2**30)
    chunks = make_plan(aligned, small, device).chunks
    assert len({piece.subsets for (piece,) in chunks}) > 1 < len({p.seeds for (p,) in chunks})
    parts = ecjax.evaluate(embeddings, tasks, **arguments, max_memory_gib=small.max_memory_gib)
    for name, frame in whole.tables.items():
        pd.testing.assert_frame_equal(frame, parts.tables[name], rtol=1e-12, atol=1e-12)


def test_row_order_changes_nothing():
    embeddings, tasks = study([3, 2], 45, {"u": (2, 0.5)})
    ids = np.array([f"r{i:03}" for i in range(45)], object)
    order = np.random.default_rng(0).permutation(45)
    found = []
    for rows in (np.arange(45), order):
        own = {name: x[rows] for name, x in embeddings.items()}
        shared = {name: ecjax.Task(y[rows], own, id=ids[rows]) for name, y in tasks.items()}
        found.append(ecjax.evaluate(None, shared, protocol="strict", folds=5, predictions=True))
    for name, frame in found[0].tables.items():
        pd.testing.assert_frame_equal(frame, found[1].tables[name], rtol=0, atol=0)


def test_paper_has_the_same_columns_without_choices():
    embeddings, tasks = study([3, 2], 40, {"u": (2, 0.5)})
    strict, paper = (
        ecjax.evaluate(embeddings, tasks, protocol=protocol, folds=4)
        for protocol in ("strict", "paper")
    )
    for name in ("scores", "folds", "index", "targets"):
        assert list(strict.tables[name]) == list(paper.tables[name])
    empty = ["chosen_ridge_lambda", "chosen_logistic_c", "grid_edge"]
    assert paper.folds[empty].isna().all().all() and paper.index["best_single_share"].isna().all()
    assert strict.folds["chosen_logistic_c"].isna().all()
    assert len(inner.RIDGE_LAMBDA) == 13
    assert inner.RIDGE_LAMBDA[[0, -1]] == pytest.approx([100, 1e-4])


def test_a_sweep_of_grids():
    embeddings, tasks = study([3, 2], 40, {"u": (1, 0.5)})
    arguments = {"protocol": "strict", "folds": 4}
    settings = Settings(**arguments)
    grids = {"ridge_lambda": ((1.0, 10.0), 300.0, (0.5,))}
    run = Run("s", align_arrays(embeddings, tasks), settings, grids, Silent())
    swept = run.evaluate(None)
    assert run.plan().swept == {"ridge_lambda": ("1,10", "300", "0.5")}
    for text, grid in {"1,10": [1, 10], "300": 300, "0.5": 0.5}.items():
        alone = ecjax.evaluate(embeddings, tasks, **arguments, ridge_lambda=grid)
        for name in ("scores", "folds"):
            rows = swept.tables[name]
            rows = rows[rows["ridge_lambda"] == text].drop(columns="ridge_lambda")
            pd.testing.assert_frame_equal(rows.reset_index(drop=True), alone.tables[name])
    assert "ridge_lambda = 1,10:" in str(swept)
    with pytest.raises(ecjax.UsageError, match="need --protocol=strict"):
        Run("s", run.tasks, Settings(protocol="paper", folds=4), grids, Silent()).evaluate(None)
    with pytest.raises(ecjax.UsageError, match="keep one"):
        given = dataclasses.replace(settings, ridge_lambda=(1.0,))
        Run("s", run.tasks, given, grids, Silent()).evaluate(None)


def test_strict_is_the_default():
    embeddings, tasks = study([3, 2], 40, {"u": (1, 1)})
    found = ecjax.evaluate(embeddings, tasks, folds=4)
    assert found.manifest["protocol"] == "strict"
    assert found.scores["chosen_ridge_lambda"].notna().all()
