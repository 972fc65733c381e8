"""What rows do to others by being trained on: derivatives by λ, and the intervals with them."""

import math

import jax
import numpy as np
import pytest
import reference
from make_studies import labels_of, study
from quick import quickly_compiled

import ecjax
from ecjax import engine, intervals
from ecjax.arrays import align_arrays
from ecjax.plan import make_plan
from ecjax.program import Penalties
from ecjax.settings import Settings

SETS = ("a", "b", "a+b")
HOW = {"folds": 4, "seeds": 2, "inner_folds": 2}  # of all classes, so that they share a program


@pytest.fixture(scope="module", autouse=True)
def quick():
    with quickly_compiled():
        yield


def sums_at(embeddings, tasks, **arguments):
    """Sums of fits with one λ and C."""
    settings = Settings(protocol="strict", **arguments)
    plan = make_plan(align_arrays(embeddings, tasks), settings, jax.devices("cpu")[0])
    (piece,) = plan.chunks[0]
    tolerance = settings.logistic_tolerance
    penalties = Penalties(*(np.float64(v) for v in (np.nan, np.nan, tolerance)))
    with jax.enable_x64(True):
        program = (plan.program(piece, settings.predictions),)
        (sums,) = jax.device_get(engine.study(program, (plan.data(piece),), penalties))
    return sums


@pytest.mark.parametrize("penalty", ["shared", "banded"])
def test_slopes_are_derivatives_of_the_rows_errors(penalty):
    embeddings, tasks = study([4, 6], 80, {"u": (2, 1), "v": (1, 0.3)})
    how = {"folds": 4, "seeds": 2, "penalty": penalty}
    slope, more, less = (
        sums_at(embeddings, tasks, ridge_lambda=(20 * math.exp(step),), **how).regression
        for step in (0, 1e-3, -1e-3)
    )
    expected = (more.row_error - less.row_error) / 2e-3
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(slope.row_slope, expected, atol=0.01 * np.abs(expected).max())


def classes_of(embeddings):
    return ecjax.Task(labels_of(embeddings, 3), kind="classification")


def test_slopes_of_classes_are_derivatives_of_the_rows_log_losses():
    """At the usual tolerance as good as from fits that are finished."""
    embeddings, _ = study([2, 6], 90, {})
    tasks = {"w": classes_of(embeddings)}
    usual = sums_at(embeddings, tasks, logistic_c=(0.2,), **HOW).classification[0]
    more, less = (
        sums_at(
            embeddings, tasks, logistic_c=(0.2 * math.exp(-step),), logistic_tolerance=1e-9, **HOW
        ).classification[0]
        for step in (0.05, -0.05)
    )
    expected = (more.row_log_loss - less.row_log_loss) / 0.1
    assert np.abs(expected).max() > 0.1
    # It is that of a step of 0.25, and less than a tenth of its spread beside the limit.
    off = usual.row_slope - expected
    assert (off.std(0) < 0.1 * expected.std(0)).all()


def test_a_class_that_training_rows_lack_has_no_slope():
    embeddings, _ = study([2, 6], 90, {})
    labels = labels_of(embeddings, 2)
    labels[7] = 2
    tasks = {"w": ecjax.Task(labels, kind="classification")}
    sums = sums_at(embeddings, tasks, logistic_c=(0.2,), **HOW).classification[0]
    assert np.isinf(sums.row_log_loss[7]).all() and (sums.row_slope[7] == 0).all()
    assert np.isfinite(sums.row_slope).all() and (np.abs(sums.row_slope).max(0) > 0.01).all()


def test_intervals_of_log_loss_are_the_formula():
    """And those of errors are from the errors alone."""
    embeddings, _ = study([2, 6], 90, {})
    tasks = {"w": classes_of(embeddings)}
    how = HOW | {"logistic_c": (0.2,), "logistic_tolerance": 1e-8}
    sums = sums_at(embeddings, tasks, **how).classification[0]
    found = ecjax.evaluate(embeddings, tasks, protocol="strict", **how)
    n, p = 90, 8
    log_loss, misses = sums.row_log_loss, sums.row_miss
    losses = {
        "log_loss": (log_loss, log_loss - sums.row_slope),
        "accuracy": (misses, misses),
    }
    gains = found.gains[found.gains["metric"].isin(losses)]
    assert len(gains) == 4
    for row in gains.itertuples():
        e, d = losses[row.metric]
        m = SETS.index(row.over)
        shares = d[:, 2] / e[:, 2].mean() - d[:, m] / e[:, m].mean()
        s = shares.std(ddof=1) / math.sqrt(n) * math.sqrt(n / max(n - p, n / 4))
        r = math.log(e[:, 2].sum() / e[:, m].sum())
        ends = [1 - math.exp(r + sign * intervals.z_of(0.95) * s) for sign in (1, -1)]
        np.testing.assert_allclose([row.eci_low, row.eci_high], ends, rtol=1e-4)


def losses_and_slopes(blocks, y, outer, penalties):
    """(n,) each, plainly: fits to z-scores of the training rows, and dw/dlog λ = −λA⁻¹w."""
    loss, slope = np.zeros(len(y)), np.zeros(len(y))
    for (training, held_out), of_blocks in zip(outer, penalties, strict=True):
        x = np.hstack([reference.scaled_by(block, training) for block in blocks])
        shift = np.diag(np.repeat(of_blocks, [block.shape[1] for block in blocks]))
        centre = y[training].mean(0)
        inverse = np.linalg.inv(x[training].T @ x[training] + shift)
        weights = inverse @ x[training].T @ (y[training] - centre)
        left = y[held_out] - centre - x[held_out] @ weights
        loss[held_out] = (left**2).sum(1)
        slope[held_out] = (2 * left * (x[held_out] @ inverse @ shift @ weights)).sum(1)
    return loss, slope


@pytest.mark.parametrize("penalty", ["shared", "banded"])
@pytest.mark.parametrize("seeds", [1, 2])
def test_intervals_of_gains_are_the_formula(penalty, seeds):
    embeddings, tasks = study([3, 20], 90, {"u": (2, 0.4)}, seed=3)
    how = {"folds": 6, "seeds": seeds, "seed": 5, "penalty": penalty}
    found = ecjax.evaluate(embeddings, tasks, protocol="strict", **how)
    y = reference.StandardScaler().fit_transform(tasks["u"])
    n, trained = 90, 75
    losses, with_training, columns = {}, {}, {}
    for subset in SETS:
        names = subset.split("+")
        blocks = [embeddings[name] for name in names]
        wanted = [f"chosen_lambda_{name}" for name in names]
        wanted = wanted if penalty == "banded" else ["chosen_ridge_lambda"] * len(names)
        total, slopes, counted = np.zeros(n), np.zeros(n), []
        for seed in range(5, 5 + seeds):
            rows = found.folds.query("subset == @subset and metric == 'r2' and seed == @seed")
            penalties = np.stack([rows[name] for name in wanted], axis=1)  # (k, b)
            loss, slope = losses_and_slopes(blocks, y, reference.splits(n, 6, seed), penalties)
            total, slopes = total + loss / seeds, slopes + slope / seeds
            widths = [block.shape[1] for block in blocks]
            counted += [(widths / (1 + own / trained) ** 4).sum() for own in penalties]
        losses[subset], columns[subset] = total, np.mean(counted)
        with_training[subset] = total - slopes
    assert any(abs(with_training[s] - losses[s]).max() > 0.1 for s in SETS)
    gains = found.gains.query("metric == 'r2' and target.isna()")
    assert len(gains) == 2
    for row in gains.itertuples():
        f, m = row.subset, row.over
        shares = with_training[f] / losses[f].mean() - with_training[m] / losses[m].mean()
        p = max(columns[f], columns[m])
        s = shares.std(ddof=1) / math.sqrt(n) * math.sqrt(n / max(n - p, n / 4))
        r, z = math.log(losses[f].sum() / losses[m].sum()), intervals.z_of(0.95)
        assert row.eci_pooled == pytest.approx(1 - math.exp(r), abs=1e-10)
        assert math.log(1 - row.eci_low) - r == pytest.approx(z * s, rel=5e-3)
        assert r - math.log(1 - row.eci_high) == pytest.approx(z * s, rel=5e-3)
