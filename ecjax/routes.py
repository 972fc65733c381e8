"""The ways in which the study program fits: which subsets take which solver, with what arguments.

Axes: r seeds, s subsets, k folds, h held-out rows, n rows, p columns, t targets, c classes.
"""

from __future__ import annotations

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
from ecjax.program import Penalties, Program, SampleData
from ecjax.subsets import Part


def fit_regression(
    program: Program, sample: SampleData, table, scaled: Array, ridge_lambda: Array
) -> tuple[list[HeldOut | NestedFits], list[int]]:
    """Fits every subset to every fold, by one or two routes.

    Args:
      table: (n, p) standardised columns or, in float32, a `refine.Table`.
      scaled: (n, t) standardised targets.

    Returns:
      What each route has found, and the subsets of all of them: places in the lattice's list.
    """
    by_gram = _host_route if program.on_host else _gram_route
    by_gram = _refined_route if program.dtype == "float32" else by_gram
    by_gram = _nested_route if sample.ridge is not None else by_gram
    by_gram = _probe_route if program.probe is not None else by_gram
    found, members = [], []
    for part, route in ((program.gram, by_gram), (program.hat, _hat_route)):
        if part is not None:
            found.append(route(program, part, sample, table, scaled, ridge_lambda))
            members.extend(part.members)
    return found, members


def fit_classes(
    program: Program,
    sample: SampleData,
    z: Array,
    labels: Array,
    classes: int,
    penalties: Penalties,
):
    """Fits every subset to every fold: the fits, and under `strict` what `nested_logistic` adds:
    chosen, inner_loss and row_slope; else None in their places.

    Args:
      z: (n, p) standardised columns.
      labels: (n,) class codes.
    """
    how = penalties.logistic_tolerance, program.lattice, program.fits_at_once
    if program.probe is not None:
        fits = _probed_classes(program, z, labels, classes, sample, penalties.logistic_c)
    elif sample.logistic is not None:
        fits = nested_logistic.fit(z, labels, classes, sample.tested, *sample.logistic, *how)
    else:
        folds = sample.held_out, penalties.logistic_c
        fits = logistic.fit_lattice(z, labels, classes, *folds, *how, sample.scored)
        return fits, None, None, None
    return fits, fits.chosen, fits.inner_loss, fits.row_slope


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
            # `lax.map` takes no empty array side by side.
            return residuals**2, (residuals,) if program.predictions else ()

        squares, residuals = lax.map(fold, jnp.arange(k), batch_size=side_by_side)
        own = jnp.moveaxis(squares, 3, 0)  # (t, k, h', s)
        return row_error.at[:, tested].add(own, mode="drop"), (squares.sum(1), residuals)

    row_error, (error, residuals) = lax.scan(
        seed, jnp.zeros(shape), (sample.held_out, sample.tested)
    )
    nothing = jnp.zeros((*error.shape[:2], 0, *error.shape[2:]))
    return HeldOut(error, row_error, *(residuals or (nothing,)))


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
    found = by_row.swapaxes(1, 2), unknown, unknown, chosen, inner_loss
    return nested_logistic.NestedFits(*found, row_slope=None)
