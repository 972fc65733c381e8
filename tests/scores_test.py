"""Scores from sums, against scikit-learn on the predictions that the sums were made from."""

import warnings

import numpy as np
import pytest
import reference
from sklearn import metrics

import ecjax
from ecjax.scores import class_scores, regression_scores
from ecjax.sums import ClassSums, RegressionSums

R, S, K = 2, 3, 4  # seeds, subsets, folds
FOLDS = np.arange(22) % K


def regression_case(t=3, constant_fold=None, constant=()):
    """y (n, t) in standard deviations, predictions (r, s, n, t), and their sums."""
    rng = np.random.default_rng(t)
    y = rng.normal(size=(22, t))
    if constant_fold is not None:
        y[FOLDS == constant_fold, 0] = 0.3
    y -= y.mean(0)
    y /= y.std(0)
    scale = np.ones(t)
    for j in constant:
        y[:, j], scale[j] = 0, 0
    predictions = y + rng.normal(size=(R, S, 22, t))
    squares = (y - predictions) ** 2
    spread = np.empty((R, K, t))
    for k in range(K):
        part = y[FOLDS == k]
        spread[:, k] = np.where(np.ptp(part, axis=0) == 0, 0, ((part - part.mean(0)) ** 2).sum(0))
    sums = RegressionSums(
        squared_error=np.stack([squares[:, :, FOLDS == k].sum(2) for k in range(K)], axis=2),
        spread=spread,
        pooled_spread=((y - y.mean(0)) ** 2).sum(0),
        count=np.tile(np.bincount(FOLDS).astype(float), (R, 1)),
        scale=scale,
        row_error=squares.sum(0).transpose(2, 1, 0),
        predictions=None,
    )
    return y, predictions, sums


def assert_regression_matches(y, predictions, found):
    r2, mse = found
    for r in range(R):
        for s in range(S):
            one = predictions[r, s]
            for k in range(K):
                rows = FOLDS == k
                expected = metrics.r2_score(y[rows], one[rows], multioutput="variance_weighted")
                assert r2.fold[r, s, k] == pytest.approx(expected, abs=1e-12)
                expected = metrics.mean_squared_error(y[rows], one[rows])
                assert mse.fold[r, s, k] == pytest.approx(expected, abs=1e-12)
            expected = metrics.r2_score(y, one, multioutput="variance_weighted")
            assert r2.pooled[r, s] == pytest.approx(expected, abs=1e-12)
            assert mse.pooled[r, s] == pytest.approx(metrics.mean_squared_error(y, one), abs=1e-12)
    errors = ((y - predictions) ** 2).sum((2, 3)).mean(0)
    np.testing.assert_allclose(r2.loss, errors)
    np.testing.assert_allclose(mse.loss / mse.loss[0], errors / errors[0])


@pytest.mark.parametrize("t", [1, 3])
def test_regression_scores_equal_scikit_learn(t):
    y, predictions, sums = regression_case(t)
    assert_regression_matches(y, predictions, regression_scores(sums, list(range(t))))


def test_scores_of_one_target_and_of_some():
    y, predictions, sums = regression_case()
    for chosen in ([1], [2, 0]):
        found = regression_scores(sums, chosen)
        assert_regression_matches(y[:, chosen], predictions[..., chosen], found)


def test_a_target_that_is_constant_in_a_fold():
    """Alone it has no R² there; beside others it carries no weight, as in scikit-learn."""
    _, _, sums = regression_case(1, constant_fold=2)
    r2, mse = regression_scores(sums, [0])
    assert np.isnan(r2.fold[..., 2]).all() and np.isfinite(np.delete(r2.fold, 2, axis=2)).all()
    assert r2.reason == "the target is constant in fold 2"
    assert np.isfinite(r2.pooled).all() and np.isfinite(mse.fold).all() and mse.reason == ""
    y, predictions, sums = regression_case(3, constant_fold=2)
    assert_regression_matches(y, predictions, regression_scores(sums, [0, 1, 2]))


def test_a_target_that_is_constant_in_the_table():
    y, predictions, sums = regression_case(3, constant=[1])
    r2, mse = regression_scores(sums, [1])
    for scores in (r2, mse):
        assert np.isnan(scores.fold).all() and np.isnan(scores.loss).all()
        assert scores.reason == "the target is constant"
    others = regression_scores(sums, [0, 1, 2])
    assert_regression_matches(y[:, [0, 2]], predictions[..., [0, 2]], others)
    _, _, sums = regression_case(2, constant=[0, 1])
    assert regression_scores(sums, [0, 1])[0].reason == "all targets are constant"


def class_case(c=3, absent=None):
    rng = np.random.default_rng(c)
    labels = rng.permutation(np.arange(22) % c)
    labels[FOLDS == 1] = 0  # a fold in which one class alone is held out
    logits = rng.normal(size=(R, S, 22, c)) + 1.5 * np.eye(c)[labels]
    if absent is not None:
        fold, rare = absent
        labels[np.flatnonzero(FOLDS == fold)[:2]] = rare
        logits[:, :, FOLDS == fold, rare] = -np.inf
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    with np.errstate(divide="ignore"):
        loss = -np.log(probabilities[:, :, np.arange(22), labels])
    hit = probabilities.argmax(-1) == labels
    onehot = labels[:, None] == np.arange(c)

    def by_fold(values):
        return np.stack([values[:, :, FOLDS == k].sum(2) for k in range(K)], axis=2)

    sums = ClassSums(
        hits=by_fold(hit[..., None] & onehot).astype(float),
        log_loss=by_fold(loss),
        count=np.tile(by_fold(onehot[None, None])[0, 0], (R, 1, 1)).astype(float),
        gradient_norm=np.zeros((R, S, K)),
        iterations=np.zeros((R, S, K), int),
        row_miss=(~hit).sum(0).T,
        row_log_loss=loss.sum(0).T,
        probabilities=None,
    )
    return labels, probabilities, sums


@pytest.mark.parametrize("c", [2, 3, 5])
def test_class_scores_equal_scikit_learn(c):
    labels, probabilities, sums = class_case(c)
    accuracy, balanced, log_loss = class_scores(sums)
    parts = [(FOLDS == k, (slice(None), slice(None), k)) for k in range(K)]
    for r in range(R):
        for s in range(S):
            one = probabilities[r, s]
            for rows, place in [*parts, (np.ones(22, bool), None)]:
                scores = {m.metric: (m.pooled if place is None else m.fold[place])[r, s]
                          for m in (accuracy, balanced, log_loss)}  # fmt: skip
                guess = one[rows].argmax(1)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # classes guessed but absent
                    expected = {
                        "accuracy": metrics.accuracy_score(labels[rows], guess),
                        "balanced_accuracy": metrics.balanced_accuracy_score(labels[rows], guess),
                        "log_loss": metrics.log_loss(labels[rows], one[rows], labels=range(c)),
                    }
                assert scores == pytest.approx(expected, abs=1e-12)
    np.testing.assert_allclose(accuracy.loss, 1 - accuracy.pooled.mean(0))
    np.testing.assert_allclose(balanced.loss, 1 - balanced.pooled.mean(0))
    np.testing.assert_allclose(log_loss.loss, log_loss.pooled.mean(0))
    assert accuracy.reason == balanced.reason == log_loss.reason == ""


def test_an_absent_class_has_no_log_loss_and_counts_as_errors():
    labels, probabilities, sums = class_case(3, absent=(3, 2))
    accuracy, balanced, log_loss = class_scores(sums)
    assert np.isnan(log_loss.fold[..., 3]).all() and np.isfinite(log_loss.fold[..., :3]).all()
    assert np.isnan(log_loss.pooled).all()
    assert log_loss.reason == "a class is absent from the training rows of fold 3"
    for found in (accuracy, balanced):
        assert np.isfinite(found.fold).all() and found.reason == ""
    rows = FOLDS == 3
    expected = metrics.accuracy_score(labels[rows], probabilities[0, 0, rows].argmax(1))
    assert accuracy.fold[0, 0, 3] == pytest.approx(expected)


def test_one_class_only_is_null_with_a_reason():
    _, _, sums = class_case(2)
    only = sums._replace(hits=sums.hits[..., :1], count=sums.count[..., :1])
    for scores in class_scores(only):
        assert np.isnan(scores.fold).all() and np.isnan(scores.pooled).all()
        assert scores.reason == "there is only one class"


@pytest.fixture(scope="module")
def study():
    rng = np.random.default_rng(1)
    embeddings = {"a": rng.normal(size=(40, 3)), "b": rng.normal(size=(40, 2))}
    y = embeddings["a"][:, :2] + embeddings["b"] + rng.normal(size=(40, 2))
    return embeddings, y


def test_means_over_folds_then_seeds(study):
    """score, sem, seed_std and pooled of three seeds."""
    embeddings, y = study
    found = ecjax.evaluate(embeddings, {"y": y}, folds=5, seeds=3, seed=7, protocol="paper")
    for subset in ("a", "b", "a+b"):
        ones = [reference.ridge(embeddings, subset, y, 5, seed) for seed in (7, 8, 9)]
        per_seed = [one.r2.mean() for one in ones]
        row = found.scores.query("subset == @subset and metric == 'r2'").iloc[0]
        expected = {
            "score": np.mean(per_seed),
            "sem": np.mean([one.r2.std() / np.sqrt(5) for one in ones]),
            "seed_std": np.std(per_seed),
            "pooled": np.mean([one.pooled for one in ones]),
        }
        assert {key: row[key] for key in expected} == pytest.approx(expected, abs=1e-10)
        assert row["n_rows"] == 40
    assert found.folds["seed"].unique().tolist() == [7, 8, 9]


def test_swept_penalties_equal_separate_runs(study):
    embeddings, y = study
    swept = ecjax.evaluate(
        embeddings, {"y": y}, folds=5, seeds=3, ridge_lambda=[0.1, 50], protocol="paper"
    )
    tables = ("scores", "folds", "targets", "index")
    for value in (0.1, 50.0):
        alone = ecjax.evaluate(
            embeddings, {"y": y}, folds=5, seeds=3, ridge_lambda=value, protocol="paper"
        )
        for table in tables:
            part = getattr(swept, table)
            part = part[part["ridge_lambda"] == value].drop(columns="ridge_lambda")
            expected = getattr(alone, table)
            assert part.reset_index(drop=True).equals(expected), table
    first, second = (swept.scores[swept.scores["ridge_lambda"] == v]["score"] for v in (0.1, 50))
    assert np.abs(first.to_numpy() - second.to_numpy()).min() > 1e-4


def test_constant_targets_are_null_in_the_tables(study):
    embeddings, y = study
    constant = np.column_stack([y[:, 0], np.full(40, 0.1)])
    found = ecjax.evaluate(embeddings, {"y": constant}, folds=5, seeds=3, protocol="paper")
    alone = found.targets[found.targets["target"] == "y_1"]
    assert alone[["score", "sem", "pooled"]].isna().all(axis=None)
    assert (alone["reason"] == "the target is constant").all()
    assert found.undefined
    together = found.scores.query("subset == 'a+b' and metric == 'r2'")["score"].item()
    single = found.targets.query("subset == 'a+b' and metric == 'r2' and target == 'y_0'")
    assert together == pytest.approx(single["score"].item(), abs=1e-14)
