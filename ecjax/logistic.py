"""Multinomial logistic regression of every subset and fold, to a stated tolerance.

Method: L-BFGS preconditioned first by the ridge factor of the whole table (good far away), then by
one Hessian block per class, Xᵀ diag(p_c(1 − p_c)) X, with p from a fit of the whole table (good
near the solution). Whole-table quantities may shape the steps but never the starting point: a fold
starts from zero or from fits on its own training rows, so that stopping early cannot leak its
held-out labels.

All folds of a subset advance together: their classes are columns of one matrix product.
Axes: s subsets, b problems (folds), c classes, n rows, p columns, the intercept's last.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from ecjax.gram import PRECISION, matmul
from ecjax.lbfgs import Fit, minimise
from ecjax.softmax import (
    Problem,
    gradient_of,
    logits_of,
    make_problem,
    penalised,
    probabilities_of,
)
from ecjax.subsets import Lattice

MARGIN = 0.3  # fits stop at this share of the tolerance, see `fit_subset`
RIDGE_UNTIL = 5e-3  # gradient norm at which the class blocks take over
WHOLE_TABLE_UNTIL = 3e-4  # gradient norm of the fit that shapes the class blocks
START_TRIALS = 8
MAX_SOLVERS = 4  # compiled solver widths; each costs seconds to compile,
MIN_SAVING = 128  # so that one more must save at least so many columns of padding


def _inverse(matrix: Array) -> Array:
    """Inverse of a symmetric positive definite matrix (p, p), by its Cholesky factor."""
    p = matrix.shape[0]
    # What rounding may take from the smallest eigenvalue is added first; that slows, at worst.
    floor = jnp.finfo(matrix.dtype).eps * p * jnp.diagonal(matrix).max()
    identity = jnp.eye(p, dtype=matrix.dtype)
    factor = jnp.linalg.cholesky(matrix + floor * identity, symmetrize_input=False)
    half = lax.linalg.triangular_solve(factor, identity, left_side=True, lower=True)
    return matmul(half.T, half)


def _ridge_preconditioner(x: Array, onehot: Array, penalty: Array) -> Array:
    """(c, p, p) inverse Hessians at zero, π(1 − π)·XᵀX/n + λI, all from one factor.

    The classes share the average curvature in λ/π(1 − π) and keep their own in the scale.
    """
    n = x.shape[0]
    share = jnp.clip(onehot.mean(1), 1.0 / n, 1.0 - 1.0 / n)
    curvature = share * (1 - share)
    shift = penalty / curvature.mean() * penalised(x)
    return _inverse(matmul(x.T, x) / n + jnp.diag(shift))[None] / curvature[:, None, None]


def _class_preconditioner(x: Array, probabilities: Array, penalty: Array) -> Array:
    """(c, p, p) inverses of the Hessian's diagonal blocks, Xᵀ diag(p_c(1 − p_c)) X/n + λI.

    probabilities: (c, n) of a fit of the whole table.
    """
    n = x.shape[0]
    shift = jnp.diag(penalty * penalised(x))

    def block(p: Array) -> Array:
        # A class predicted with certainty has no curvature left, and the intercept no penalty.
        curvature = jnp.maximum(p * (1 - p), 1e-6) / n
        return _inverse(matmul(x.T, x * curvature[:, None]) + shift)

    return lax.map(block, probabilities)


def _combine_parents(parents: Array, x: Array, problem: Problem) -> Array:
    """The best a·W₁ + b·W₂ of two fits on the same training rows; no matrix product per trial.

    Args:
      parents: (2, b, c, p); zeros stand for "no parent".

    Returns:
      (b, c, p) start, never worse than zero.
    """
    mask = penalised(x)
    flat = (parents * mask).reshape(2, *parents.shape[1:2], -1)
    norms = jnp.einsum("ibk,jbk->bij", flat, flat, precision=PRECISION)
    logits = jnp.stack([logits_of(x, parents[0]), logits_of(x, parents[1])])  # (2, b, c, n)

    def evaluate(ab: Array):  # ab (b, 2)
        mixed = jnp.einsum("bi,ibcn->bcn", ab, logits, precision=PRECISION)
        prob, normaliser = probabilities_of(mixed, problem.present)
        loss = normaliser - (mixed * problem.onehot).sum(1)
        pull = jnp.einsum("bij,bj->bi", norms, ab, precision=PRECISION)
        value = (problem.weights * loss).sum(1)
        value = value + 0.5 * problem.penalty * (pull * ab).sum(1)
        residual = (prob - problem.onehot) * problem.weights[:, None]
        slope = jnp.einsum("bcn,ibcn->bi", residual, logits, precision=PRECISION)
        slope = slope + problem.penalty[:, None] * pull
        mean = (prob * logits).sum(2)  # (2, b, n)
        rows = [
            [
                (problem.weights * ((prob * logits[i] * logits[j]).sum(1) - mean[i] * mean[j])).sum(
                    1
                )
                for j in range(2)
            ]
            for i in range(2)
        ]
        hessian = jnp.stack([jnp.stack(r, 1) for r in rows], 1)
        return value, slope, hessian + problem.penalty[:, None, None] * norms

    def newton(slope: Array, hessian: Array) -> Array:
        a, d = hessian[:, 0, 0] + 1e-12, hessian[:, 1, 1] + 1e-12
        off = hessian[:, 0, 1]
        determinant = jnp.maximum(a * d - off * off, 1e-12 * a * d)
        return (
            -jnp.stack(
                [d * slope[:, 0] - off * slope[:, 1], a * slope[:, 1] - off * slope[:, 0]], 1
            )
            / determinant[:, None]
        )

    def trial(_, state):
        ab, value, step, length = state
        proposal = ab + length[:, None] * step
        new_value, slope, hessian = evaluate(proposal)
        better = new_value < value
        return (
            jnp.where(better[:, None], proposal, ab),
            jnp.where(better, new_value, value),
            jnp.where(better[:, None], newton(slope, hessian), step),
            jnp.where(better, 1.0, 0.25 * length),
        )

    zero = jnp.zeros((parents.shape[1], 2), x.dtype)
    value, slope, hessian = evaluate(zero)
    state = (zero, value, newton(slope, hessian), jnp.ones_like(value))
    ab, *_ = lax.fori_loop(0, START_TRIALS, trial, state)
    return jnp.einsum("bi,ibcp->bcp", ab, parents, precision=PRECISION)


def _preconditioners(x: Array, whole: Problem, parents: Array, until: Array):
    """Both preconditioners (2, c, p, p) and the whole-table weights (c, p), in single precision.

    They shape the steps and not the result, so that single precision costs nothing but steps.
    """
    x, whole, parents = (jax.tree.map(_single, part) for part in (x, whole, parents))
    ridge = _ridge_preconditioner(x, whole.onehot, whole.penalty[0])
    start = _combine_parents(parents, x, whole)
    table = minimise(x, whole, start, ridge, _single(until))
    probabilities, _ = probabilities_of(table.logits, whole.present)
    blocks = _class_preconditioner(x, probabilities[0], whole.penalty[0])
    return jnp.stack([ridge, blocks]), table.weights[0]


def _single(values: Array) -> Array:
    return values.astype(jnp.float32) if jnp.issubdtype(values.dtype, jnp.floating) else values


def fit_subset(
    x: Array, folds: Problem, whole: Problem, parents: Array, tolerance: Array
) -> tuple[Fit, Array]:
    """Fits one subset on all folds.

    Args:
      x: (n, p) the subset's standardised columns and a last column of ones; padding columns of
        zeros are harmless.
      folds: the b folds; whole: the same rows as one problem, used for preconditioning only.
      parents: (2, b + 1, c, p) fits to start from, those of the whole table last.

    Returns:
      The folds' fits, and the whole-table weights (c, p).
    """
    # The gradient is measured in one entry, the effect on held-out rows in all of them: at the bare
    # tolerance of 1e-5 the log-loss of real crops is 0.2 % from its limit, at this margin 0.03 %.
    tolerance = jnp.asarray(MARGIN * tolerance, x.dtype)
    whole_until = jnp.maximum(tolerance, WHOLE_TABLE_UNTIL)
    preconditioners, table = _preconditioners(x, whole, parents[:, -1:], whole_until)
    until = jnp.stack([jnp.maximum(tolerance, RIDGE_UNTIL), tolerance])

    def phase(state, setting):
        weights, iterations = state
        fit = minimise(x, folds, weights, *setting)
        return (fit.weights, iterations + fit.iterations), None

    start = _combine_parents(parents[:, :-1], x, folds)
    none = jnp.zeros(start.shape[0], jnp.int32)
    (weights, iterations), _ = lax.scan(phase, (start, none), (preconditioners, until))
    # What is reported is recomputed from the weights, not carried through the iterations.
    logits = logits_of(x, weights)
    norm = jnp.abs(gradient_of(x, weights, logits, folds)).max((1, 2))
    logits = jnp.where(folds.present[:, :, None], logits, -jnp.inf)
    return Fit(weights, logits, norm, iterations), table.astype(x.dtype)


def parents_of(lattice: Lattice) -> list[tuple[int, int]]:
    """Two subsets to start each subset from: all but its last block, and that block alone.

    Positions in the lattice's list; its length stands for "none".
    """
    where = {subset: i for i, subset in enumerate(lattice.subsets)}
    none = len(lattice.subsets)
    return [
        (where.get(s[:-1], none), where.get(s[-1:], none)) if len(s) > 1 else (none, none)
        for s in lattice.subsets
    ]


def solver_groups(lattice: Lattice) -> list[tuple[int, list[int]]]:
    """Subsets that share one compiled solver, as (width, positions), narrowest first.

    Subsets are padded with columns of zeros to the widest of their group. Every width compiles a
    solver of its own, so there are at most MAX_SOLVERS: cuts are added where they save the most
    columns. Parents are narrower than their children and so come first.
    """
    width_of = np.array([sum(lattice.widths[b] for b in s) for s in lattice.subsets])
    cuts = [int(width_of.max())]

    def columns(uppers: list[int]) -> int:
        uppers = np.sort(uppers)
        return int(uppers[np.searchsorted(uppers, width_of)].sum())

    while len(cuts) < MAX_SOLVERS:
        best = min(set(width_of.tolist()), key=lambda w: (columns([*cuts, w]), w))
        if columns(cuts) - columns([*cuts, best]) < MIN_SAVING:
            break
        cuts.append(best)
    cuts.sort()
    group_of = np.searchsorted(cuts, width_of)
    order = np.argsort(width_of, kind="stable")
    return [(w, [int(i) for i in order if group_of[i] == g]) for g, w in enumerate(cuts)]


class SubsetFits(NamedTuple):
    """Out-of-fold results of all subsets.

    Attributes:
      log_probability: (s, n, c) of each row by the fold that holds it out; −inf where the class
        was absent from that fold's training rows.
      weights: (s, b, c, p + 1) on standardised columns, the intercept last.
      gradient_norm, iterations: (s, b).
    """

    log_probability: Array
    weights: Array
    gradient_norm: Array
    iterations: Array


def _padded_columns(lattice: Lattice, subset: int, width: int, p: int) -> list[int]:
    """Columns of a subset, then padding (column p + 1, zeros), then the intercept (column p)."""
    columns = lattice.columns(lattice.subsets[subset])
    return [*columns, *[p + 1] * (width - len(columns)), p]


def fit_lattice(
    z: Array,
    labels: Array,
    classes: int,
    training: Array,
    fold_of_row: Array,
    logistic_c: Array,
    tolerance: Array,
    lattice: Lattice,
) -> SubsetFits:
    """Fits all subsets on all folds.

    Args:
      z: (n, p) standardised columns in lattice order.
      labels: (n,) class codes.
      training: (b, n) which rows train each fold.
      fold_of_row: (n,) the fold that holds out each row.
    """
    n, p = z.shape
    b, s = training.shape[0], len(lattice.subsets)
    one = jnp.ones((n, 1), z.dtype)
    x = jnp.concatenate([z, one, 0 * one], axis=1)
    folds = make_problem(labels, classes, training, logistic_c, z.dtype)
    whole = make_problem(labels, classes, jnp.ones((1, n), bool), logistic_c, z.dtype)
    parents = parents_of(lattice)

    def fit_one(table, subset):
        position, columns, origin = subset
        fit, whole_weights = fit_subset(
            x[:, columns], folds, whole, table[origin][..., columns], tolerance
        )
        row = jnp.concatenate([fit.weights, whole_weights[None]])
        table = table.at[position].set(table[position].at[..., columns].set(row))
        logits = fit.logits[fold_of_row, :, jnp.arange(n)]  # (n, c)
        normaliser = jnp.log(jnp.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True))
        log_probability = logits - logits.max(1, keepdims=True) - normaliser
        return table, (log_probability, fit.gradient_norm, fit.iterations)

    table = jnp.zeros((s + 1, b + 1, classes, p + 2), z.dtype)
    found, order = [], []
    for width, group in solver_groups(lattice):
        columns = np.array([_padded_columns(lattice, i, width, p) for i in group])
        origins = np.array([parents[i] for i in group])
        table, fits = lax.scan(fit_one, table, (np.array(group), columns, origins))
        found.append(fits)
        order.extend(group)
    back = np.argsort(order)
    log_probability, norm, iterations = (
        jnp.concatenate(parts)[back] for parts in zip(*found, strict=True)
    )
    return SubsetFits(log_probability, table[:s, :b, :, : p + 1], norm, iterations)
