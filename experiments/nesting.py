"""What choosing penalties inside costs: the steps of the part `strict` of `benchmark.py`."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import rivals
import workloads
from measuring import Rows, Setup, clock, say
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler
from workloads import FOLDS, Sample, made_up

import ecjax

WIDTHS = (512, 256, 128, 64)
TARGETS = 10
GROUPS = 5  # of inner folds
TIMES_ROWS = 10.0 ** np.arange(2, -4.5, -0.5)  # λ over the number of training rows
LONG_S = 60.0  # a first call that takes longer stands for the warm ones, too


class Measured(NamedTuple):
    """Seconds of the first call, compilation included, and of warm ones, None where it is long."""

    first: float
    warm: float | None
    result: ecjax.Result

    def row(self, study: str, goal: int) -> dict[str, Any]:
        return {
            "study": study,
            "first call, compilation included (s)": self.first,
            "warm (s)": self.warm,
            "goal (s)": f"< {goal}",
        }


def measure(setup: Setup, tasks: Mapping[str, ecjax.Task], **arguments: Any) -> Measured:
    def work(_) -> ecjax.Result:
        return setup.evaluate(tasks, protocol="strict", **arguments)

    first = clock(work, 1)
    if first.median > LONG_S:
        return Measured(first.median, None, first.results[0])
    warm = clock(work, setup.repeats, LONG_S)
    return Measured(first.median, warm.median, warm.results[-1])


@functools.cache
def ridge_sample(setup: Setup) -> Sample:
    """One task of ten targets."""
    rows = workloads.RIDGE_ROWS["lc_stratified"]
    return made_up(rows // 8 if setup.quick else rows, WIDTHS, TARGETS)


@functools.cache
def ridge_fits(setup: Setup, penalty: str) -> Measured:
    say(f"strict: ecjax, ridge, {penalty}")
    return measure(setup, ridge_sample(setup).as_tasks(), penalty=penalty)


def ridge(setup: Setup, penalty: str, goal: int) -> Rows:
    sample = ridge_sample(setup)
    study = f"ridge, {sample.rows:,} × {sum(WIDTHS)}, one task of {TARGETS} targets, {penalty}"
    return [ridge_fits(setup, penalty).row(study, goal)]


def crops(setup: Setup) -> Rows:
    study, goal = "logistic, real crops: alphaearth, geoclip, both", 360
    try:
        tasks = workloads.crops().as_tasks()
    except SystemExit as absent:
        say(f"strict: skipped: {absent}")
        return [{"study": study, "skipped": str(absent), "goal (s)": f"< {goal}"}]
    say("strict: ecjax, logistic")
    trial = {"folds": 3, "logistic_tolerance": 0.1}
    return [measure(setup, tasks, **setup.quick_or({}, trial)).row(study, goal)]


class Cell(NamedTuple):
    """One outer fold of one subset: seconds, λ chosen, and R² of the fold."""

    seconds: float
    ridge_lambda: float
    r2: float


def nested_cell(x: np.ndarray, y: np.ndarray, folds: Sequence[tuple], fold: int) -> Cell:
    """scikit-learn's nested loop on x (n, p) and y (n, t): λ by inner folds, then fitted anew.

    Columns are scaled once for all λ of an inner fold, which saves it what a pipeline in a
    `GridSearchCV` would do again for each.
    """
    started = time.perf_counter()
    train, test = folds[fold]
    remaining = [tested for i, (_, tested) in enumerate(folds) if i != fold]
    groups = [np.concatenate(remaining[g::GROUPS]) for g in range(GROUPS)]
    grid = len(train) * TIMES_ROWS
    losses = np.zeros(len(grid))
    for tested in groups:
        rows = np.setdiff1d(train, tested)
        scaler = StandardScaler().fit(x[rows])
        own, new = scaler.transform(x[rows]), scaler.transform(x[tested])
        for i, ridge_lambda in enumerate(grid):
            losses[i] += ((y[tested] - _predict(ridge_lambda, own, y[rows], new)) ** 2).sum()
    best = float(grid[losses.argmin()])
    scaler = StandardScaler().fit(x[train])
    predicted = _predict(best, scaler.transform(x[train]), y[train], scaler.transform(x[test]))
    seconds = time.perf_counter() - started
    return Cell(seconds, best, rivals.weighted_r2(y[test], predicted))


def _predict(ridge_lambda: float, x, y, new) -> np.ndarray:
    return Ridge(ridge_lambda, solver="cholesky", copy_X=False).fit(x, y).predict(new)


def nested_loop(setup: Setup) -> Rows:
    """One outer fold of every subset, held against ecjax's numbers, and scaled to all folds."""
    sample, ours = ridge_sample(setup), ridge_fits(setup, "shared")
    say("strict: scikit-learn's nested loop, one fold of every subset")
    names = sorted(sample.tables, key=lambda name: -sample.tables[name].shape[1])
    with rivals.workers() as pool:
        (y,) = sample.targets_by_task.values()
        shared = [(pool.share(sample.tables[name]), pool.share(y), sample.folds) for name in names]
        threads = pool.threads()
        pool.run([(nested_cell, *shared[-1], 0)] * pool.count)  # warm
        cells: list[Cell] = pool.run([(nested_cell, *arguments, 0) for arguments in shared])
        seconds = sum(cell.seconds for cell in cells) / pool.count * FOLDS
    folds = ours.result.folds.query("metric == 'r2' and fold == 0").set_index("subset").loc[names]
    chosen = np.array([cell.ridge_lambda for cell in cells])
    same = np.isclose(chosen, folds["chosen_ridge_lambda"].to_numpy(float), rtol=1e-9)
    differ = np.abs([cell.r2 for cell in cells] - folds["score"].to_numpy(float))
    warm = ours.first if ours.warm is None else ours.warm
    return [
        {
            "way": f"scikit-learn's nested loop: {len(TIMES_ROWS)} λ × {GROUPS} inner folds, refit",
            "measured": f"fold 0 of every subset, seconds of the {len(cells)} cells summed × "
            f"{FOLDS} ÷ {len(threads)} processes of at most {max(threads.values())} thread each, "
            "as if no core ever waited; cholesky",
            "seconds": seconds,
            "ecjax (s)": warm,
            "ratio": seconds / warm,
            "same λ": f"{same.sum()} of {len(cells)}",
            "largest ΔR²": float(differ.max()),
        }
    ]
