"""The probe without embeddings against scikit-learn's dummies."""

import numpy as np
import pytest
from quick import quickly_compiled
from reference import splits
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import accuracy_score, log_loss, r2_score

import ecjax
from ecjax import baseline, results
from ecjax.arrays import align_arrays
from ecjax.compute import compute
from ecjax.progress import Silent
from ecjax.settings import Settings

N, FOLDS, SEEDS = 60, 7, (42, 43)


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Nothing here asks what the fits themselves are."""
    with quickly_compiled():
        yield


@pytest.fixture(scope="module")
def computed():
    import jax

    rng = np.random.default_rng(1)
    x = {"a": rng.normal(size=(N, 3))}
    y = rng.normal(size=(N, 2)) * [1, 30]
    labels = np.array(["u", "v", "w"])[rng.integers(0, 3, N)]
    tasks = align_arrays(x, {"y": y, "labels": labels})
    found = compute(
        tasks, Settings(folds=FOLDS, seeds=2, protocol="paper"), jax.devices("cpu")[0], Silent()
    )
    return y, labels, found


def test_regression_is_the_mean_of_the_training_rows(computed):
    y, _, (regression, _) = computed
    empty = regression.empty_scores(None)["r2"]
    expected, rows = [], np.zeros(y.shape)
    for seed in SEEDS:
        for training, held in splits(N, FOLDS, seed):
            model = DummyRegressor().fit(np.zeros((len(training), 1)), y[training])
            guess = model.predict(np.zeros((len(held), 1)))
            scale = y.std(0)
            expected.append(
                r2_score(y[held] / scale, guess / scale, multioutput="variance_weighted")
            )
            rows[held] += ((y[held] - guess) / scale) ** 2
    assert empty == pytest.approx(np.mean(expected), abs=1e-12)
    np.testing.assert_allclose(regression.empty.row_error[:, :, 0].T, rows, atol=1e-12)
    spread = baseline.spread_of_rows(y, regression.own, np.arange(N))
    np.testing.assert_allclose(spread.mean(1), 1, rtol=1e-12)


def test_classes_are_the_most_frequent_one_and_all_shares(computed):
    _, labels, (_, classification) = computed
    found = classification.empty_scores(None)
    expected = {"accuracy": [], "log_loss": []}
    for seed in SEEDS:
        for training, held in splits(N, FOLDS, seed):
            model = DummyClassifier(strategy="prior").fit(training[:, None], labels[training])
            guess = model.predict_proba(held[:, None])
            expected["accuracy"].append(accuracy_score(labels[held], model.predict(held[:, None])))
            expected["log_loss"].append(log_loss(labels[held], guess, labels=model.classes_))
    for metric, values in expected.items():
        assert found[metric] == pytest.approx(np.mean(values), abs=1e-12)
    empty = classification.empty
    assert empty.row_miss.sum() == pytest.approx(2 * N - empty.hits.sum())
    assert empty.row_log_loss.sum() == pytest.approx(empty.log_loss.sum())


def test_row_losses_are_those_of_the_folds(computed):
    """Every route's losses by row add up to its losses by fold."""
    _, _, (regression, classification) = computed
    sums = regression.sums
    np.testing.assert_allclose(sums.row_error.sum(1).T, sums.squared_error.sum((0, 2)), rtol=1e-12)
    sums = classification.sums
    misses = sums.count.sum((0, 1, 2)) - sums.hits.sum((0, 2, 3))
    np.testing.assert_allclose(sums.row_miss.sum(0), misses)
    np.testing.assert_allclose(sums.row_log_loss.sum(0), sums.log_loss.sum((0, 2)), rtol=1e-10)


def test_balanced_intervals_take_classes_as_strata():
    """Classes of unequal size: the interval is the one of a mean of class means."""
    rng = np.random.default_rng(2)
    labels = np.repeat(["often", "seldom"], [300, 20])
    x = {"a": rng.normal(size=(320, 2)) + (labels == "seldom")[:, None]}
    found = ecjax.evaluate(x, {"labels": labels}, folds=5, predictions=True, protocol="paper")
    row = found.scores.set_index("metric").loc["balanced_accuracy"]
    wide = found.predictions.pivot(index="id", columns="target", values=["y", "prediction"])
    hit = (wide["prediction"].to_numpy().argmax(1) == wide["y"].to_numpy().argmax(1)).astype(float)
    of_class = [hit[wide["y"][name].to_numpy() == 1] for name in ("often", "seldom")]
    error = np.sqrt(sum(h.var() / len(h) for h in of_class)) / 2
    half = (row["score_high"] - row["score_low"]) / 2
    assert half == pytest.approx(1.96 * error, rel=0.02)
    assert results.PRIMARY["classification"] == "accuracy"


def test_rows_that_no_fold_scores_have_no_part_in_the_intervals():
    """Trained on the first 40 rows, tested on the other 30: as from the predictions of these."""
    rng = np.random.default_rng(3)
    x = {"a": rng.normal(size=(70, 3)), "b": rng.normal(size=(70, 2))}
    y = x["a"][:, 0] + rng.normal(size=70)
    part = np.repeat(["train", "test"], [40, 30])
    task = ecjax.Task(y, split=part)
    found = ecjax.evaluate(x, {"y": task}, split="column", predictions=True, protocol="paper")
    rows = found.predictions.pivot(index="id", columns="subset", values="squared_error")
    assert len(rows) == 30
    gain = found.gains.query("subset == 'a+b' and over == 'a' and metric == 'r2'").iloc[0]
    fused, member = rows["a+b"].to_numpy(), rows["a"].to_numpy()
    assert gain["eci_pooled"] == pytest.approx(1 - fused.mean() / member.mean(), abs=1e-10)
    shares = fused / fused.mean() - member / member.mean()
    error = shares.std(ddof=1) / np.sqrt(30 - 5)
    ends = 1 - fused.mean() / member.mean() * np.exp(np.array([1, -1]) * 1.959964 * error)
    np.testing.assert_allclose(gain[["eci_low", "eci_high"]].astype(float), ends, atol=1e-6)
    empty = y[40:] - y[:40].mean()
    spread = ((y[40:] - y[40:].mean()) ** 2).sum()
    full = found.scores.query("subset == 'a+b' and metric == 'r2'")["score"].item()
    total = found.shapley.query("metric == 'r2'")["value"].sum()
    assert full - total == pytest.approx(1 - (empty**2).sum() / spread, abs=1e-10)
