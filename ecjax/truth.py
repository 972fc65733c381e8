"""The true index of a made-up world: what a run on its tables should find.

The estimand of `eci_pooled` is the expected relative reduction in loss of probes trained on
n(1 − 1/k) rows and tested on new rows. Here it is computed from probes trained on several fresh
draws and tested on many fresh places, with the penalty that the run chose most often for the set
and the task. Ridge is solved once more in plain NumPy, one subset at a time, so that the engine is
not judged by itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import jax
import numpy as np
import optax
from scipy import linalg

from ecjax import blas, logistic
from ecjax.complementarity import complementarity_index
from ecjax.subsets import build_lattice
from ecjax.world import CLASSES, MODELS, SAMPLES, TASKS, Places, World

Key = tuple[str, str | None, str, str]  # task, target, metric, subset
Penalties = Mapping[tuple[str, str], float]  # λ or C of a task and subset

TRAINING_SETS = 2  # of a ridge probe; a logistic one, which costs a hundred times more, has one
TEST_ROWS = 8_000


def true_index(world: World, rows: int, seed: int, penalties: Penalties) -> dict[Key, float]:
    """True indices of all sets on all tasks and targets.

    Args:
      rows: training rows of a probe.
      seed: of the fresh draws.
      penalties: of the probes.

    Returns:
      {(task, target or None, metric, subset): index}.
    """
    losses: dict[Key, float] = {}
    for i, sample in enumerate(SAMPLES):
        rng = np.random.default_rng([seed, 2, i])
        names = [name for name, (where, *_) in TASKS.items() if where == sample]
        if names == ["crops"]:
            losses |= _class_losses(world, rows, penalties, rng)
        else:
            with blas.one_thread():  # more of them wait for each other beside other work
                losses |= _ridge_losses(world, sample, names, rows, penalties, rng)
    found = {}
    for (task, target, metric, subset), loss in losses.items():
        members = subset.split("+")
        if len(members) > 1:
            best = min(losses[task, target, metric, member] for member in members)
            found[task, target, metric, subset] = float(complementarity_index(loss, best, 0.0))
    return found


def _subsets() -> list[tuple[str, ...]]:
    names = list(MODELS)
    return [s for size in range(len(names)) for s in itertools.combinations(names, size + 1)]


def _ridge_losses(world, sample, names, rows, penalties, rng) -> dict[Key, float]:
    """Mean squared errors of ridge probes, of targets divided by their standard deviation."""
    test = world.draw(sample, TEST_ROWS, rng)
    losses: dict[Key, float] = {}
    for _ in range(TRAINING_SETS):
        train = world.draw(sample, rows, rng)
        moments = {
            m: (x.mean(0, float), x.std(0, dtype=float)) for m, x in train.embeddings.items()
        }
        scaled = {
            m: [(places.embeddings[m] - mean) / std for places in (train, test)]
            for m, (mean, std) in moments.items()
        }
        y, y_test = (
            np.concatenate([p.labels[name] for name in names], axis=1) for p in (train, test)
        )
        centre, spread = y.mean(0), y_test.std(0)
        owner = np.repeat(names, [TASKS[name][1] for name in names])
        for subset in map("+".join, _subsets()):
            x, x_test = (
                np.concatenate([scaled[m][j] for m in subset.split("+")], axis=1) for j in (0, 1)
            )
            gram, rhs = x.T @ x, x.T @ (y - centre)
            weights = np.empty_like(rhs)
            for ridge_lambda in {penalties[name, subset] for name in names}:
                own = [penalties[name, subset] == ridge_lambda for name in owner]
                shifted = gram + ridge_lambda * np.eye(len(gram))
                weights[:, own] = linalg.solve(shifted, rhs[:, own], assume_a="pos")
            error = ((x_test @ weights + centre - y_test) / spread) ** 2
            _add_errors(losses, names, subset, error.mean(0) / TRAINING_SETS)
    return losses


def _add_errors(losses: dict[Key, float], names: list[str], subset: str, error: np.ndarray) -> None:
    """Adds the errors (t,) of all targets side by side to each task's and each target's loss."""
    start = 0
    for name in names:
        count = TASKS[name][1]
        own = error[start : start + count]
        start += count
        keys = [(None, own.mean())]
        if count > 1:
            keys += [(f"{name}_{t}", own[t]) for t in range(count)]
        for target, value in keys:
            for metric in ("r2", "mse"):
                key = (name, target, metric, subset)
                losses[key] = losses.get(key, 0.0) + float(value)


def _class_losses(world, rows, penalties, rng) -> dict[Key, float]:
    """Errors, 1 − mean recall and log-loss of logistic probes."""
    order = sorted(MODELS, key=lambda m: (-MODELS[m].width, m))
    x, labels = _side_by_side(world.draw("cropharvest", rows, rng), order)
    mean, std = x.mean(0), x.std(0)
    none = np.full((1, 1, 1), rows, np.int32)  # held out: every row trains
    subsets = [tuple(i for i, m in enumerate(order) if m in s) for s in _subsets()]
    lattice = build_lattice([MODELS[m].width for m in order], subsets)

    def fit(*arguments):
        z, labels, logistic_c, tolerance = arguments
        return logistic.fit_lattice(
            z, labels, CLASSES, none, logistic_c, tolerance, lattice, at_once=1
        ).weights

    chosen = {subset: penalties["crops", "+".join(subset)] for subset in _subsets()}
    with jax.enable_x64(True):
        program, z = jax.jit(fit), (x - mean) / std
        weights = {c: np.asarray(program(z, labels, c, 1e-5)) for c in set(chosen.values())}
    test, labels = _side_by_side(world.draw("cropharvest", TEST_ROWS, rng), order)
    test = np.concatenate([(test - mean) / std, np.ones((TEST_ROWS, 1))], axis=1)
    return {
        ("crops", None, metric, "+".join(subset)): loss
        for i, (subset, logistic_c) in enumerate(chosen.items())
        for metric, loss in _losses_of(test @ weights[logistic_c][0, i, 0].T, labels).items()
    }


def _side_by_side(draw: Places, order: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """All columns (n, p) and crop labels (n,) of a draw."""
    columns = np.concatenate([draw.embeddings[m] for m in order], axis=1)
    return columns.astype(float), draw.labels["crops"].astype(np.int32)


def _losses_of(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Losses of logits (n, c) whose perfect value is 0."""
    right = logits.argmax(1) == labels
    recall = [right[labels == c].mean() for c in np.unique(labels)]
    with jax.enable_x64(True):
        log_loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    return {
        "accuracy": float(1 - right.mean()),
        "balanced_accuracy": float(1 - np.mean(recall)),
        "log_loss": float(log_loss),
    }
