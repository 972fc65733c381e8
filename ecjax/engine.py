"""The study program: every subset, fold, seed and target of every task in one compiled call.

`study` is the only jitted function of ecjax. Its static argument, the `Program`, holds shapes and
the lattice; seeds, fold assignments, penalties, labels and row values are data, so that changing
them compiles nothing. Axes: r seeds, s subsets, k folds, n rows, t targets, c classes.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from ecjax import gram, hat, logistic, ridge
from ecjax.subsets import Lattice, Part


@dataclasses.dataclass(frozen=True)
class Program:
    """What is compiled for one sample (tasks that share rows and embeddings).

    Attributes:
      lattice: subsets and order of elimination.
      gram, hat: the subsets whose ridge fits come from the moments of each fold's training rows,
        and those whose residuals come from the whole table's hat matrix; together all of them.
      classes: number of classes of each classification task.
      predictions: whether out-of-fold predictions of every row are returned.
      at_once: ridge systems solved side by side; 1 on a CPU, all folds on a GPU.
      dtype: of the arithmetic.
    """

    lattice: Lattice
    gram: Part | None
    hat: Part | None
    classes: tuple[int, ...]
    predictions: bool
    at_once: int
    dtype: str


class SampleData(NamedTuple):
    """Arrays of one sample.

    Attributes:
      blocks: (n, p_m) for each embedding, in lattice order, as stored.
      y: (n, t) regression targets, t may be 0.
      labels: (n,) class codes of each classification task.
      held_out: (r, k, h) as `folds.Folds`.
    """

    blocks: tuple[Array, ...]
    y: Array
    labels: tuple[Array, ...]
    held_out: Array


class Penalties(NamedTuple):
    ridge_lambda: Array
    logistic_c: Array
    logistic_tolerance: Array


class RegressionSums(NamedTuple):
    """Sums over held-out rows, of targets divided by the table's standard deviation.

    Attributes:
      squared_error: (r, s, k, t).
      spread: (r, k, t) squared deviations of the held-out targets from their mean; exactly 0 where
        they are constant.
      pooled_spread: (t,) the same for the whole table.
      count: (r, k) rows.
      scale: (t,) the table's standard deviations.
      predictions: (r, s, n, t) in the targets' own units, or None.
    """

    squared_error: Array
    spread: Array
    pooled_spread: Array
    count: Array
    scale: Array
    predictions: Array | None


class ClassSums(NamedTuple):
    """Sums over held-out rows.

    Attributes:
      hits: (r, s, k, c) rows of each class that were predicted rightly.
      log_loss: (r, s, k) sum of −log probability of the true class; inf where it was absent.
      count: (r, k, c) rows of each class.
      gradient_norm, iterations: (r, s, k) of the fits.
      probabilities: (r, s, n, c), or None.
    """

    hits: Array
    log_loss: Array
    count: Array
    gradient_norm: Array
    iterations: Array
    probabilities: Array | None


class SampleSums(NamedTuple):
    regression: RegressionSums | None
    classification: tuple[ClassSums, ...]


@functools.partial(jax.jit, static_argnums=0)
def study(
    programs: tuple[Program, ...], samples: tuple[SampleData, ...], penalties: Penalties
) -> tuple[SampleSums, ...]:
    """Evaluates all samples of a chunk."""
    return tuple(
        _sample(program, sample, penalties)
        for program, sample in zip(programs, samples, strict=True)
    )


def _sample(program: Program, sample: SampleData, penalties: Penalties) -> SampleSums:
    dtype = program.dtype
    x = jnp.concatenate([block.astype(dtype) for block in sample.blocks], axis=1)
    z, _ = gram.standardise(x)
    regression = None
    if sample.y.shape[1]:
        regression = _regression(program, z, sample.y.astype(dtype), sample.held_out, penalties)
    classification = tuple(
        _classification(program, z, labels, classes, sample.held_out, penalties)
        for labels, classes in zip(sample.labels, program.classes, strict=True)
    )
    return SampleSums(regression, classification)


def _regression(program, z, y, held_out, penalties) -> RegressionSums:
    n, t = y.shape
    s = len(program.lattice.subsets)
    r, k, h = held_out.shape
    scaled, scale = gram.standardise(y)
    routes, members = [], []
    for part, route in ((program.gram, _gram_route), (program.hat, _hat_route)):
        if part is not None:
            columns = program.lattice.columns(part.blocks)
            own = z if len(columns) == z.shape[1] else z[:, np.array(columns, int)]
            routes.append(route(part.lattice, program.at_once, own, scaled, penalties.ridge_lambda))
            members.extend(part.members)
    back = np.argsort(members)

    def fold(rows: Array):
        """rows (h,) → squared errors (s, t), spread (t,), count and predictions (h, s, t)."""
        inside = rows < n
        yh = jnp.take(scaled, rows, axis=0, mode="fill", fill_value=0)
        residuals = jnp.concatenate([route(rows, inside) for route in routes], axis=1)[:, back]
        error = jnp.where(inside[:, None, None], residuals, 0)
        predictions = yh[:, None] - residuals if program.predictions else None
        return (error**2).sum(0), _spread(yh, inside), inside.sum().astype(z.dtype), predictions

    side_by_side = program.at_once if program.at_once > 1 else None
    error, spread, count, predicted = lax.map(
        fold, held_out.reshape(r * k, h), batch_size=side_by_side
    )
    if program.predictions:
        own_units = predicted.reshape(r, k, h, s, t) * scale + y.mean(0)
        empty = jnp.zeros((r, n, s, t), z.dtype)
        seed = jnp.arange(r)[:, None, None]
        predicted = empty.at[seed, held_out].set(own_units, mode="drop").transpose(0, 2, 1, 3)
    return RegressionSums(
        jnp.moveaxis(error.reshape(r, k, s, t), 1, 2),
        spread.reshape(r, k, t),
        _spread(scaled, jnp.ones(n, bool)),
        count.reshape(r, k),
        scale,
        predicted,
    )


def _gram_route(lattice: Lattice, at_once: int, z: Array, scaled: Array, ridge_lambda: Array):
    """Fits to the training rows: (rows (h,), inside (h,)) → held-out residuals (h, s, t)."""
    n, t = scaled.shape
    total = gram.moments(z, scaled, jnp.asarray(n, z.dtype))
    s = len(lattice.subsets)

    def residuals(rows: Array, inside: Array) -> Array:
        xh = jnp.take(z, rows, axis=0, mode="fill", fill_value=0)
        yh = jnp.take(scaled, rows, axis=0, mode="fill", fill_value=0)
        held_out = gram.moments(xh, yh, inside.sum().astype(z.dtype))
        system, rhs, mean_x, mean_y = gram.training_system(total, held_out)
        weights = ridge.lattice_solve(system, rhs, ridge_lambda, lattice, at_once)
        columns = jnp.moveaxis(weights, 0, 1).reshape(-1, s * t)  # (p, s·t)
        predicted = mean_y + gram.matmul(xh - mean_x, columns).reshape(-1, s, t)
        return yh[:, None] - predicted

    return residuals


def _hat_route(lattice: Lattice, at_once: int, z: Array, scaled: Array, ridge_lambda: Array):
    """The same from the fits to the whole table."""
    factors = hat.factor(z, scaled, ridge_lambda, lattice, at_once)
    return lambda rows, inside: hat.fold_residuals(factors, rows, inside, lattice, at_once)


def _spread(y: Array, inside: Array) -> Array:
    """Squared deviations from the mean of the rows inside; (t,). Exactly 0 if they are equal."""
    keep = inside[:, None]
    mean = jnp.where(keep, y, 0).sum(0) / inside.sum()
    squares = jnp.where(keep, (y - mean) ** 2, 0).sum(0)
    low = jnp.where(keep, y, jnp.inf).min(0)
    high = jnp.where(keep, y, -jnp.inf).max(0)
    return jnp.where(low == high, 0, squares)


def _classification(program, z, labels, classes, held_out, penalties) -> ClassSums:
    n = z.shape[0]
    k = held_out.shape[1]
    onehot = labels[:, None] == jnp.arange(classes)

    def seed(rows: Array) -> ClassSums:
        """rows (k, h) → sums of all subsets and folds for one seed."""
        fold = jnp.arange(k, dtype=jnp.int32)[:, None]
        training = jnp.ones((k, n), bool).at[fold, rows].set(False, mode="drop")
        fold_of_row = jnp.zeros(n, jnp.int32).at[rows].set(fold, mode="drop")
        fits = logistic.fit_lattice(
            z,
            labels,
            classes,
            training,
            fold_of_row,
            penalties.logistic_c,
            penalties.logistic_tolerance,
            program.lattice,
        )
        log_probability = fits.log_probability  # (s, n, c)
        hit = log_probability.argmax(2) == labels
        loss = -jnp.take_along_axis(log_probability, labels[None, :, None], axis=2)[..., 0]
        return ClassSums(
            hits=_by_fold(hit[:, :, None] & onehot, fold_of_row, k),
            log_loss=_by_fold(loss, fold_of_row, k),
            count=_by_fold(onehot[None], fold_of_row, k)[0],
            gradient_norm=fits.gradient_norm,
            iterations=fits.iterations,
            probabilities=jnp.exp(log_probability) if program.predictions else None,
        )

    return lax.map(seed, held_out)


def _by_fold(values: Array, fold_of_row: Array, folds: int) -> Array:
    """Sums (s, n, …) over the rows of each fold: (s, k, …)."""
    values = values.astype(jnp.result_type(float))  # counts of rows must stay exact
    empty = jnp.zeros((values.shape[0], folds, *values.shape[2:]), values.dtype)
    return empty.at[:, fold_of_row].add(values)


def join(parts: list[SampleSums], axis: int, order: list[int] | None = None) -> SampleSums:
    """Concatenates the sums of one sample's pieces, as NumPy arrays.

    Args:
      parts: pieces that differ in seeds (axis 0) or in subsets (axis 1).
      order: for subsets, the positions to take from the concatenated ones.
    """
    shared = {"spread", "pooled_spread", "count", "scale"} if axis else {"pooled_spread", "scale"}

    def together(group):
        fields = {}
        for name in group[0]._fields:
            values = [getattr(part, name) for part in group]
            if values[0] is None or name in shared:
                fields[name] = values[0]
            else:
                joined = np.concatenate(values, axis=axis)
                fields[name] = joined if order is None else joined.take(order, axis=axis)
        return group[0]._replace(**fields)

    regression = None
    if parts[0].regression is not None:
        regression = together([part.regression for part in parts])
    classes = zip(*(part.classification for part in parts), strict=True)
    return SampleSums(regression, tuple(together(list(group)) for group in classes))
