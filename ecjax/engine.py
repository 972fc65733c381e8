"""The study program: every subset, fold, seed and target of every task in one compiled call.

`study` is the only jitted function of ecjax. Its static argument, the `Program`, holds shapes and
the lattice; seeds, fold assignments, penalties, labels and row values are data, so that changing
them compiles nothing. It takes fits from `routes` and returns what statistics need of them.
Axes: r seeds, s subsets, k folds, n rows, t targets, c classes.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from ecjax import gram, refine, routes
from ecjax.program import Penalties, Program, SampleData
from ecjax.sums import ClassSums, RegressionSums, SampleSums


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
    refined = program.dtype == "float32"
    regression = z = None
    if sample.labels or not refined:  # with regression alone, no float64 copy of the table
        x = jnp.concatenate([block.astype(float) for block in sample.blocks], axis=1)
        z, _ = gram.standardise(x)
    if sample.y.shape[1]:
        table = refine.table_of(sample.blocks, program.at_once) if refined else z
        regression = _regression(program, sample, table, penalties.ridge_lambda)
    classification = tuple(
        _classification(program, z, labels, classes, sample, penalties)
        for labels, classes in zip(sample.labels, program.classes, strict=True)
    )
    return SampleSums(regression, classification)


def _regression(program: Program, sample: SampleData, table, ridge_lambda) -> RegressionSums:
    """table: (n, p) standardised columns or, in float32, a `refine.Table`."""
    y, tested = sample.y.astype(float), sample.tested
    n, t = y.shape
    scaled, scale = gram.standardise(y)
    found, members = routes.fit_regression(program, sample, table, scaled, ridge_lambda)
    back = np.argsort(members)

    def together(field: str, axis: int) -> Array:
        """Of all routes, subsets in their order, which costs nothing where one route has all."""
        joined = jnp.concatenate([getattr(one, field) for one in found], axis=axis)
        return joined if (np.diff(back) == 1).all() else jnp.take(joined, back, axis=axis)

    error, row_error = together("squared_error", 2), together("row_error", 2)

    def fold(rows: Array):
        """Targets, spread and count of the rows (h,) of a fold."""
        inside = rows < n
        yh = jnp.take(scaled, rows, axis=0, mode="fill", fill_value=0)
        return yh, _spread(yh, inside), inside.sum().astype(scaled.dtype)

    yh, spread, count = lax.map(jax.vmap(fold), tested)
    covered = jnp.ones(n, bool)
    if not sample.divided:  # the same rows for every seed
        covered = jnp.zeros(n, bool).at[tested[0]].set(True, mode="drop")
    slope = chosen = inner_loss = None
    if sample.ridge is not None:  # all subsets take one route
        slope = found[0].row_slope
        chosen, inner_loss = (jnp.moveaxis(a, 1, 2) for a in (found[0].chosen, found[0].inner_loss))
    predictions = None
    if program.predictions:
        own_units = (yh[:, :, :, None] - together("residuals", 3)) * scale + y.mean(0)
        r, s = len(tested), len(program.lattice.subsets)
        empty = jnp.zeros((r, n, s, t), y.dtype)
        seed = jnp.arange(r)[:, None, None]
        predictions = empty.at[seed, tested].set(own_units, mode="drop").transpose(0, 2, 1, 3)
    return RegressionSums(
        jnp.moveaxis(error, 1, 2),
        spread,
        _spread(scaled, covered),
        count,
        scale,
        row_error,
        predictions,
        chosen,
        inner_loss,
        slope,
    )


def _spread(y: Array, inside: Array) -> Array:
    """Squared deviations from the mean of the rows inside; (t,). Exactly 0 if they are equal."""
    keep = inside[:, None]
    mean = jnp.where(keep, y, 0).sum(0) / inside.sum()
    squares = jnp.where(keep, (y - mean) ** 2, 0).sum(0)
    low = jnp.where(keep, y, jnp.inf).min(0)
    high = jnp.where(keep, y, -jnp.inf).max(0)
    return jnp.where(low == high, 0, squares)


def _classification(program, z, labels, classes, sample, penalties) -> ClassSums:
    n = z.shape[0]
    fits, chosen, inner_loss, slope = routes.fit_classes(
        program, sample, z, labels, classes, penalties
    )
    onehot = labels[:, None] == jnp.arange(classes)

    def seed(losses: tuple[Array, Array], arguments):
        """Adds a seed's misses and log-loss to those of each row, both (n, s).

        Beside them hits (s, k, c), log-loss (s, k) and counts (k, c) of the folds.
        """
        rows, log_probability = arguments  # (k, h') and (s, n, c)
        k = len(rows)
        fold = jnp.arange(k, dtype=jnp.int32)[:, None]
        fold_of_row = jnp.full(n, k, jnp.int32).at[rows].set(fold, mode="drop")
        hit = log_probability.argmax(2) == labels
        loss = -jnp.take_along_axis(log_probability, labels[None, :, None], axis=2)[..., 0]
        of_folds = (
            _by_fold(hit[:, :, None] & onehot, fold_of_row, k),
            _by_fold(loss, fold_of_row, k),
            _by_fold(onehot[None], fold_of_row, k)[0],
        )
        return (losses[0] + ~hit.T, losses[1] + loss.T), of_folds

    nothing = jnp.zeros((n, len(program.lattice.subsets)))
    (row_miss, row_log_loss), (hits, log_loss, count) = lax.scan(
        seed, (nothing, nothing), (sample.tested, fits.log_probability)
    )
    return ClassSums(
        hits=hits,
        log_loss=log_loss,
        count=count,
        gradient_norm=fits.gradient_norm,
        iterations=fits.iterations,
        row_miss=row_miss,
        row_log_loss=row_log_loss,
        probabilities=jnp.exp(fits.log_probability) if program.predictions else None,
        chosen=chosen,
        inner_loss=inner_loss,
        row_slope=None if slope is None else slope.sum(0).T,
    )


def _by_fold(values: Array, fold_of_row: Array, folds: int) -> Array:
    """Sums (s, n, …) over the rows of each fold: (s, k, …); rows of fold k count nowhere."""
    values = values.astype(jnp.result_type(float))  # counts of rows must stay exact
    empty = jnp.zeros((values.shape[0], folds, *values.shape[2:]), values.dtype)
    return empty.at[:, fold_of_row].add(values, mode="drop")
