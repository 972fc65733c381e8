"""Predicting one embedding from another gives what `evaluate` gives for its columns as a task."""

import numpy as np
import pytest
from reference import StandardScaler

import ecjax
from ecjax import overlap_pairs
from ecjax.folds import stratified_folds


@pytest.fixture(scope="module")
def embeddings():
    rng = np.random.default_rng(3)
    common = rng.normal(size=(90, 3))
    a = np.column_stack([common, rng.normal(size=(90, 2)), np.full(90, 0.3)])
    b = common @ rng.normal(size=(3, 4)) * [1, 10, 0.1, 1] + rng.normal(size=(90, 4)) + 5
    return {"a": a, "b": b}


def test_r2_is_the_pooled_score_of_strict(embeddings):
    table = ecjax.overlap(embeddings).overlap.set_index(["model_a", "model_b", "measure"])["value"]
    fold = stratified_folds(np.arange(90), np.zeros(90), overlap_pairs.GROUPS, 42)
    for a, b in (("a", "b"), ("b", "a")):
        task = ecjax.Task(embeddings[a], split=[str(f) for f in fold])
        result = ecjax.evaluate({b: embeddings[b]}, {"t": task}, split="column")
        scores = result.scores.set_index("metric")
        assert table[a, b, "r2"] == pytest.approx(scores.loc["r2", "pooled"], abs=1e-9)
        assert 0.2 < table[a, b, "r2"] < 0.9


def test_the_interval_is_of_the_folds_errors(embeddings):
    """By hand from the out-of-fold predictions of `evaluate`."""
    found = ecjax.overlap(embeddings, confidence=0.9).overlap
    row = found[(found["measure"] == "r2") & (found["model_a"] == "b")].iloc[0]
    fold = stratified_folds(np.arange(90), np.zeros(90), overlap_pairs.GROUPS, 42)
    task = ecjax.Task(embeddings["b"], split=[str(f) for f in fold])
    result = ecjax.evaluate({"a": embeddings["a"]}, {"t": task}, split="column", predictions=True)
    rows = result.predictions
    scale = StandardScaler().fit(embeddings["b"]).scale_
    target = rows["target"].str.removeprefix("t_").astype(int)
    error = rows["squared_error"] / scale[target] ** 2
    lost = error.groupby(fold[rows["id"]]).sum().to_numpy()
    z = StandardScaler().fit_transform(embeddings["b"])
    spread = np.array([(z[fold == f] ** 2).sum() for f in range(20)])
    deleted = 1 - (lost.sum() - lost) / (spread.sum() - spread)
    half = 1.7291328115 * np.sqrt(19 / 20 * ((deleted - deleted.mean()) ** 2).sum())
    value = 1 - lost.sum() / spread.sum()
    assert (row["low"], row["high"]) == pytest.approx((value - half, value + half), abs=1e-9)
