"""A probe of the user's own: ridge regression written as one has its numbers."""

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from make_studies import study
from quick import quickly_compiled
from watch import watched

import ecjax


@pytest.fixture(scope="module", autouse=True)
def quick():
    with quickly_compiled():
        yield


def ridge(X, Y, weights, X_test, penalty):
    own = weights[:, None]
    mean_x, mean_y = (weights @ a / weights.sum() for a in (X, Y))
    centred = (X - mean_x) * own
    system = centred.T @ centred + penalty * jnp.eye(X.shape[1])
    return (X_test - mean_x) @ jnp.linalg.solve(system, centred.T @ (Y - mean_y)) + mean_y


def shares(X, Y, weights, X_test, penalty):
    """What the empty set knows: how frequent classes are."""
    return jnp.broadcast_to(weights @ Y / weights.sum(), (len(X_test), Y.shape[1]))


def certain(X, Y, weights, X_test, penalty):
    return jnp.eye(Y.shape[1])[jnp.zeros(len(X_test), int)]


INTERVALS = ["score_low", "score_high", "eci_low", "eci_high", "eci_low_simultaneous",
             "eci_high_simultaneous", "p_better", "p_better_adjusted", "low", "high"]  # fmt: skip
P_OF_MAPS = ["p_adjusted", "p_worse_adjusted"]
HOW = {
    "paper": {"protocol": "paper", "folds": 5, "seeds": 2, "ridge_lambda": 3.0},
    "strict": {"protocol": "strict", "folds": 5, "seeds": 2},
    "two folds": {"protocol": "strict", "folds": 2},
    "buffer": {"protocol": "strict", "folds": 4, "split": "spatial", "block_km": 60,
               "buffer_km": 30},
}  # fmt: skip


@pytest.mark.parametrize("how", HOW)
def test_ridge_as_a_probe_has_the_numbers_of_ridge(how):
    embeddings, tasks = study([4, 3, 2], 60, {"u": (2, 1), "v": (1, 0.3)})
    rng = np.random.default_rng(2)
    lat, lon = rng.uniform(0, 2, size=(2, 60))
    tasks = {name: ecjax.Task(y, lat=lat, lon=lon) for name, y in tasks.items()}
    arguments = HOW[how] | {"predictions": True}
    built_in, own = (ecjax.evaluate(embeddings, tasks, probe=p, **arguments) for p in (None, ridge))
    for table, frame in built_in.tables.items():
        found = own.tables[table]
        if how != "paper":  # of what rows do to others, only ridge's own intervals know
            left_out = [*INTERVALS, *(P_OF_MAPS if table == "maps" else ())]
            frame, found = (one.drop(columns=left_out, errors="ignore") for one in (frame, found))
        pd.testing.assert_frame_equal(found, frame, rtol=1e-9, atol=1e-9, obj=table)
    assert own.manifest["arguments"]["probe"] == "ridge"


def test_the_study_is_one_program(monkeypatch):
    embeddings, tasks = study([4, 3, 2], 60, {"u": (2, 1)})
    with watched(monkeypatch) as seen:
        ecjax.evaluate(embeddings, tasks, protocol="paper", folds=5, probe=ridge)
    assert seen.executed == ["jit(study)"]
    with watched(monkeypatch) as seen:
        ecjax.evaluate(embeddings, tasks, protocol="paper", folds=5, probe=ridge, seed=7)
    assert not seen.compiled


def labels_of(n):
    return np.random.default_rng(3).choice(["rye", "oats", "maize"], n, p=[0.6, 0.3, 0.1])


def test_classes_are_predicted_as_probabilities():
    embeddings, _ = study([3, 2], 60, {})
    labels = labels_of(60)
    found = ecjax.evaluate(
        embeddings, {"w": labels}, protocol="paper", folds=4, probe=shares, predictions=True
    )
    folds = found.folds
    codes = np.unique(labels, return_inverse=True)[1]
    rows = found.predictions.query("subset == 'a' and target == 'rye'").set_index("id")["fold"]
    for fold in range(4):
        tested = rows.index[rows == fold].to_numpy(int)
        training = np.setdiff1d(np.arange(60), tested)
        share = np.bincount(codes[training], minlength=3) / len(training)
        expected = {
            "log_loss": -np.log(share[codes[tested]]).mean(),
            "accuracy": (codes[tested] == share.argmax()).mean(),
        }
        of_metric = folds[folds["fold"] == fold].set_index("metric")["score"]
        for metric, value in expected.items():
            of_fold = of_metric[metric]
            assert len(of_fold) == 3
            np.testing.assert_allclose(of_fold, value, rtol=1e-12)
    assert folds["converged"].isna().all() and folds["gradient_norm"].isna().all()


def test_no_probability_is_null_with_its_reason():
    embeddings, _ = study([3, 2], 60, {})
    found = ecjax.evaluate(
        embeddings, {"w": labels_of(60)}, folds=4, logistic_c=[0.1, 1], probe=certain
    )
    loss = found.scores.query("metric == 'log_loss'")
    assert loss["score"].isna().all()
    assert loss["reason"].str.contains("the probe gives a row's own class no probability").all()
    assert found.scores.query("metric == 'accuracy'")["score"].notna().all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"probe": "ridge"}, "give a function"),
        ({"probe": ridge, "penalty": "banded", "protocol": "strict"}, "one penalty"),
        ({"probe": ridge, "precision": "float32", "protocol": "paper"}, "float64"),
    ],
)
def test_what_a_probe_cannot_do_is_refused(arguments, words):
    embeddings, tasks = study([3, 2], 40, {"u": (1, 1)})
    with pytest.raises(ecjax.UsageError, match=words):
        ecjax.evaluate(embeddings, tasks, folds=4, **arguments)
