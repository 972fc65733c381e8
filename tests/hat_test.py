"""Out-of-fold residuals from the hat matrix against scikit-learn and against the Gram route."""

import functools

import jax
import numpy as np
import pytest
import reference

from ecjax import gram, hat, ridge
from ecjax.folds import random_folds
from ecjax.subsets import build_lattice, requested

# widths, wanted sets, cap, rows, targets, folds, λ, at once
CASES = [
    ([4], [], 0, 23, 1, 4, 1.0, 1),
    ([5, 3, 3, 1], [], 0, 61, 2, 7, 0.3, 1),
    ([6, 5, 4, 3, 2, 1], [], 2, 60, 1, 20, 10.0, 4),
    ([7, 2, 2, 5, 1], ["a+c+e", "b+d", "e+d+c+b+a"], 0, 45, 3, 5, 1.0, 1),
    ([3, 4, 2], ["b"], 0, 30, 1, 30, 1e-6, 4),
    ([30, 20], [], 0, 41, 1, 3, 5.0, 1),
    ([3, 3, 2, 2, 1, 1], [], 4, 40, 1, 2, 1.0, 1),  # a block with more systems than stand together
]


def table(rng, widths, n, t):
    """Standardised columns, one constant and one twice, and targets in standard deviations."""
    x = rng.normal(size=(n, sum(widths)))
    if x.shape[1] > 6:
        x[:, 2], x[:, 5] = 3.0, x[:, 1]
    y = x[:, :1] + rng.normal(size=(n, t)) + 5
    return reference.StandardScaler().fit_transform(x), (y - y.mean(0)) / y.std(0)


@functools.partial(jax.jit, static_argnums=(4, 5))
def residuals_by_hat(z, y, ridge_lambda, held_out, lattice, at_once=1):
    """(k, h, s, t)."""
    factors = hat.factor(z, y, ridge_lambda, lattice, at_once)
    return jax.lax.map(
        lambda rows: hat.fold_residuals(factors, rows, rows < len(z), lattice, at_once), held_out
    )


@functools.partial(jax.jit, static_argnums=4)
def residuals_by_gram(z, y, ridge_lambda, held_out, lattice):
    """The same from the moments of each fold's training rows."""
    total = gram.moments(z, y, len(z) * 1.0)

    def fold(rows):
        xh, yh = (jax.numpy.take(a, rows, axis=0, mode="fill", fill_value=0) for a in (z, y))
        count = (rows < len(z)).sum() * 1.0
        system, rhs, mean_x, mean_y = gram.training_system(total, gram.moments(xh, yh, count))
        weights = ridge.lattice_solve(system, rhs, ridge_lambda, lattice)
        predicted = mean_y + gram.matmul((xh - mean_x), weights)  # (s, h, t)
        return jax.numpy.moveaxis(yh - predicted, 0, 1)

    return jax.lax.map(fold, held_out)


def in_float64(route, *arguments):
    with jax.enable_x64(True):
        return np.asarray(route(*arguments))


@pytest.mark.parametrize("widths, wanted, cap, n, t, folds, ridge_lambda, at_once", CASES)
def test_residuals_equal_one_fit_at_a_time(widths, wanted, cap, n, t, folds, ridge_lambda, at_once):
    rng = np.random.default_rng([n, t, folds])
    z, y = table(rng, widths, n, t)
    names = "abcdef"[: len(widths)]
    lattice = build_lattice(widths, requested(names, wanted, cap))
    held_out = random_folds(n, folds, (3,)).held_out[0]
    found = in_float64(residuals_by_hat, z, y, ridge_lambda, held_out, lattice, at_once)
    assert found.shape == (*held_out.shape, len(lattice.subsets), t)
    by_gram = in_float64(residuals_by_gram, z, y, ridge_lambda, held_out, lattice)
    for k, (training, rows) in enumerate(reference.splits(n, folds, 3)):
        assert (found[k, len(rows) :] == 0).all()  # the padding
        for i, subset in enumerate(lattice.subsets):
            predicted = reference.ridge_predictions(
                z[:, lattice.columns(subset)], y, training, rows, ridge_lambda
            )
            expected = y[rows] - predicted
            np.testing.assert_allclose(found[k, : len(rows), i], expected, rtol=0, atol=1e-9)
        inside = found[k, : len(rows)]
        np.testing.assert_allclose(inside, by_gram[k, : len(rows)], rtol=0, atol=1e-9)


def hostile_table(rng, n, p, kind):
    x = rng.normal(size=(n, p))
    if kind == "lone rows":  # columns that one row alone carries: its leverage is nearly 1
        x[:, :10] = 0
        x[np.arange(10), np.arange(10)] = 1
    if kind == "fading":
        turned = np.linalg.qr(rng.normal(size=(p, p)))[0]
        x = x * 10.0 ** -np.linspace(0, 4, p) @ turned
    z = reference.StandardScaler().fit_transform(x)
    y = z[:, :1] + rng.normal(size=(n, 1))
    return z, (y - y.mean(0)) / y.std(0)


@pytest.mark.parametrize("kind", ["plain", "lone rows", "fading"])
@pytest.mark.parametrize("p", [30, 54, 80])
def test_both_routes_lose_the_same_digits(kind, p):
    """The hat route is no less exact than the Gram route where rows determine their own fit."""
    n, folds = 60, 5
    z, y = hostile_table(np.random.default_rng(p), n, p, kind)
    lattice = build_lattice([p], [(0,)])
    held_out = random_folds(n, folds, (3,)).held_out[0]
    for ridge_lambda in (1e-8, 1e-4, 1.0):
        expected = np.concatenate(
            [
                y[rows] - reference.ridge_predictions(z, y, training, rows, ridge_lambda)
                for training, rows in reference.splits(n, folds, 3)
            ]
        )
        errors = []
        for route in (residuals_by_hat, residuals_by_gram):
            found = in_float64(route, z, y, ridge_lambda, held_out, lattice)
            errors.append(np.abs(found.reshape(-1, 1) - expected).max())
        assert errors[0] <= 30 * errors[1] + 1e-12, (ridge_lambda, errors)
        if ridge_lambda == 1:
            assert max(errors) < 1e-9
