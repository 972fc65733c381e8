"""The assumed evaluations of logistic fits: what makes them grow, by hand and through a plan."""

import jax
import numpy as np
import pytest

from ecjax import inner, logistic_cost
from ecjax.arrays import Task, align_arrays
from ecjax.folds import as_folds, random_folds
from ecjax.plan import make_plan
from ecjax.settings import Settings

CPU = jax.devices("cpu")[0]


def test_a_tighter_tolerance_and_a_shift_take_more_evaluations():
    assert logistic_cost.logistic_evaluations(1e-5) == 5 * logistic_cost.EVALUATIONS_PER_DECADE
    assert logistic_cost.logistic_evaluations(0.5) == logistic_cost.EVALUATIONS_PER_DECADE
    more = logistic_cost.logistic_evaluations(1e-5, 0.1) / logistic_cost.logistic_evaluations(1e-5)
    assert more == pytest.approx(1 + 0.1 * logistic_cost.OF_SHIFT)


def test_the_shift_by_hand():
    """Each of two folds trains on one half, whose means are one standard deviation off."""
    x = np.repeat([-3.0, 3.0], 50)[:, None] + 7
    folds = as_folds(np.repeat([[0, 1]], 50, axis=1), 2)
    drawn = np.sqrt(1 / 50 - 1 / 100)
    found = logistic_cost.column_shift([x, 0 * x], folds.held_out[0], None)
    # Of the two columns one is constant and stays where it is.
    assert found == pytest.approx(np.sqrt(1 / 2) - logistic_cost.CHANCE * drawn)


def test_the_shift_of_inner_fits_by_one_fit_at_a_time():
    rng = np.random.default_rng(0)
    n, m = 90, 3
    fold = np.sort(rng.integers(0, 4, n))
    blocks = [rng.normal(size=(n, 3)) + fold[:, None], rng.normal(size=(n, 2))]
    folds = as_folds(fold[None], 4)
    rows = inner.choices("classification", folds, None, m, (0,)).rows[0]
    z = np.concatenate(blocks, axis=1)
    z = (z - z.mean(0)) / z.std(0)
    shifts = []
    for k in range(4):
        remaining = np.delete(np.arange(4), k)  # three folds, each a group
        for left_out in (*remaining, k, k):  # the last two train on all groups
            training = np.flatnonzero((fold != k) & (fold != left_out))
            shift = np.sqrt((z[training].mean(0) ** 2).mean())
            drawn = logistic_cost.CHANCE * np.sqrt(1 / len(training) - 1 / n)
            shifts.append(max(0.0, shift - drawn))
    found = logistic_cost.column_shift(blocks, folds.held_out[0], rows)
    assert found == pytest.approx(np.mean(shifts), rel=1e-12) and found > 0


def test_rows_drawn_at_random_have_no_shift():
    rng = np.random.default_rng(1)
    blocks = [rng.normal(size=(400, 200)) @ rng.normal(size=(200, 200)), rng.normal(size=(400, 40))]
    for k in (2, 5, 20):
        folds = random_folds(400, k, (0,))
        rows = inner.choices("classification", folds, None, None, (0,)).rows
        for groups in (None, rows[0]):
            assert logistic_cost.column_shift(blocks, folds.held_out[0], groups) == 0


def planned(split, protocol, spread):
    """Seconds and operations of 300 rows in 30 places, whose columns differ by place so much."""
    rng = np.random.default_rng(2)
    place = np.repeat(np.arange(30), 10)
    x = rng.normal(size=(300, 6)) + spread * rng.normal(size=(30, 6))[place]
    lat, lon = (place // 6) * 10.0, (place % 6) * 10.0
    labels = np.array(list("abc"))[rng.integers(0, 3, 300)]
    task = Task(labels, lat=lat, lon=lon, group=place)
    tasks = align_arrays({"near": x, "far": x[:, ::-1] + rng.normal(size=x.shape)}, {"crop": task})
    plan = make_plan(tasks, Settings(split=split, folds=5, protocol=protocol), CPU)
    return plan.work(plan.chunks[0])


@pytest.mark.parametrize("protocol", ["paper", "strict"])
def test_folds_that_lie_elsewhere_are_planned_to_take_longer(protocol):
    random = planned("random", protocol, spread=3)
    for split in ("spatial", "group"):
        some, much = (planned(split, protocol, spread) for spread in (0, 3))
        assert much.seconds > 1.3 * random.seconds and much.operations > 1.3 * random.operations
        assert some.seconds == pytest.approx(random.seconds, rel=0.05)
