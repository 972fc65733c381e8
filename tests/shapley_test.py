"""Shapley values against all orders of adding, and in the tables."""

import itertools

import numpy as np
import pandas as pd
import pytest
from quick import quickly_compiled

import ecjax
from ecjax import shapley
from ecjax.subsets import requested


@pytest.mark.parametrize("models", [1, 2, 3, 4])
def test_values_are_means_over_all_orders_of_adding(models):
    subsets = tuple(requested("abcd"[:models]))
    score = np.random.default_rng(models).normal(size=len(subsets))
    worth = {frozenset(): 0.3} | {frozenset(s): v for s, v in zip(subsets, score, strict=True)}
    expected = np.zeros(models)
    orders = list(itertools.permutations(range(models)))
    for order in orders:
        for i, m in enumerate(order):
            before = frozenset(order[:i])
            expected[m] += (worth[before | {m}] - worth[before]) / len(orders)
    found = shapley.values(subsets, models, score, 0.3)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_without_all_subsets_there_are_no_values():
    subsets = tuple(requested("abc", max_size=2))
    assert shapley.weights(subsets, 3) is None
    assert np.isnan(shapley.values(subsets, 3, np.zeros(len(subsets)), 0.0)).all()


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Nothing here asks what the fits themselves are."""
    with quickly_compiled():
        yield


@pytest.fixture(scope="module")
def result():
    rng = np.random.default_rng(0)
    embeddings = {c: rng.normal(size=(80, w)) for c, w in zip("abc", (3, 4, 2), strict=True)}
    y = embeddings["a"][:, :2] + embeddings["b"][:, :2] + rng.normal(size=(80, 2))
    labels = np.where(y[:, 0] > 0.8, "high", np.where(y[:, 0] < -0.8, "low", "middle"))
    return ecjax.evaluate(
        embeddings, {"y": y, "labels": labels}, folds=5, seeds=2, protocol="paper"
    )


KEYS = ["task", "target", "metric"]


def grouped(frame):
    return {
        tuple(None if pd.isna(v) else v for v in key): part
        for key, part in frame.groupby(KEYS, dropna=False)
    }


def all_scores(result):
    """Scores of whole tasks and of single targets."""
    return pd.concat([result.scores.assign(target=None), result.targets], ignore_index=True)


def test_values_of_the_tables_lie_between_the_empty_and_the_full_set(result):
    """For R² the empty set is below zero; the values add up to the way from it to the full set."""
    scores, empty = grouped(all_scores(result)), {}
    for key, values in grouped(result.shapley).items():
        full = scores[key].set_index("subset").loc["a+b+c", "score"]
        empty[key] = full - values["value"].sum()
        assert (values["low"] < values["value"]).all() and (values["value"] < values["high"]).all()
    assert -0.2 < empty["y", None, "r2"] < 0
    assert 1 < empty["y", None, "mse"] < 1.2
    assert empty["labels", None, "balanced_accuracy"] == pytest.approx(1 / 3, abs=0.05)


def test_gains_agree_with_the_scores_and_the_index(result):
    scores, index = grouped(all_scores(result)), grouped(result.index)
    gains = grouped(result.gains)
    assert set(gains) == set(index)
    for key, rows in gains.items():
        of = scores[key].set_index("subset")
        assert len(rows) == 3 * 2 + 6
        assert not rows.duplicated(["subset", "over"]).any()
        difference = of.loc[rows["subset"], "score"].to_numpy() - of.loc[rows["over"], "score"]
        np.testing.assert_allclose(rows["score_difference"], difference, atol=1e-12)
        if key[-1] in ("mse", "log_loss"):
            ratio = of.loc[rows["subset"], "pooled"].to_numpy() / of.loc[rows["over"], "pooled"]
        else:
            left = 1 - of["pooled"]
            ratio = left[rows["subset"]].to_numpy() / left[rows["over"]]
        np.testing.assert_allclose(rows["eci_pooled"], 1 - ratio, atol=1e-10)
        singles = rows[~rows["over"].str.contains("+", regex=False)].groupby("subset")
        of_index = index[key].set_index("subset")
        lowest, nearest = singles["eci_low"].min(), singles["eci_pooled"].min()
        np.testing.assert_allclose(of_index["eci_low"], lowest[of_index.index], atol=1e-12)
        np.testing.assert_allclose(of_index["eci_pooled"], nearest[of_index.index], atol=1e-10)
        wider = of_index["eci_high_simultaneous"] > of_index["eci_high"]
        assert wider.all() and (of_index["eci_low_simultaneous"] < of_index["eci_low"]).all()
        assert of_index["eci_pooled"].between(of_index["eci_low"], of_index["eci_high"]).all()


@pytest.mark.parametrize("wanted", [{"max_subset_size": 2}, {"subsets": ["a", "b", "a+b"]}])
def test_missing_subsets_give_null_with_a_reason(wanted):
    rng = np.random.default_rng(0)
    embeddings = {c: rng.normal(size=(40, 2)) for c in "abc"}
    found = ecjax.evaluate(
        embeddings, {"y": rng.normal(size=40)}, folds=4, protocol="paper", **wanted
    )
    assert len(found.shapley) == 3 * 2 and found.shapley["value"].isna().all()
    assert (found.shapley["reason"] == "Shapley values need every subset").all()
    assert not found.undefined  # nothing that the exit code counts
