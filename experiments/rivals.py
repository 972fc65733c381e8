"""What ecjax is compared with, each at its best: scikit-learn, himalaya, CoordBench, plain `vmap`.

Every ridge rival fits λ = 1 with a free intercept on the training rows of one fold and returns the
R² (variance-weighted over a task's targets) of the held-out rows. All get standardised float64
columns and targets ready-made; ecjax makes its own, checks its input and builds tables besides.
Axes: n rows, p columns, t targets, k folds, s subsets, c classes.
"""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import himalaya.ridge
import jax
import jax.numpy as jnp
import joblib
import numpy as np
import torch
from jax import lax
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import make_scorer, r2_score
from sklearn.model_selection import cross_val_score
from threadpoolctl import threadpool_info, threadpool_limits
from workloads import FOLDS, Sample

RIDGE_LAMBDA = 1.0
LOGISTIC_C = 1.0
COORDBENCH_LAMBDAS = tuple(10 ** (-4 + i / 2) for i in range(21))  # 1e-4 … 1e6, half decades
COORDBENCH_FOLDS = 5
Scores = dict[tuple[str, str, int], float]  # (task, subset, fold) → R²


def weighted_r2(y: np.ndarray, predicted: np.ndarray) -> float:
    """R², variance-weighted over targets."""
    return float(r2_score(y, predicted, multioutput="variance_weighted"))


# scikit-learn as people call it


def ridge_as_called(samples: Sequence[Sample], folds: Sequence[int]) -> Scores:
    """A loop per task and subset around `cross_val_score(Ridge(alpha=1.0))`, default threads.

    Only these folds are fitted; `cross_val_score` takes any list of splits.
    """
    scorer = make_scorer(r2_score, multioutput="variance_weighted")
    scores = {}
    for sample in samples:
        splits = [sample.folds[fold] for fold in folds]
        for task, y in sample.targets_by_task.items():
            for subset, x in sample.tables.items():
                found = cross_val_score(Ridge(RIDGE_LAMBDA), x, y, cv=splits, scoring=scorer)
                scores |= {(task, subset, f): v for f, v in zip(folds, found, strict=True)}
    return scores


# scikit-learn, tuned


class Workers:
    """A pool of processes, one per core, each with one BLAS thread, started and warm.

    Large arrays are written once to memory-mapped files that all processes read, before any clock
    runs.
    """

    def __init__(self, parallel: joblib.Parallel, folder: Path):
        self.parallel = parallel
        self.folder = folder
        self.arrays: dict[int, np.memmap] = {}
        self.kept: list[np.ndarray] = []  # an id stays unique while its array lives

    @property
    def count(self) -> int:
        return self.parallel.n_jobs

    def share(self, array: np.ndarray) -> np.memmap:
        """The array as a memory map."""
        if id(array) not in self.arrays:
            file = self.folder / f"{len(self.arrays)}.npy"
            np.save(file, array)
            self.arrays[id(array)] = np.load(file, mmap_mode="r")
            self.kept.append(array)
        return self.arrays[id(array)]

    def run(self, jobs: Sequence[tuple]) -> list[Any]:
        """Results of (function, *arguments) tuples, the first ones started first."""
        return self.parallel(joblib.delayed(function)(*rest) for function, *rest in jobs)

    def threads(self) -> dict[int, int]:
        """Process id → the most threads that any of its BLAS or OpenMP libraries would use."""
        return dict(self.run([(_threads,)] * (8 * self.count)))


@contextlib.contextmanager
def workers(count: int | None = None) -> Iterator[Workers]:
    """A pool of processes with one thread each; by default one for each core."""
    count = count or len(os.sched_getaffinity(0))
    in_memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with (
        TemporaryDirectory(dir=in_memory) as folder,
        joblib.parallel_config("loky", n_jobs=count, inner_max_num_threads=1),
        joblib.Parallel(batch_size=1, pre_dispatch="all") as parallel,
    ):
        yield Workers(parallel, Path(folder))


def _threads() -> tuple[int, int]:
    time.sleep(0.05)  # so that one process does not take all the questions
    return os.getpid(), max(library["num_threads"] for library in threadpool_info())


def ridge_tuned(
    samples: Sequence[Sample],
    folds: Sequence[int],
    pool: Workers,
    merged: bool,
    solver: str = "cholesky",
) -> Scores:
    """scikit-learn at its best: fits over the cores by processes with one BLAS thread each.

    Fits go out widest first, so that no core waits at the end; `copy_X=False` saves a copy. With
    `merged`, tasks on the same rows are one fit of all their targets, which scikit-learn does not
    do by itself. `solver_seconds` shows that `cholesky` is its fastest solver here.
    """
    jobs, keys = [], []
    for sample in samples:
        groups = [tuple(sample.tasks)] if merged else [(task,) for task in sample.tasks]
        for group in groups:
            targets = tuple(pool.share(sample.targets_by_task[task]) for task in group)
            for subset, x in sample.tables.items():
                table = pool.share(x)
                for fold in folds:
                    jobs.append((_ridge_fold, table, targets, *sample.folds[fold], solver))
                    keys.append([(task, subset, fold) for task in group])
    order = sorted(range(len(jobs)), key=lambda i: -jobs[i][1].size)
    found = pool.run([jobs[i] for i in order])
    return {
        key: score
        for i, scores in zip(order, found, strict=True)
        for key, score in zip(keys[i], scores, strict=True)
    }


def _ridge_fold(x, targets, train, test, solver: str) -> list[float]:
    """R² of each task's targets in one fold, all fitted together."""
    y = np.concatenate(targets, axis=1)
    model = Ridge(RIDGE_LAMBDA, solver=solver, copy_X=False)
    model.fit(x[train], y[train])
    predicted = model.predict(x[test]).reshape(len(test), -1)
    stops = np.cumsum([part.shape[1] for part in targets])[:-1]
    parts = zip(np.split(y[test], stops, axis=1), np.split(predicted, stops, axis=1), strict=True)
    return [weighted_r2(truth, found) for truth, found in parts]


def solver_seconds(sample: Sample, solvers: Sequence[str]) -> dict[str, float]:
    """Seconds of one full-width fit by each solver, one BLAS thread."""
    y = np.concatenate(list(sample.targets_by_task.values()), axis=1)
    train = sample.folds[0][0]
    seconds = {}
    with threadpool_limits(1):
        for solver in solvers:
            x = sample.table[train]
            started = time.perf_counter()
            Ridge(RIDGE_LAMBDA, solver=solver, copy_X=False).fit(x, y[train])
            seconds[solver] = time.perf_counter() - started
    return seconds


# himalaya


def ridge_himalaya(samples: Sequence[Sample], folds: Sequence[int]) -> Scores:
    """`himalaya.ridge.Ridge(solver="svd")`, numpy backend: one SVD a fold.

    The SVD is its only solver for ridge with p < n (`RidgeCV` takes one per fold, too). It is made
    for many targets, so tasks on the same rows share the fit.
    """
    scores = {}
    for sample in samples:
        y = np.concatenate(list(sample.targets_by_task.values()), axis=1)
        stops = np.cumsum([part.shape[1] for part in sample.targets_by_task.values()])[:-1]
        for subset, x in sample.tables.items():
            for fold in folds:
                train, test = sample.folds[fold]
                model = himalaya.ridge.Ridge(RIDGE_LAMBDA, fit_intercept=True, solver="svd")
                model.fit(x[train], y[train])
                predicted = model.predict(x[test])
                parts = zip(
                    sample.tasks,
                    np.split(y[test], stops, axis=1),
                    np.split(predicted, stops, axis=1),
                    strict=True,
                )
                scores |= {(task, subset, fold): weighted_r2(a, b) for task, a, b in parts}
    return scores


# CoordBench


def coordbench(
    x: np.ndarray,
    y: np.ndarray,
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
    lambdas: Sequence[float],
    device: str = "cpu",
) -> tuple[float, np.ndarray]:
    """The CoordBench probe, from its description: everything anew for every λ and every fold.

    It gathers the training rows, scales them, builds the Gram matrix in float64 and solves, in
    torch with its default threads. What differs from ecjax: five folds instead of 20, columns
    scaled by the training rows, one task at a time, and a report of the winning λ on the very folds
    that chose it.

    Returns:
      The winning λ, and R² (λ, fold).
    """
    x, y = (torch.from_numpy(np.ascontiguousarray(v)).to(device, torch.float64) for v in (x, y))
    scores = np.empty((len(lambdas), len(folds)))
    for i, ridge_lambda in enumerate(lambdas):
        for j, (train, test) in enumerate(folds):
            train, test = torch.from_numpy(train).to(device), torch.from_numpy(test).to(device)
            rows, targets = x[train], y[train]
            mean, scale, offset = rows.mean(0), rows.std(0, correction=0), targets.mean(0)
            rows = (rows - mean) / scale
            gram = rows.T @ rows
            gram.diagonal().add_(ridge_lambda)
            weights = torch.linalg.solve(gram, rows.T @ (targets - offset))
            predicted = (x[test] - mean) / scale @ weights + offset
            scores[i, j] = weighted_r2(y[test].cpu().numpy(), predicted.cpu().numpy())
    return lambdas[int(scores.mean(1).argmax())], scores


# Plain vmap


class Folded(NamedTuple):
    """Squared error (k, s, t) and squared deviations (k, t) of the held-out rows."""

    error: jax.Array
    spread: jax.Array


@jax.jit
def _masked(x, y, held_out, masks) -> Folded:
    """x (n, p), y (n, t), held_out (k, h) padded with n, masks (s, p) of zeros and ones."""

    def product(a, b):
        return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)

    n, p = x.shape
    whole = product(x.T, x), product(x.T, y), x.sum(0), y.sum(0)

    def fold(rows):
        xh = jnp.take(x, rows, axis=0, mode="fill", fill_value=0)
        yh = jnp.take(y, rows, axis=0, mode="fill", fill_value=0)
        inside = (rows < n)[:, None]
        count = n - inside.sum()
        mean_x, mean_y = (whole[2] - xh.sum(0)) / count, (whole[3] - yh.sum(0)) / count
        gram = whole[0] - product(xh.T, xh) - count * jnp.outer(mean_x, mean_x)
        rhs = whole[1] - product(xh.T, yh) - count * jnp.outer(mean_x, mean_y)

        def subset(mask):
            system = gram * jnp.outer(mask, mask) + RIDGE_LAMBDA * jnp.eye(p, dtype=x.dtype)
            factor = jax.scipy.linalg.cho_factor(system, lower=True)
            weights = jax.scipy.linalg.cho_solve(factor, rhs * mask[:, None])
            return product(xh - mean_x, weights) + mean_y

        predicted = jax.vmap(subset)(masks)  # (s, h, t)
        deviation = jnp.where(inside, yh - yh.sum(0) / inside.sum(), 0)
        error = jnp.where(inside, yh - predicted, 0)
        return Folded((error**2).sum(1), (deviation**2).sum(0))

    return lax.map(fold, held_out)


def ridge_vmap(samples: Sequence[Sample], folds: Sequence[int] = range(FOLDS)) -> Scores:
    """Plain `vmap` over masks padded to all columns, in JAX, float64, all folds in one call.

    Not a strawman: the Gram matrix of a fold is the table's less the held-out rows', all tasks of a
    sample are right-hand sides of one factorisation, and folds go through `lax.map` (under `vmap`
    they would need 20 × 15 copies of 960², 2.2 GB, thrice). Only the subsets are done the plain
    way: 15 masked copies of the system, padded to full width.
    """
    scores = {}
    for sample in samples:
        n = sample.rows
        y = np.concatenate(list(sample.targets_by_task.values()), axis=1)
        tests = [sample.folds[fold][1] for fold in folds]
        held_out = np.full((len(tests), max(map(len, tests))), n)
        for row, test in zip(held_out, tests, strict=True):
            row[: len(test)] = test
        masks = np.zeros((len(sample.subsets), sample.table.shape[1]))
        for mask, columns in zip(masks, sample.subsets.values(), strict=True):
            mask[columns] = 1
        with jax.enable_x64(True):
            error, spread = jax.device_get(_masked(sample.table, y, held_out, masks))
        start = 0
        for task, part in sample.targets_by_task.items():
            own = slice(start, start := start + part.shape[1])
            r2 = 1 - error[..., own].sum(-1) / spread[:, None, own].sum(-1)  # (k, s)
            for i, subset in enumerate(sample.subsets):
                found = zip(folds, r2[:, i], strict=True)
                scores |= {(task, subset, fold): float(v) for fold, v in found}
    return scores


def at_best_threads(work: Callable[[], Any]) -> tuple[str, Any]:
    """Runs work warm with the default and with one BLAS thread: the faster, in words and as limit.

    More threads are often slower: OpenBLAS factorises 960² slowly in two, and jaxlib, which calls
    SciPy's LAPACK, has threads of its own besides.
    """
    seconds = {}
    for threads in (None, 1):
        with threadpool_limits(threads, user_api="blas"):
            work()
            started = time.perf_counter()
            work()
            seconds[threads] = time.perf_counter() - started
    best = min(seconds, key=seconds.get)
    return ("default" if best is None else f"{best}"), best


# Logistic regression


class ClassFit(NamedTuple):
    """One fit of one fold.

    Attributes:
      seconds: of the fit alone.
      gradient_norm: ‖∇(mean log-loss + ‖W‖²/(2·C·n_train))‖∞, intercepts included.
      log_loss: mean over the held-out rows.
    """

    seconds: float
    iterations: int
    gradient_norm: float
    log_loss: float


def fit_lbfgs(
    table: np.ndarray,
    labels: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    settings: Mapping[str, Any],
    threads: int = 1,
) -> ClassFit:
    """scikit-learn's `LogisticRegression` (lbfgs) on one fold, with so many BLAS threads.

    Its `tol` is compared with the same gradient as ecjax's tolerance: the returned `gradient_norm`,
    recomputed from the coefficients, shows it.
    """
    x, y = table[train], labels[train]
    with threadpool_limits(threads), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the default's 100 iterations do not converge
        model = LogisticRegression(C=LOGISTIC_C, **settings)
        started = time.perf_counter()
        model.fit(x, y)
        seconds = time.perf_counter() - started
    codes = np.searchsorted(model.classes_, labels[test])
    log_probability = model.predict_log_proba(table[test])
    loss = -log_probability[np.arange(len(test)), codes].mean()
    norm = gradient_norm(x, y, model.classes_, model.coef_, model.intercept_)
    return ClassFit(seconds, int(model.n_iter_[0]), norm, float(loss))


def gradient_norm(x, labels, classes, coefficients, intercepts) -> float:
    """‖∇(mean log-loss + ‖W‖²/(2·C·n))‖∞ for x (n, p), coefficients (c, p), c ≥ 3."""
    n = len(x)
    onehot = labels[:, None] == classes
    residual = np.exp(log_softmax(x @ coefficients.T + intercepts, axis=1)) - onehot
    slope = residual.T @ x / n + coefficients / (LOGISTIC_C * n)
    return float(max(np.abs(slope).max(), np.abs(residual.mean(0)).max()))


def lbfgs_jobs(sample: Sample, folds: Sequence[int], settings, pool: Workers) -> list[tuple]:
    """Jobs of `fit_lbfgs` for every subset and these folds, widest first, folds together."""
    labels = next(iter(sample.tasks.values()))
    return [
        (fit_lbfgs, pool.share(x), labels, *sample.folds[fold], settings)
        for x in sorted(sample.tables.values(), key=np.size, reverse=True)
        for fold in folds
    ]
