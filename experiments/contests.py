"""ecjax against its rivals: the steps of the parts `ridge` and `logistic`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import rivals
import workloads
from measuring import (
    Rows,
    Setup,
    Timing,
    best_rate,
    clock,
    logistic_evaluations,
    say,
)
from sklearn.model_selection import KFold
from workloads import FOLDS, Sample

import ecjax
from ecjax import logistic

COLUMNS_OF_SUBSETS = 7680  # Σ of the columns of the 15 subsets
LATTICE_FLOP = 4.64e8  # the 15 factorisations of one fold
# Float64 fits to 1e-8: accuracy and log-loss, means over folds.
CROPS_REFERENCE = {"alphaearth": (0.568957, 1.078108), "geoclip": (0.588128, 1.433130)}
EVALUATIONS_GOAL = {1e-5: (46, 55, 28), 1e-6: (55, 75, 48)}


# Ridge on the paper's shapes


@dataclasses.dataclass(frozen=True)
class RidgeWork:
    """The samples, ecjax's warm timing on them, its R² of each fold, and the floor."""

    samples: list[Sample]
    timing: Timing
    scores: rivals.Scores
    floor_s: float

    def row(self, way: str, measured: str, seconds: float, goal=None, scores=None) -> dict:
        """A line of the table; `scores` are the rival's."""
        known = [abs(value - self.scores[key]) for key, value in (scores or {}).items()]
        return {
            "way": way,
            "measured": measured,
            "seconds": seconds,
            "ecjax (s)": self.timing.median,
            "ratio": seconds / self.timing.median,
            "goal": goal,
            "× floor": seconds / self.floor_s,
            "largest ΔR²": max(known) if known else None,
        }


@functools.cache
def ridge_work(setup: Setup) -> RidgeWork:
    samples = workloads.ridge_samples(setup.quick)
    tasks = {name: task for sample in samples for name, task in sample.as_tasks().items()}
    say("ridge: ecjax")
    timing = setup.warm(tasks)
    operations = sum(
        s.rows * s.table.shape[1] ** 2 + 2 * s.rows * COLUMNS_OF_SUBSETS * s.targets
        for s in samples
    )
    operations += len(samples) * FOLDS * LATTICE_FLOP
    for sample in samples:
        _ = sample.tables, sample.targets_by_task, sample.folds  # made before any clock runs
    return RidgeWork(samples, timing, r2_of(timing.results[-1]), operations / best_rate())


def r2_of(result: ecjax.Result) -> rivals.Scores:
    """(task, subset, fold) → R²."""
    folds = result.folds[result.folds["metric"] == "r2"]
    keys = zip(folds["task"], folds["subset"], folds["fold"].astype(int), strict=True)
    return dict(zip(keys, folds["score"].astype(float), strict=True))


def merge(found: Sequence[rivals.Scores]) -> rivals.Scores:
    return {key: value for scores in found for key, value in scores.items()}


def ridge_ecjax(setup: Setup) -> Rows:
    work = ridge_work(setup)
    span = f"median of {len(work.timing.seconds)} ({_range(work.timing)} s)"
    return [work.row("ecjax", span, work.timing.median, "4 × floor")]


def ridge_called(setup: Setup) -> Rows:
    work = ridge_work(setup)
    timing = clock(lambda i: rivals.ridge_as_called(work.samples, [i]), setup.repeats)
    return [
        work.row(
            "scikit-learn as called: loop per task and subset, default threads",
            f"{len(timing.seconds)} of {FOLDS} folds of every subset, median × {FOLDS}",
            timing.median * FOLDS,
            60,
            merge(timing.results),
        )
    ]


def ridge_tuned(setup: Setup, merged: bool) -> Rows:
    work = ridge_work(setup)
    solvers = rivals.solver_seconds(work.samples[0], ("cholesky", "svd"))
    tried = ", ".join(f"{name} {seconds:.2f}" for name, seconds in solvers.items())
    with rivals.workers() as pool:
        processes = _processes(pool)
        count = pool.count

        def fit(i: int) -> rivals.Scores:
            folds = [(count * i + j) % FOLDS for j in range(count)]
            return rivals.ridge_tuned(work.samples, folds, pool, merged)

        fit(setup.repeats)  # every process has then read every table once
        timing = clock(fit, setup.repeats)
    return [
        work.row(
            "scikit-learn tuned, " + ("tasks on the same rows merged" if merged else "per task"),
            f"{count} folds of every subset, median of {len(timing.seconds)} × {FOLDS / count:g}; "
            f"{processes}; cholesky (s a fit: {tried})",
            timing.median * FOLDS / count,
            20 if merged else 30,
            merge(timing.results),
        )
    ]


def _processes(pool: rivals.Workers) -> str:
    threads = pool.threads()
    return f"{len(threads)} processes, at most {max(threads.values())} thread each"


def ridge_himalaya(setup: Setup) -> Rows:
    work = ridge_work(setup)
    threads, best = rivals.at_best_threads(lambda: rivals.ridge_himalaya(work.samples[-1:], [0]))
    with rivals.threadpool_limits(best, user_api="blas"):
        timing = clock(lambda i: rivals.ridge_himalaya(work.samples, [i]), setup.repeats, 30)
    return [
        work.row(
            "himalaya.ridge.Ridge, numpy backend, one SVD a fold, tasks merged",
            f"{len(timing.seconds)} of {FOLDS} folds of every subset, median × {FOLDS}; BLAS "
            f"threads: {threads} (the faster)",
            timing.median * FOLDS,
            None,
            merge(timing.results),
        )
    ]


def ridge_coordbench(setup: Setup) -> Rows:
    """Once for as many fits as the paper's 20 folds, once for the probe's own sweep."""
    work = ridge_work(setup)
    device = "cuda" if setup.platform == "gpu" else "cpu"
    splits = KFold(rivals.COORDBENCH_FOLDS, shuffle=True, random_state=workloads.SEED)
    seconds: dict[str, float] = {}  # of one fit of every subset, by sample
    for sample in work.samples:
        fold = next(iter(splits.split(sample.table)))

        def fit(i: int, sample=sample, fold=fold):
            for y in sample.targets_by_task.values():
                for x in sample.tables.values():
                    rivals.coordbench(x, y, [fold], [rivals.COORDBENCH_LAMBDAS[8 + i]], device)

        seconds[sample.name] = clock(fit, setup.repeats, 15).median
    sweep_sample = work.samples[0]
    sweep = rivals.COORDBENCH_LAMBDAS[2 :: setup.quick_or(3, 9)]  # of 21, to save time
    tasks = sweep_sample.as_tasks()
    options = {"folds": rivals.COORDBENCH_FOLDS, "ridge_lambda": sweep}
    say("ridge: ecjax, CoordBench's sweep")
    ours = setup.warm(tasks, 1, **options).median
    fits = len(sweep) * rivals.COORDBENCH_FOLDS
    theirs = seconds[sweep_sample.name] * fits
    same_fits = work.row(
        f"CoordBench probe (torch), as many fits: {FOLDS} a subset and task",
        f"1 fit of every subset and task × {FOLDS}; trains on 4/5 of the rows, not 19/20; scales "
        "by training rows; tasks apart",
        sum(seconds.values()) * FOLDS,
    )
    return [
        same_fits,
        {
            "way": f"CoordBench probe, a sweep as its own: {len(sweep)} λ × "
            f"{rivals.COORDBENCH_FOLDS} folds, {sweep_sample.name} only",
            "measured": f"1 fit of every subset and task × {fits}; ecjax sweeps the same λ and "
            "folds, scaled by the table",
            "seconds": theirs,
            "ecjax (s)": ours,
            "ratio": theirs / ours,
            "goal": None,
            "× floor": None,
            "largest ΔR²": None,
        },
    ]


def ridge_vmap(setup: Setup) -> Rows:
    work = ridge_work(setup)
    threads, best = rivals.at_best_threads(lambda: rivals.ridge_vmap(work.samples[-1:], [0]))
    with rivals.threadpool_limits(best, user_api="blas"):
        rivals.ridge_vmap(work.samples)
        timing = clock(lambda _: rivals.ridge_vmap(work.samples), setup.repeats, 45)
    return [
        work.row(
            "plain vmap over 15 masks padded to 960, lax.map over folds",
            f"all, median of {len(timing.seconds)}; LAPACK threads: {threads} (the faster)",
            timing.median,
            8,
            timing.results[-1],
        )
    ]


# Logistic regression on real crops


@functools.cache
def crops_fits(setup: Setup, tolerance: float) -> tuple[float, Timing]:
    """Seconds of the first call, and the warm timing."""
    say(f"logistic: ecjax to {tolerance:g}")
    tasks = workloads.crops().as_tasks()
    first = clock(lambda _: setup.evaluate(tasks, logistic_tolerance=tolerance), 1).median
    timing = clock(lambda _: setup.evaluate(tasks, logistic_tolerance=tolerance), setup.repeats, 40)
    return first, timing


def fold_losses(result: ecjax.Result) -> dict[tuple[str, int], float]:
    """(subset, fold) → log-loss."""
    folds = result.folds[result.folds["metric"] == "log_loss"]
    keys = zip(folds["subset"], folds["fold"].astype(int), strict=True)
    return dict(zip(keys, folds["score"].astype(float), strict=True))


def mean_losses(result: ecjax.Result) -> dict[str, float]:
    """subset → log-loss, mean over folds."""
    scores = result.scores[result.scores["metric"] == "log_loss"]
    return dict(zip(scores["subset"], scores["score"].astype(float), strict=True))


def logistic_ecjax(setup: Setup, tolerance: float) -> Rows:
    first, timing = crops_fits(setup, tolerance)
    result = timing.results[-1]
    # Fits stop at MARGIN of the tolerance asked for; what it takes to the tolerance itself is told
    # by fits that are asked for so much less.
    asked = {"to it": tolerance / logistic.MARGIN, "to where fits stop": tolerance}
    counts = {
        what: logistic_evaluations(
            workloads.crops().as_tasks(), logistic_tolerance=value, require_platform=setup.platform
        )
        for what, value in asked.items()
    }
    losses = mean_losses(result)
    return [
        {
            "ecjax to": f"{tolerance:g}",
            "seconds": timing.median,
            "first call less warm (s)": first - timing.median,
            "of": " / ".join(losses),
            **{f"evaluations {what}": v.mean(1).round(1).tolist() for what, v in counts.items()},
            "goals to it": list(EVALUATIONS_GOAL[tolerance]),
            "largest gradient_norm": float(result.folds["gradient_norm"].max()),
            "log-loss against the references (%)": [
                100 * (losses[subset] / loss - 1) for subset, (_, loss) in CROPS_REFERENCE.items()
            ],
        }
    ]


def logistic_tight(setup: Setup) -> Rows:
    """Log-loss to both tolerances, against ecjax's own fits to a tight one."""
    tight = setup.quick_or(1e-8, 1e-6)
    say(f"logistic: ecjax to {tight:g}")
    result = setup.evaluate(workloads.crops().as_tasks(), logistic_tolerance=tight)
    limit = mean_losses(result)
    rows = []
    for tolerance in EVALUATIONS_GOAL:
        found = mean_losses(crops_fits(setup, tolerance)[1].results[-1])
        rows.append(
            {
                "ecjax to ": f"{tolerance:g}",
                f"log-loss against fits to {tight:g} (%): " + " / ".join(limit): [
                    100 * (found[subset] / limit[subset] - 1) for subset in limit
                ],
                "goal (%)": 0.1 if tolerance == 1e-5 else 0.03,
                "gradient_norm of those fits": float(result.folds["gradient_norm"].max()),
            }
        )
    return rows


def logistic_lbfgs(setup: Setup, tolerance: float | None) -> Rows:
    """scikit-learn to a tolerance, or as it comes: 100 iterations."""
    settings = {} if tolerance is None else {"tol": tolerance, "max_iter": 20_000}
    goal = {1e-5: 30, 1e-6: 60}.get(tolerance)
    _, timing = crops_fits(setup, tolerance or 1e-5)
    folds = list(range(setup.quick_or(4 if tolerance == 1e-5 else 2, 1)))
    say(f"logistic: scikit-learn, {len(folds)} folds")
    with rivals.workers() as pool:
        processes = _processes(pool)
        jobs = rivals.lbfgs_jobs(workloads.crops(), folds, settings, pool)
        pool.run(jobs[-pool.count :])
        fits: list[rivals.ClassFit] = pool.run(jobs)
        seconds = sum(fit.seconds for fit in fits) / len(folds) * FOLDS / pool.count
    widest_first = sorted(
        workloads.crops().subsets, key=lambda s: -len(workloads.crops().subsets[s])
    )
    ours = fold_losses(timing.results[-1])
    keys = [(subset, fold) for subset in widest_first for fold in folds]
    differ = [abs(f.log_loss / ours[key] - 1) for f, key in zip(fits, keys, strict=True)]
    norms = [fit.gradient_norm for fit in fits]
    return [
        {
            "way": "scikit-learn lbfgs, "
            + (f"tol {tolerance:g}" if tolerance else "default 100 iterations, unconverged"),
            "measured": f"{len(folds)} folds, scaled; {processes}",
            "seconds": seconds,
            "ecjax (s)": timing.median,
            "ratio": seconds / timing.median,
            "goal": goal,
            "iterations": [min(f.iterations for f in fits), max(f.iterations for f in fits)],
            "gradient norms": [min(norms), max(norms)],
            "largest difference in a fold's log-loss (%)": 100 * max(differ),
        }
    ]


def logistic_threads(setup: Setup) -> Rows:
    """Which threading serves scikit-learn best: fold 0 of every subset to 1e-5."""
    rows = []
    settings = {"tol": setup.quick_or(1e-5, 1e-2), "max_iter": 20_000}
    sample = workloads.crops()
    labels = sample.tasks["crops"]
    for subset, x in sample.tables.items():
        say(f"logistic: scikit-learn's threads, {subset}")
        seconds = [
            rivals.fit_lbfgs(x, labels, *sample.folds[0], settings, threads).seconds
            for threads in (1, 2)
        ]
        rows.append(
            {
                "scikit-learn, a fold of": subset,
                "1 BLAS thread (s)": seconds[0],
                "2 BLAS threads (s)": seconds[1],
                "1 thread, shared by 2 processes (s)": seconds[0] / 2,
            }
        )
    return rows


def _range(timing: Timing) -> str:
    return f"{min(timing.seconds):.2f}–{max(timing.seconds):.2f}"
