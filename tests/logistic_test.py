"""Logistic regression of all subsets against one scikit-learn fit at a time.

Each shape compiles for seconds, so few shapes carry many contents.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from quick import quickly_compiled
from ridge_test import wild

import ecjax
from ecjax import logistic, logistic_start
from ecjax.softmax import cast, make_problem

TIGHT = 1e-9
NAMES = np.array(list("klmnop"))

# name: widths, rows, classes, folds
SHAPES = {
    "two": ([6], 50, 2, 4),
    "three": ([5, 5], 60, 3, 5),
    "six, more columns than rows": ([70], 60, 6, 3),
}


def study_of(shape, seed, plain=True, shares=None):
    """Embeddings and labels that the columns tell a bit about; every class has two rows or more."""
    widths, n, c, folds = SHAPES[shape]
    rng = np.random.default_rng([seed, n])
    embeddings = wild(rng, n, widths, plain)
    signal = sum(reference.StandardScaler().fit_transform(x)[:, 0] for x in embeddings.values())
    noisy = signal + rng.normal(size=n)
    if shares is None:
        shares = np.full(c, 1 / c)
    cuts = np.quantile(noisy, np.cumsum(shares)[:-1])
    return embeddings, np.searchsorted(cuts, noisy), folds


def evaluate(embeddings, labels, folds, **arguments):
    arguments = {"logistic_tolerance": TIGHT, "predictions": True, **arguments}
    task = ecjax.Task(NAMES[labels], kind="classification")
    return ecjax.evaluate(embeddings, {"w": task}, folds=folds, protocol="paper", **arguments)


def probabilities_of(result, subset):
    """(n, c) as predicted."""
    rows = result.predictions[result.predictions["subset"] == subset]
    return rows.pivot(index="id", columns="target", values="prediction").to_numpy()


def fold_scores(result, subset, metric):
    rows = result.folds.query("subset == @subset and metric == @metric")
    return rows.sort_values("fold")["score"].to_numpy()


def log_losses(probabilities, labels, folds, seed=42):
    with np.errstate(divide="ignore"):
        loss = -np.log(probabilities[np.arange(len(labels)), labels])
    splits = reference.splits(len(labels), folds, seed)
    return np.array([loss[held_out].mean() for _, held_out in splits])


def assert_matches(embeddings, labels, folds, logistic_c=1.0, tolerance=TIGHT):
    arguments = {"logistic_c": logistic_c, "logistic_tolerance": tolerance}
    result = evaluate(embeddings, labels, folds, **arguments)
    assert (result.folds["gradient_norm"] <= tolerance).all() and result.folds["converged"].all()
    ties = 0
    for subset in reference.all_subsets(embeddings):
        expected = reference.logistic(embeddings, subset, labels, folds, logistic_c=logistic_c)
        found = probabilities_of(result, subset)
        np.testing.assert_allclose(found.sum(1), 1, atol=1e-12)
        np.testing.assert_allclose(found, expected, atol=2e-6, rtol=0)  # single rows
        losses = log_losses(expected, labels, folds)
        known = np.isfinite(losses)
        score = fold_scores(result, subset, "log_loss")
        np.testing.assert_allclose(score[known], losses[known], atol=1e-6, rtol=0)
        assert np.isnan(score[~known]).all()
        top = np.sort(expected, axis=1)
        tied = top[:, -1] - top[:, -2] < 1e-5
        assert (found.argmax(1) == expected.argmax(1))[~tied].all()
        right = [
            (expected.argmax(1) == labels)[held_out].mean()
            for _, held_out in reference.splits(len(labels), folds, 42)
        ]
        if not tied.any():
            np.testing.assert_allclose(
                fold_scores(result, subset, "accuracy"), right, rtol=0, atol=1e-12
            )
        ties += int(tied.sum())
    assert ties <= 2, "so many ties that nothing was compared"
    return result


@pytest.mark.parametrize("logistic_c", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_fold_equals_scikit_learn(shape, logistic_c):
    embeddings, labels, folds = study_of(shape, seed=1)
    # With more columns than rows only λ = 1/(C·m) curves most directions: at C = 100 a gradient of
    # 1e-9 leaves rows up to 1e-5 off, scikit-learn's lbfgs as much as ecjax. Both meet at the end.
    flat = logistic_c == 100 and sum(SHAPES[shape][0]) > SHAPES[shape][1]
    assert_matches(embeddings, labels, folds, logistic_c, tolerance=1e-11 if flat else TIGHT)


@pytest.mark.parametrize("shape", SHAPES)
def test_wild_columns_and_rare_classes_equal_scikit_learn(shape):
    """Scales 1e-6…1e6, offsets 1e4 scales, duplicate and constant columns; shares 80 : 20."""
    c = SHAPES[shape][2]
    shares = np.r_[0.8, np.full(c - 1, 0.2 / (c - 1))] if c < 6 else [0.4, 0.2, 0.1, 0.1, 0.1, 0.1]
    embeddings, labels, folds = study_of(shape, seed=2, plain=False, shares=shares)
    assert_matches(embeddings, labels, folds)


def only_in_fold(labels, folds, fold, rare):
    """Labels of which class `rare` has members in one fold only, two of them."""
    labels = np.where(labels == rare, (rare + 1) % (labels.max() + 1), labels)
    _, held_out = reference.splits(len(labels), folds, 42)[fold]
    labels[held_out[:2]] = rare
    return labels


@pytest.mark.parametrize("shape", ["three", "six, more columns than rows"])
def test_a_class_absent_from_the_training_rows_of_a_fold(shape):
    """With three classes that fold is left with two, which scikit-learn fits as binomial."""
    embeddings, labels, folds = study_of(shape, seed=3)
    fold, rare = 1, 2
    labels = only_in_fold(labels, folds, fold, rare)
    result = assert_matches(embeddings, labels, folds)
    _, held_out = reference.splits(len(labels), folds, 42)[fold]
    for subset in reference.all_subsets(embeddings):
        found = probabilities_of(result, subset)
        assert (found[held_out, rare] == 0).all()
        assert (np.delete(found[:, rare], held_out) > 0).all()
        assert fold_scores(result, subset, "accuracy")[fold] <= 1 - 2 / len(held_out)
        undefined = np.isnan(fold_scores(result, subset, "log_loss"))
        assert list(np.flatnonzero(undefined)) == [fold]
    scores = result.scores.set_index("metric")
    assert scores.loc["accuracy", ["score", "pooled"]].notna().all(axis=None)
    assert scores.loc["balanced_accuracy", ["score", "pooled"]].notna().all(axis=None)
    assert scores.loc[["log_loss"], ["score", "pooled"]].isna().all(axis=None)
    reason = "a class is absent from the training rows of fold 1"
    assert (scores.loc[["log_loss"], "reason"] == reason).all()
    assert result.undefined


def test_held_out_labels_do_not_reach_the_predictions():
    embeddings, labels, folds = study_of("three", seed=4)
    _, held_out = reference.splits(len(labels), folds, 42)[0]
    changed = labels.copy()
    changed[held_out] = np.roll(labels[held_out], 1)
    assert (changed != labels).sum() >= 4
    before, after = (evaluate(embeddings, found, folds) for found in (labels, changed))
    for subset in reference.all_subsets(embeddings):
        moved = probabilities_of(before, subset) - probabilities_of(after, subset)
        assert np.abs(moved[held_out]).max() < 1e-6
        assert np.abs(moved).max() > 1e-3  # the other folds do train on them


def test_a_loose_fit_reports_that_it_has_not_converged():
    embeddings, labels, folds = study_of("three", seed=5)
    result = evaluate(embeddings, labels, folds, logistic_tolerance=1e-18)
    assert (result.folds["gradient_norm"] > 1e-18).any()
    converged = result.folds["gradient_norm"] <= 1e-18
    assert (result.folds["converged"].astype(bool) == converged).all()


B, N, P, C = 4, 40, 5, 3  # folds, rows, columns, classes of the unit tests


def problems(logistic_c=1.0):
    """Columns (p, n), ones last, labels, training rows of four folds; fold 3 lacks class 2."""
    rng = np.random.default_rng(8)
    z = reference.StandardScaler().fit_transform(rng.normal(size=(N, P)))
    x = np.column_stack([z, np.ones(N)]).T
    labels = (z[:, 0] + 0.5 * rng.normal(size=N) > 0).astype(np.int32)
    labels[rng.permutation(N)[:10]] = 2
    training = rng.random((B, N)) < 0.8
    training[3, labels == 2] = False
    folds = make_problem(labels, C, training, logistic_c, "float64")
    whole = make_problem(labels, C, np.ones((1, N), bool), logistic_c, "float64")
    return x, labels, training, folds, whole


@functools.cache
def compiled_fit():
    """Fits of the four folds from parents (2, B, C, P + 1), two folds side by side."""

    def fit(x, folds, whole, parents, tolerance):
        single = cast((x, whole, parents[:, :1]), np.float32)
        preconditioners, _ = logistic_start.make_preconditioners(*single, np.float32(1e-4))
        rows = jnp.full((B, 1), N)
        batch = logistic._Batch(*folds[1:], parents.swapaxes(0, 1), rows)
        return logistic.fit_problems(x, folds.onehot, batch, preconditioners, tolerance, 2)

    jitted = jax.jit(fit)

    def quick(*arguments):
        with quickly_compiled():
            return jitted(*arguments)

    return quick


def test_the_gradient_norm_is_true_and_the_start_does_not_matter():
    rng = np.random.default_rng(9)
    with jax.enable_x64(True):
        x, labels, training, folds, whole = problems()
        nothing = np.zeros((2, B, C, P + 1))
        from_zero = compiled_fit()(x, folds, whole, nothing, TIGHT)
        parents = rng.normal(size=nothing.shape)
        parents -= parents.mean(2, keepdims=True)
        parents[:, 3, 2] = 0  # a fit has no weights of an absent class
        parents[:, 3, :2] -= parents[:, 3, :2].mean(1, keepdims=True)
        from_parents = compiled_fit()(x, folds, whole, parents, TIGHT)
    for fit in (from_zero, from_parents):
        weights, norm = np.asarray(fit.weights), np.asarray(fit.gradient_norm)
        assert (norm <= TIGHT).all()
        for b, rows in enumerate(training):
            present = np.unique(labels[rows])
            true = reference.gradient_norm(weights[b, present], x[:-1, rows].T, labels[rows], 1.0)
            np.testing.assert_allclose(norm[b], true, rtol=1e-3, atol=1e-14)
    assert (np.asarray(from_zero.weights)[3, 2] == 0).all()
    # The objective's curvature is at least λ = 1/(C·m) in the coefficients: 1e-9 becomes 1e-7.
    np.testing.assert_allclose(from_parents.weights, from_zero.weights, rtol=0, atol=2e-7)


def test_the_reported_norm_is_of_the_weights_even_where_the_fit_was_cut_short():
    """A tolerance that stops early leaves a norm far from zero, which must be the weights' own."""
    with jax.enable_x64(True):
        x, labels, training, folds, whole = problems()
        loose = compiled_fit()(x, folds, whole, np.zeros((2, B, C, P + 1)), 1e-2)
    for b, rows in enumerate(training):
        present = np.unique(labels[rows])
        weights = np.asarray(loose.weights)[b, present]
        true = reference.gradient_norm(weights, x[:-1, rows].T, labels[rows], 1.0)
        np.testing.assert_allclose(loose.gradient_norm[b], true, rtol=1e-9)
    assert np.asarray(loose.gradient_norm).max() > 1e-5


def objective(weights, x, folds):
    """(b,) in NumPy."""
    present, onehot = np.asarray(folds.present), np.asarray(folds.onehot)
    logits = np.where(present[:, :, None], weights @ x, -np.inf)
    top = logits.max(1)
    normaliser = np.log(np.exp(logits - top[:, None]).sum(1)) + top
    loss = normaliser - np.where(onehot > 0, logits, 0).sum(1)
    rows = np.asarray(folds.weights)
    data = (rows * np.where(rows > 0, loss, 0)).sum(1)
    return data + 0.5 * np.asarray(folds.penalty) * (weights[..., :-1] ** 2).sum((1, 2))


def test_combined_parents_are_never_worse_than_zero():
    rng = np.random.default_rng(10)
    with jax.enable_x64(True):
        x, _, _, folds, _ = problems()
        combine = jax.jit(logistic_start.combine_parents)
        at_zero = objective(np.zeros((B, C, P + 1)), x, folds)
        better = 0
        for scale in (0.0, 1e-3, 1.0, 30.0, 1e4):
            parents = rng.normal(size=(2, B, C, P + 1)) * scale
            for kind in (parents, np.stack([parents[0], 0 * parents[0]]), parents[[0, 0]]):
                kind = kind.copy()
                kind[:, 3, 2] = 0
                found = objective(np.asarray(combine(kind, x, folds)), x, folds)
                assert (found <= at_zero + 1e-12).all(), scale
                better += int((found < at_zero - 1e-6).sum())
    assert better > 10
