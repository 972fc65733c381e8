"""Protocol `strict` on logistic regression against loops over scikit-learn, and against leaks.

Each shape compiles for seconds, so few shapes carry many contents, and only that of three classes
is compiled as users have it.
"""

import contextlib

import jax
import numpy as np
import pandas as pd
import pytest
import reference
from make_studies import labels_of, study
from nested_test import columns_of_test_rows
from quick import quickly_compiled

import ecjax
from ecjax import inner
from ecjax.arrays import align_arrays
from ecjax.plan import make_plan
from ecjax.settings import Settings

NAMES = np.array(list("klmnop"))


def default_grid(n_train):
    return 1 / (n_train * 10.0 ** np.arange(-1, -5.5, -1))


# widths, rows, classes, shares, arguments of evaluate, grid
CASES = {
    "three classes": ([3, 2], 61, 3, None, {"folds": 5, "seeds": 2}, None),
    "three classes, columns of test rows": ([1, 2], 61, 3, None, {"folds": 5, "seeds": 2}, None),
    "two classes, two folds": ([4], 50, 2, None, {"folds": 2, "inner_folds": 4}, None),
    "a rare class, own grid": ([3], 44, 3, [0.06, 0.47, 0.47],
                               {"folds": 4, "inner_folds": 2, "logistic_c": [3, 0.01, 0.3]},
                               lambda _: np.array([0.01, 0.3, 3])),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_equals_loops_over_scikit_learn(case):
    widths, n, c, shares, arguments, grid = CASES[case]
    embeddings, _ = study(widths, n, {})
    labels = labels_of(embeddings, c, shares=shares)
    folds = arguments["folds"]
    if "columns of test rows" in case:
        columns_of_test_rows(embeddings, folds, 42)
    task = ecjax.Task(NAMES[labels], kind="classification")
    as_users_do = case.startswith("three classes")
    with contextlib.nullcontext() if as_users_do else quickly_compiled():
        found = ecjax.evaluate(
            embeddings, {"w": task}, protocol="strict", logistic_tolerance=1e-9, predictions=True,
            **arguments,
        )  # fmt: skip
    assert found.folds["converged"].all()
    by_fold = found.folds[found.folds["metric"] == "log_loss"].set_index(["subset", "seed"])
    by_fold = by_fold.sort_index(kind="stable")
    for seed in range(42, 42 + arguments.get("seeds", 1)):
        for subset in reference.all_subsets(embeddings):
            expected = reference.nested_logistic(
                embeddings, subset, labels, folds, seed, arguments.get("inner_folds", 3),
                grid or default_grid,
            )  # fmt: skip
            rows = by_fold.loc[(subset, seed)]
            np.testing.assert_allclose(rows["chosen_logistic_c"], expected.chosen, rtol=1e-12)
            own = found.predictions.query("subset == @subset and seed == @seed")
            wide = own.pivot(index="id", columns="target", values="prediction").to_numpy()
            np.testing.assert_allclose(wide, expected.predictions, atol=2e-6, rtol=0)
            with np.errstate(divide="ignore"):
                loss = -np.log(expected.predictions[np.arange(n), labels])
            mean = [loss[held_out].mean() for _, held_out in reference.splits(n, folds, seed)]
            mean = np.where(np.isinf(mean), np.nan, mean)
            np.testing.assert_allclose(rows["score"], mean, atol=1e-8, rtol=0)


def test_held_out_rows_change_nothing_but_their_own_score():
    """Other labels and columns of some held-out rows leave the fold's other predictions."""
    embeddings, _ = study([3, 2], 61, {})
    labels = labels_of(embeddings, 3)
    arguments = {"protocol": "strict", "predictions": True, "logistic_tolerance": 1e-9}
    arguments |= {"folds": 5, "seeds": 2}  # the shapes of "three classes"
    held_out = reference.splits(61, 5, 42)[2][1]
    altered = held_out[: len(held_out) // 2]
    found = []
    for _ in range(2):
        task = ecjax.Task(NAMES[labels], kind="classification")
        found.append(ecjax.evaluate(embeddings, {"w": task}, **arguments))
        for x in embeddings.values():
            x[altered] = x[altered] * 5 + 1
        labels[altered] = (labels[altered] + 1) % 3
    chosen, kept = [], []
    for result in found:
        folds, rows = (
            frame.query("seed == 42 and fold == 2") for frame in (result.folds, result.predictions)
        )
        chosen.append(folds["chosen_logistic_c"].tolist())
        kept.append(rows[~rows["id"].isin(altered)])
    assert chosen[0] == chosen[1]
    assert len(kept[0]) == 3 * 3 * (len(held_out) - len(altered))
    np.testing.assert_allclose(kept[0]["prediction"], kept[1]["prediction"], atol=2e-7)


def test_regression_and_classes_on_the_same_rows():
    """Both kinds in one call, with the index of every metric from pooled scores."""
    embeddings, tasks = study([3, 2], 60, {"u": (2, 0.5)})
    labels = labels_of(embeddings, 3)
    tasks["w"] = ecjax.Task(NAMES[labels], kind="classification")
    with quickly_compiled():
        both = ecjax.evaluate(embeddings, tasks, protocol="strict", folds=5)
    alone = ecjax.evaluate(embeddings, {"u": tasks["u"]}, protocol="strict", folds=5)
    for name in ("scores", "folds", "targets"):
        rows = both.tables[name].query("task == 'u'").reset_index(drop=True)
        pd.testing.assert_frame_equal(rows, alone.tables[name], rtol=1e-12)
    scores = both.scores.set_index(["task", "metric", "subset"])["pooled"]
    for row in both.index[both.index["target"].isna()].itertuples():
        assert row.score == pytest.approx(scores[row.task, row.metric, row.subset], abs=1e-12)
        perfect = 0.0 if row.metric in ("mse", "log_loss") else 1.0
        eci = (row.score - row.best_single_score) / (perfect - row.best_single_score)
        assert row.eci == row.eci_pooled == pytest.approx(eci, abs=1e-9)
        assert 0.2 <= row.best_single_share <= 1


def test_the_plan_counts_every_penalty_and_inner_fit():
    embeddings, _ = study([3, 2], 60, {})
    task = ecjax.Task(NAMES[labels_of(embeddings, 3)], kind="classification")
    aligned = align_arrays(embeddings, {"w": task})
    device = jax.devices("cpu")[0]
    plans = [
        make_plan(aligned, Settings(protocol=protocol, folds=5), device)
        for protocol in ("paper", "strict")
    ]
    paper, strict = (plan.work(plan.chunks[0]) for plan in plans)
    assert 20 < strict.seconds / paper.seconds < 30  # 5 penalties, 5 fits for 1
    assert strict.bytes > paper.bytes
    assert len(inner.INVERSE_C) == 5
