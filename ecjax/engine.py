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

from ecjax import (
    gram,
    hat,
    host_call,
    inner,
    logistic,
    nested,
    nested_logistic,
    probe,
    refine,
    ridge,
)
from ecjax.host import HeldOut
from ecjax.host_nested import NestedFits
from ecjax.inner import Choices
from ecjax.probe import Probe
from ecjax.subsets import Lattice, Part
from ecjax.sums import ClassSums, RegressionSums, SampleSums


@dataclasses.dataclass(frozen=True)
class Program:
    """What is compiled for one sample (tasks that share rows and embeddings).

    Attributes:
      lattice: subsets and order of elimination.
      gram, hat: the subsets whose ridge fits come from the moments of each fold's training rows,
        and those whose residuals come from the whole table's hat matrix; together all of them.
        In float32 all are in `gram`.
      classes: number of classes of each classification task.
      on_host: whether the Gram route runs on the host's BLAS (a CPU's own; see `host`).
      predictions: whether out-of-fold predictions of every row are returned.
      at_once: ridge systems solved side by side; 1 on a CPU, all folds on a GPU.
      fits_at_once: logistic fits that advance side by side: a few on a CPU, whose caches they
        should fit, all folds on a GPU.
      tasks: of each regression task, its first target and the one after its last. Under `strict`
        penalties are chosen for each of them.
      groups: under `strict`, groups of inner folds for ridge regression.
      bands: with a penalty for each embedding, the place of each of the lattice's blocks in the
        study's order; else ().
      dtype: of ridge regression's products and factors: "float64", or "float32", whose results are
        refined in float64. Logistic fits are the same under both: steps in float32 as far as that
        carries, gradients measured and fits finished in float64.
      probe: takes the place of ridge and logistic regression, see `probe`; None: they stand.
    """

    lattice: Lattice
    gram: Part | None
    hat: Part | None
    classes: tuple[int, ...]
    on_host: bool
    predictions: bool
    at_once: int
    fits_at_once: int
    tasks: tuple[tuple[int, int], ...]
    groups: int
    bands: tuple[int, ...]
    dtype: str
    probe: Probe | None = None


class SampleData(NamedTuple):
    """Arrays of one sample.

    Attributes:
      blocks: (n, p_m) for each embedding, in lattice order, as stored.
      y: (n, t) regression targets, t may be 0.
      labels: (n,) class codes of each classification task.
      held_out: (r, k, h) as `folds.Folds`.
      scored: (r, k, h'), or None, likewise.
      ridge, logistic: under `strict`, what penalties are chosen from; None under `paper`.
    """

    blocks: tuple[Array, ...]
    y: Array
    labels: tuple[Array, ...]
    held_out: Array
    scored: Array | None = None
    ridge: Choices | None = None
    logistic: Choices | None = None

    @property
    def divided(self) -> bool:
        """Whether the folds divide the rows between them."""
        return self.scored is None

    @property
    def tested(self) -> Array:
        """(r, k, h') the rows that each fold scores."""
        return self.held_out if self.scored is None else self.scored


class Penalties(NamedTuple):
    """Fixed penalties, not used under `strict`, and the tolerance of logistic fits; all ()."""

    ridge_lambda: Array
    logistic_c: Array
    logistic_tolerance: Array


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
    by_gram = _host_route if program.on_host else _gram_route
    by_gram = _refined_route if program.dtype == "float32" else by_gram
    by_gram = _nested_route if sample.ridge is not None else by_gram
    by_gram = _probe_route if program.probe is not None else by_gram
    found, members = [], []
    for part, route in ((program.gram, by_gram), (program.hat, _hat_route)):
        if part is not None:
            found.append(route(program, part, sample, table, scaled, ridge_lambda))
            members.extend(part.members)
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


def _host_route(program: Program, part: Part, sample: SampleData, z, scaled, ridge_lambda):
    """Fits to the training rows by the host's BLAS."""
    blocks = [sample.blocks[i] for i in part.blocks]
    folds = sample.held_out, ridge_lambda, part.lattice, program.predictions, sample.scored
    return host_call.fit(blocks, sample.y, *folds)


def _gram_route(program: Program, part: Part, sample: SampleData, z, scaled, ridge_lambda):
    """Fits to the training rows, compiled."""
    z = _columns(program, part, z)
    n, t = scaled.shape
    s = len(part.lattice.subsets)

    def of_rows(rows: Array) -> tuple[Array, Array]:
        x = jnp.take(z, rows, axis=0, mode="fill", fill_value=0)
        return x, jnp.take(scaled, rows, axis=0, mode="fill", fill_value=0)

    def seed(folds: Array, tested: Array):
        def moments(fold: Array) -> gram.Moments:
            count = (folds[fold] < n).sum().astype(z.dtype)
            return gram.moments(*of_rows(folds[fold]), count)

        whole = None if sample.divided else gram.moments(z, scaled, jnp.asarray(n, z.dtype))
        total, moments_of = gram.over_folds(moments, len(folds), n, whole)

        def residuals(fold: Array) -> Array:
            x, y = of_rows(tested[fold])
            system, rhs, mean_x, mean_y = gram.training_system(total, moments_of(fold))
            weights = ridge.lattice_solve(system, rhs, ridge_lambda, part.lattice, program.at_once)
            columns = jnp.moveaxis(weights, 0, 1).reshape(-1, s * t)  # (p, s·t)
            predicted = mean_y + gram.matmul(x - mean_x, columns).reshape(-1, s, t)
            return y[:, None] - predicted

        return residuals

    return _over_folds(program, sample, (t, n, s), seed)


def _nested_route(program: Program, part: Part, sample: SampleData, z, scaled, _):
    """The same with each fit's penalty chosen by inner folds: `nested.NestedFits`."""
    groups = None  # of rows
    if sample.ridge.rows is None:
        groups = inner.groups_of_folds(sample.tested.shape[1], program.groups)
    choices = sample.tested, *sample.ridge, groups, program.tasks, part.lattice
    bands = tuple(program.bands[i] for i in part.blocks) if program.bands else ()
    choices = *choices, program.predictions, bands
    if program.on_host:
        blocks = [sample.blocks[i] for i in part.blocks]
        found = host_call.fit_nested(blocks, sample.y, *choices)
    else:
        found = nested.fit(_columns(program, part, z), scaled, *choices, program.at_once)
    if not bands:
        return found
    every = jnp.full((*found.chosen.shape[:-1], len(program.bands)), jnp.nan)
    return found._replace(chosen=every.at[..., np.array(bands)].set(found.chosen))


def _probe_route(program: Program, part: Part, sample: SampleData, z, scaled, ridge_lambda):
    """The same by a probe of the user's own: `nested.NestedFits`."""
    n, tested = len(z), sample.tested
    folds = _probe_folds(sample, sample.ridge, ridge_lambda)
    how = program.tasks, part.lattice, probe.squared_error, program.at_once
    fits = probe.fit(program.probe, _columns(program, part, z), scaled, folds, *how)
    truth = jnp.take(scaled, tested, axis=0, mode="fill", fill_value=0)
    inside = (tested < n)[..., None, None]
    residuals = jnp.where(inside, truth[:, :, :, None] - fits.predictions, 0)  # (r, k, h, s, t)
    squares = residuals**2
    nothing = jnp.zeros((scaled.shape[1], n, squares.shape[3]), z.dtype)
    row_error = nothing.at[:, tested].add(jnp.moveaxis(squares, 4, 0), mode="drop")
    kept = residuals if program.predictions else residuals[:, :, :0]
    chosen = None if fits.chosen is None else fits.chosen[..., None]
    return NestedFits(squares.sum(2), row_error, None, kept, chosen, fits.inner_loss)


def _probe_folds(sample: SampleData, choices: Choices | None, penalty) -> probe.Folds:
    """What `probe.fit` takes; penalty () is that of protocol `paper`."""
    grid, groups = jnp.broadcast_to(penalty, (*sample.tested.shape[:2], 1)), None
    if choices is not None:
        grid, groups = choices
    return probe.Folds(sample.held_out, sample.tested, grid, groups)


def _probed_classes(program: Program, z, labels, classes, sample: SampleData, logistic_c):
    """Of a probe of the user's own, as `nested_logistic.NestedFits`."""
    n, tested = len(z), sample.tested
    onehot = jnp.where(labels[:, None] == jnp.arange(classes), 1.0, 0.0)
    folds = _probe_folds(sample, sample.logistic, logistic_c)
    how = ((0, classes),), program.lattice, probe.log_loss, program.at_once
    fits = probe.fit(program.probe, z, onehot, folds, *how)
    r, k, _, s, _ = fits.predictions.shape
    seed = jnp.arange(r)[:, None, None]
    log_probability = jnp.log(jnp.maximum(fits.predictions, 0))
    nothing = jnp.zeros((r, n, s, classes), z.dtype)
    by_row = nothing.at[seed, tested].set(log_probability, mode="drop")
    unknown = jnp.full((r, s, k), jnp.nan)
    chosen = inner_loss = None
    if fits.chosen is not None:
        chosen = fits.chosen[..., 0].swapaxes(1, 2)
        inner_loss = fits.inner_loss.sum(3).swapaxes(1, 2)
    return nested_logistic.NestedFits(by_row.swapaxes(1, 2), unknown, unknown, chosen, inner_loss)


def _refined_route(program: Program, part: Part, sample: SampleData, table, scaled, ridge_lambda):
    """The same from float32 moments and factors; NaN where not converged."""
    table = refine.part_of(table, part.blocks)
    at_once = program.at_once

    def seed(folds: Array, tested: Array):
        fits = refine.fit(table, scaled, folds, ridge_lambda, part.lattice, at_once, sample.divided)
        return lambda i: refine.held_out_residuals(table, scaled, fits, tested[i], i, at_once)

    shape = scaled.shape[1], len(scaled), len(part.lattice.subsets)
    return _over_folds(program, sample, shape, seed)


def _hat_route(program: Program, part: Part, sample: SampleData, z, scaled, ridge_lambda):
    """The same from the fits to the whole table, compiled."""
    z = _columns(program, part, z)
    lattice, at_once = part.lattice, program.at_once
    factors = hat.factor(z, scaled, ridge_lambda, lattice, at_once)

    def seed(folds: Array, tested: Array):
        def residuals(i: Array) -> Array:
            inside = folds[i] < len(z)
            left = hat.fold_residuals(factors, folds[i], inside, lattice, at_once)
            return left[: tested.shape[1]]

        return residuals

    shape = scaled.shape[1], len(z), len(lattice.subsets)
    return _over_folds(program, sample, shape, seed)


def _columns(program: Program, part: Part, z: Array) -> Array:
    """The columns (n, p) of the part's blocks."""
    columns = program.lattice.columns(part.blocks)
    return z if len(columns) == z.shape[1] else z[:, np.array(columns, int)]


def _over_folds(
    program: Program, sample: SampleData, shape: tuple[int, int, int], solver
) -> HeldOut:
    """All seeds and folds of a solver.

    shape: (t, n, s).
    solver: folds (k, h) and tested rows (k, h') of a seed → (fold → residuals (h', s, t)).
    """
    k, n = sample.held_out.shape[1], shape[1]
    side_by_side = program.at_once if program.at_once > 1 else None

    def seed(row_error: Array, rows: tuple[Array, Array]):
        folds, tested = rows
        residuals_of = solver(folds, tested)

        def fold(i: Array):
            residuals = jnp.where((tested[i] < n)[:, None, None], residuals_of(i), 0)
            return residuals**2, residuals if program.predictions else residuals[:0]

        squares, residuals = lax.map(fold, jnp.arange(k), batch_size=side_by_side)
        own = jnp.moveaxis(squares, 3, 0)  # (t, k, h', s)
        return row_error.at[:, tested].add(own, mode="drop"), (squares.sum(1), residuals)

    row_error, (error, residuals) = lax.scan(
        seed, jnp.zeros(shape), (sample.held_out, sample.tested)
    )
    return HeldOut(error, row_error, residuals)


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
    how = penalties.logistic_tolerance, program.lattice, program.fits_at_once
    chosen = inner_loss = None
    if program.probe is not None:
        fits = _probed_classes(program, z, labels, classes, sample, penalties.logistic_c)
        chosen, inner_loss = fits.chosen, fits.inner_loss
    elif sample.logistic is None:
        folds = sample.held_out, penalties.logistic_c
        fits = logistic.fit_lattice(z, labels, classes, *folds, *how, sample.scored)
    else:
        fits = nested_logistic.fit(z, labels, classes, sample.tested, *sample.logistic, *how)
        chosen, inner_loss = fits.chosen, fits.inner_loss
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
    )


def _by_fold(values: Array, fold_of_row: Array, folds: int) -> Array:
    """Sums (s, n, …) over the rows of each fold: (s, k, …); rows of fold k count nowhere."""
    values = values.astype(jnp.result_type(float))  # counts of rows must stay exact
    empty = jnp.zeros((values.shape[0], folds, *values.shape[2:]), values.dtype)
    return empty.at[:, fold_of_row].add(values, mode="drop")
