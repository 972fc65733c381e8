"""A penalty for each embedding against loops over scikit-learn, and what it is good for."""

import dataclasses

import jax
import numpy as np
import pytest
import reference
from make_studies import default_grid, study

import ecjax
from ecjax import banded, engine
from ecjax.arrays import align_arrays
from ecjax.plan import make_plan
from ecjax.program import Penalties
from ecjax.settings import Settings

# widths, rows, {task: (targets, strength)}, arguments of evaluate
CASES = {
    "one task": ([3, 2], 40, {"u": (1, 1)}, {"folds": 5}),
    "tasks on the same rows": ([3, 4], 47, {"u": (2, 1), "v": (1, 0)}, {"folds": 6}),
    "three embeddings": ([2, 5, 3], 52, {"u": (2, 0.5)}, {"folds": 4, "inner_folds": 3}),
    "equal widths": ([3, 3], 41, {"u": (1, 0.5)}, {"folds": 5, "inner_folds": 0}),
    "two folds": ([3, 2], 33, {"u": (2, 0.5), "v": (1, 0)}, {"folds": 2}),
    "two seeds": ([2, 3], 37, {"u": (2, 0.5)}, {"folds": 4, "seeds": 2, "seed": 5}),
    "more columns than rows": ([30, 9], 36, {"u": (1, 1)}, {"folds": 4}),
    "own grid": ([3, 2], 40, {"u": (2, 0.3)}, {"folds": 5, "ridge_lambda": [1, 300, 10]}),
    "one penalty": ([3, 2], 40, {"u": (1, 1)}, {"folds": 5, "ridge_lambda": 7.0}),
    "one embedding": ([4], 40, {"u": (1, 1)}, {"folds": 5}),
}


@pytest.mark.parametrize("case", CASES)
def test_equals_loops_over_scikit_learn(case):
    widths, n, targets, arguments = CASES[case]
    embeddings, tasks = study(widths, n, targets)
    given = arguments.get("ridge_lambda")
    own = default_grid if given is None else lambda n_train: np.sort(np.atleast_1d(given))[::-1]
    found = ecjax.evaluate(embeddings, tasks, protocol="strict", penalty="banded", **arguments)
    by_fold = found.folds[found.folds["metric"] == "r2"]
    by_fold = by_fold.set_index(["task", "subset", "seed"]).sort_index(kind="stable")
    first = arguments.get("seed", 42)
    for task, y in tasks.items():
        y = reference.StandardScaler().fit_transform(y)
        for subset in reference.all_subsets(embeddings):
            for seed in range(first, first + arguments.get("seeds", 1)):
                expected = reference.nested_banded(
                    embeddings, subset, y, arguments["folds"], seed,
                    arguments.get("inner_folds", 5), own,
                )  # fmt: skip
                rows = by_fold.loc[(task, subset, seed)]
                names = [f"chosen_lambda_{m}" for m in subset.split("+")]
                np.testing.assert_allclose(rows[names], expected.chosen, rtol=1e-12)
                others = set(embeddings) - set(subset.split("+"))
                assert rows[[f"chosen_lambda_{m}" for m in others]].isna().all(axis=None)
                for (_, held_out), score in zip(
                    reference.splits(n, arguments["folds"], seed), rows["score"], strict=True
                ):
                    r2 = reference.r2_score(
                        y[held_out], expected.predictions[held_out],
                        multioutput="variance_weighted",
                    )  # fmt: skip
                    assert score == pytest.approx(r2, abs=1e-8 * max(1, abs(r2)))
            of_set = found.scores.query("task == @task and metric == 'r2' and subset == @subset")
            median = by_fold.loc[(task, subset)][names].median()
            np.testing.assert_allclose(of_set[names].iloc[0], median, rtol=1e-12)
            lowest = by_fold.loc[(task, subset)][names].min(axis=None)
            assert of_set["chosen_low"].item() == pytest.approx(lowest, rel=1e-12)


@pytest.mark.parametrize("folds", [2, 4])
def test_the_compiled_route_has_the_same_numbers(folds):
    embeddings, tasks = study([4, 3, 2], 45, {"u": (2, 1), "v": (1, 0.2)})
    settings = Settings(protocol="strict", penalty="banded", folds=folds, predictions=True)
    plan = make_plan(align_arrays(embeddings, tasks), settings, jax.devices("cpu")[0])
    (piece,) = plan.chunks[0]
    program = plan.program(piece, True)
    found = []
    with jax.enable_x64(True):
        penalties = Penalties(*(np.float64(v) for v in (np.nan, np.nan, 1e-5)))
        for on_host in (True, False):
            own = dataclasses.replace(program, on_host=on_host)
            found.append(jax.device_get(engine.study((own,), (plan.data(piece),), penalties))[0])
    host, compiled = (one.regression for one in found)
    for name in host._fields:
        a, b = getattr(host, name), getattr(compiled, name)
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10, err_msg=name)


def test_a_search_ends_where_no_step_is_better_and_takes_the_stronger_of_equals():
    rng = np.random.default_rng(0)
    for _ in range(50):
        worth = rng.integers(0, 30, size=(9, 9)).astype(float)

        def loss(places, worth=worth):
            return worth[places]

        end = banded.descend(loss, (4, 4), 9)
        assert worth[end] <= worth[4, 4]
        for band in range(2):
            for step in (-1, 1):
                place = list(end)
                place[band] += step
                if 0 <= place[band] < 9:
                    assert worth[tuple(place)] > worth[end] or (
                        step == 1 and worth[tuple(place)] == worth[end]
                    )
    assert banded.descend(lambda places: 1.0, (4, 4), 9) == (0, 0)


def test_a_wide_block_of_noise_drowns_no_other():
    rng = np.random.default_rng(3)
    n = 500
    small, noise = rng.normal(size=(n, 10)), rng.normal(size=(n, 200))
    y = small @ rng.normal(size=10) / 3 + rng.normal(size=n)
    results = {
        penalty: ecjax.evaluate(
            {"small": small, "noise": noise}, {"y": y}, protocol="strict", penalty=penalty, folds=5
        )
        for penalty in ("shared", "banded")
    }
    pooled = {
        penalty: result.scores.query("metric == 'r2'").set_index("subset")["pooled"]
        for penalty, result in results.items()
    }
    assert pooled["banded"]["small"] == pooled["shared"]["small"]
    assert pooled["banded"]["small+noise"] > pooled["shared"]["small+noise"] + 0.02
    assert pooled["banded"]["small+noise"] > pooled["banded"]["small"] - 0.02


def test_classes_share_their_penalty():
    embeddings, tasks = study([3, 2], 60, {"u": (1, 1)})
    labels = np.where(tasks["u"][:, 0] > np.median(tasks["u"]), "high", "low")
    both = {"u": tasks["u"], "c": labels}
    how = {"protocol": "strict", "folds": 4, "logistic_c": [0.1, 1]}
    shared, by_band = (
        ecjax.evaluate(embeddings, both, penalty=penalty, **how) for penalty in ("shared", "banded")
    )
    of_classes = by_band.scores.query("task == 'c'")
    assert of_classes[["chosen_lambda_a", "chosen_lambda_b"]].isna().all(axis=None)
    for column in ("score", "chosen_logistic_c"):
        expected = shared.scores.query("task == 'c'")[column]
        np.testing.assert_allclose(of_classes[column], expected, rtol=1e-9)


def test_chunks_and_the_order_of_embeddings_change_nothing():
    embeddings, tasks = study([4, 2, 4], 50, {"u": (2, 1)})
    how = {"protocol": "strict", "penalty": "banded", "folds": 4, "seeds": 2}
    whole = ecjax.evaluate(embeddings, tasks, **how).scores
    cut = ecjax.evaluate(embeddings, tasks, max_memory_gib=1e-4, **how).scores
    np.testing.assert_allclose(whole["score"], cut["score"], rtol=1e-12)
    turned = ecjax.evaluate(dict(reversed(embeddings.items())), tasks, **how).scores
    turned["subset"] = ["+".join(sorted(name.split("+"))) for name in turned["subset"]]
    both = whole.merge(turned, on=["subset", "metric"])
    assert len(both) == len(whole)
    np.testing.assert_allclose(both["score_x"], both["score_y"], rtol=1e-9)
