"""What rows do to others by being trained on: derivatives by λ, and the intervals with them."""

import math

import jax
import numpy as np
import pytest
import reference
from make_studies import study

import ecjax
from ecjax import engine, intervals
from ecjax.arrays import align_arrays
from ecjax.plan import make_plan
from ecjax.program import Penalties
from ecjax.settings import Settings

SETS = ("a", "b", "a+b")


def sums_at(embeddings, tasks, ridge_lambda, **arguments):
    """Sums of fits with one λ."""
    settings = Settings(protocol="strict", ridge_lambda=(ridge_lambda,), **arguments)
    plan = make_plan(align_arrays(embeddings, tasks), settings, jax.devices("cpu")[0])
    (piece,) = plan.chunks[0]
    penalties = Penalties(*(np.float64(v) for v in (np.nan, np.nan, 1e-5)))
    with jax.enable_x64(True):
        program = (plan.program(piece, True),)
        (sums,) = jax.device_get(engine.study(program, (plan.data(piece),), penalties))
    return sums.regression


@pytest.mark.parametrize("penalty", ["shared", "banded"])
def test_slopes_are_derivatives_of_the_rows_errors(penalty):
    embeddings, tasks = study([4, 6], 80, {"u": (2, 1), "v": (1, 0.3)})
    how = {"folds": 4, "seeds": 2, "penalty": penalty}
    slope = sums_at(embeddings, tasks, 20.0, **how).row_slope
    more, less = (
        sums_at(embeddings, tasks, 20 * math.exp(step), **how).row_error for step in (1e-3, -1e-3)
    )
    expected = (more - less) / 2e-3
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(slope, expected, atol=0.01 * np.abs(expected).max())


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
