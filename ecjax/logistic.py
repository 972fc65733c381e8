"""Multinomial logistic regression of every subset and fold, to a stated tolerance.

Method: L-BFGS preconditioned first by the ridge factor of the whole table (good far away), then by
one Hessian block per class, Xᵀ diag(p_c(1 − p_c)) X, with p from a fit of the whole table (good
near the solution). A fold starts from zero or from fits on its own training rows, see
`logistic_start`.

Steps are taken in single precision as far as that carries; then the gradient is measured in double
precision, and where it is above the tolerance the fit goes on in double precision.

The classes of several folds are columns of one matrix product.
Axes: s subsets, r seeds, k folds, b problems (folds of all seeds), c classes, n rows, h held-out
rows, p columns, the intercept's last.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from ecjax.lbfgs import Memory, Preconditioner, State, begin, minimise
from ecjax.logistic_start import combine_parents, make_preconditioners
from ecjax.softmax import Problem, Scaling, cast, centre, make_problem
from ecjax.subsets import Lattice

# The gradient is measured in one entry, the effect on held-out rows in all of them: at the bare
# tolerance of 1e-5 the log-loss of real crops is 0.2 % from its limit, at this share 0.05 %.
MARGIN = 0.3
SINGLE_UNTIL = 2e-7  # gradient norm that single precision reaches
RIDGE_UNTIL = 2e-2  # gradient norm at which the class blocks take over
WHOLE_TABLE_UNTIL = 3e-4  # gradient norm of the fit that shapes the class blocks
STRAGGLERS = 5  # a batch stops when one in so many of its problems is unfinished
MAX_SOLVERS = 3  # compiled solver widths; each costs seconds to compile,
MIN_SAVING = 128  # so that one more must save at least so many columns of padding


class Fits(NamedTuple):
    """Fits of one subset to b problems.

    Attributes:
      weights: (b, c, p) coefficients, the intercept last; zero for absent classes.
      held_out: (b, c, h) logits of the held-out rows; −inf for absent classes.
      gradient_norm: (b,) largest absolute entry of the gradient, in the table's precision.
      stalled: (b,) whether a fit stopped because it found no further decrease.
      iterations: (b,) pairs of matrix products taken.
      memory: of L-BFGS.
    """

    weights: Array
    held_out: Array
    gradient_norm: Array
    stalled: Array
    iterations: Array
    memory: Memory


class _Batch(NamedTuple):
    """What a few problems of one subset are made of, beside its columns.

    Attributes:
      weights, present, penalty, scaling: as in `softmax.Problem`.
      parents: (b, 2, c, p) fits of the same folds to start from.
      rows: (b, h) held-out rows, n for none.
    """

    weights: Array
    present: Array
    penalty: Array
    scaling: Scaling | None
    parents: Array
    rows: Array


def _approach(x: Array, problem: Problem, parents: Array, preconditioners, until: Array):
    """Fits in single precision, up to a few stragglers: weights, iterations and memory.

    Args:
      x: (p, n) the subset's standardised columns and a last column of ones; padding columns of
        zeros are harmless.
      parents: (2, b, c, p).
      preconditioners, until: for the way there and for the end, and the gradient norms reached.
    """
    b = parents.shape[1]
    weights, iterations = combine_parents(parents, x, problem), jnp.zeros(b, jnp.int32)
    for preconditioner, gradient_norm in zip(preconditioners, (until[0], until[1]), strict=True):
        state = begin(x, problem, weights, preconditioner)
        state = minimise(x, problem, state, preconditioner, gradient_norm, b // STRAGGLERS)
        weights, iterations = state.weights, iterations + state.iterations
    return weights, iterations, state.memory.oldest_first(state.count)


def _held_out(state: State, problem: Problem, rows: Array) -> Array:
    """(b, c, h) logits of held-out rows."""
    rows = jnp.minimum(rows, state.logits.shape[2] - 1)
    logits = jnp.take_along_axis(state.logits, rows[:, None], axis=2)
    return jnp.where(problem.present[:, :, None], logits, -jnp.inf)


def fit_problems(
    x: Array,
    onehot: Array,
    batch: _Batch,
    preconditioners: tuple[Preconditioner, Preconditioner],
    tolerance: Array,
    at_once: int,
) -> Fits:
    """Fits one subset to b problems, `at_once` of them side by side (b is a multiple of it).

    A batch runs until most of its problems are done. Then all are measured in the table's
    precision, and those above the tolerance go on there, a few at a time.

    Args:
      x: (p, n) as in `_approach`; onehot: (c, n); tolerance: () on the gradient norm.
    """
    x_single, onehot_single = x.astype(jnp.float32), onehot.astype(jnp.float32)
    until = jnp.maximum(tolerance, jnp.asarray([RIDGE_UNTIL, SINGLE_UNTIL])).astype(jnp.float32)

    def first(part: _Batch) -> Fits:
        single = cast(part, jnp.float32)
        problem = Problem(onehot_single, *single[:4])
        weights, iterations, memory = _approach(
            x_single, problem, single.parents.swapaxes(0, 1), preconditioners, until
        )
        problem = Problem(onehot, *part[:4])
        # What is reported is measured anew from the weights. They are centred first: no step would
        # mend what rounding put into the mean over classes.
        weights = centre(weights.astype(x.dtype), part.present)
        state = begin(x, problem, weights, preconditioners[1])
        held_out = _held_out(state, problem, part.rows)
        return Fits(state.weights, held_out, state.gradient_norm, state.stalled, iterations, memory)

    b = len(batch.rows)
    parts = jax.tree.map(lambda a: a.reshape(b // at_once, at_once, *a.shape[1:]), batch)
    fits = jax.tree.map(lambda a: a.reshape(b, *a.shape[2:]), lax.map(first, parts))

    def above(fits: Fits) -> Array:
        return (fits.gradient_norm > tolerance) & ~fits.stalled

    def go_on(fits: Fits) -> Fits:
        chosen = jnp.argsort(~above(fits), stable=True)[: max(1, at_once // 2)]
        part, before = (jax.tree.map(lambda a: a[chosen], tree) for tree in (batch, fits))
        problem = Problem(onehot, *part[:4])
        state = begin(x, problem, before.weights, preconditioners[1])
        state = state._replace(memory=cast(before.memory, x.dtype), stalled=before.stalled)
        state = minimise(x, problem, state, preconditioners[1], tolerance)
        # A fit that has used up its iterations is not tried again.
        stalled = state.stalled | (state.gradient_norm > tolerance)
        after = Fits(
            state.weights,
            _held_out(state, problem, part.rows),
            state.gradient_norm,
            stalled,
            before.iterations + state.iterations,
            before.memory,
        )
        return jax.tree.map(lambda all_, some: all_.at[chosen].set(some), fits, after)

    return lax.while_loop(lambda fits: above(fits).any(), go_on, fits)


def parents_of(lattice: Lattice) -> list[tuple[int, int]]:
    """Two subsets to start each subset from: all but its last block, and that block alone.

    Positions in the lattice's list; its length stands for "none". A single block starts from its
    own earlier fit, which is nothing where there is none.
    """
    where = {subset: i for i, subset in enumerate(lattice.subsets)}
    none = len(lattice.subsets)
    return [
        (where.get(s[:-1], none), where.get(s[-1:], none)) if len(s) > 1 else (where[s], none)
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


class LatticeFits(NamedTuple):
    """Out-of-fold results of all subsets.

    Attributes:
      log_probability: (r, s, n, c) of each row by the fold that scores it; −inf where the class
        was absent from that fold's training rows. Of a row that no fold scores it means nothing.
      weights: (r, s, k, c, p + 1) on standardised columns, the intercept last.
      gradient_norm, iterations: (r, s, k).
    """

    log_probability: Array
    weights: Array
    gradient_norm: Array
    iterations: Array


def _padded_columns(lattice: Lattice, subset: int, width: int, p: int) -> list[int]:
    """Columns of a subset, then padding (column p + 1, zeros), then the intercept (column p)."""
    columns = lattice.columns(lattice.subsets[subset])
    return [*columns, *[p + 1] * (width - len(columns)), p]


class Tables(NamedTuple):
    """Fits to start from, on columns in lattice order, padding and intercept as `_padded_columns`.

    Attributes:
      of_problems: (s + 1, b, c, p + 2), the last of no subset: zeros.
      of_whole: (s + 1, c, p + 2) of the whole table, to shape preconditioners.
    """

    of_problems: Array
    of_whole: Array


def no_fits(lattice: Lattice, b: int, classes: int, dtype) -> Tables:
    s, p = len(lattice.subsets), lattice.starts[-1]
    return Tables(
        jnp.zeros((s + 1, b, classes, p + 2), dtype),
        jnp.zeros((s + 1, classes, p + 2), jnp.float32),
    )


def fit_subsets(
    x: Array,
    problems: Problem,
    whole: Problem,
    rows: Array,
    tables: Tables,
    tolerance: Array,
    lattice: Lattice,
    at_once: int,
) -> tuple[Tables, tuple[Array, Array, Array]]:
    """Fits all subsets to b problems.

    Args:
      x: (p + 2, n) columns in lattice order, the intercept's ones and padding's zeros.
      problems: on all columns.
      whole: the one of all rows, which shapes the steps.
      rows: (b, h) whose log-probabilities are wanted, n for none.
      tables: earlier fits of the same training rows, from which single blocks start; a larger
        subset starts from its parents.

    Returns:
      The fits, and of them (s, b, c, h) log-probabilities, (s, b) gradient norms and iterations.
    """
    p = lattice.starts[-1]
    parents = parents_of(lattice)

    def fit_one(tables: Tables, subset):
        position, columns, origin = subset
        own = x[columns]
        starts = tables.of_whole[origin][:, None, :, columns]
        single = (cast(a, jnp.float32) for a in (own, whole, starts))
        until = jnp.maximum(MARGIN * tolerance, WHOLE_TABLE_UNTIL).astype(jnp.float32)
        preconditioners, shape = make_preconditioners(*single, until)
        start = tables.of_problems[origin][..., columns].swapaxes(0, 1)
        scaling = jax.tree.map(lambda a: a[:, columns], problems.scaling)
        batch = _Batch(problems.weights, problems.present, problems.penalty, scaling, start, rows)
        fits = fit_problems(
            own, problems.onehot, batch, preconditioners, MARGIN * tolerance, at_once
        )

        def put(table: Array, weights: Array) -> Array:
            return table.at[position].set(table[position].at[..., columns].set(weights))

        tables = Tables(put(tables.of_problems, fits.weights), put(tables.of_whole, shape))
        log_probability = jax.nn.log_softmax(fits.held_out, axis=1)
        return tables, (log_probability, fits.gradient_norm, fits.iterations)

    found, order = [], []
    for width, group in solver_groups(lattice):
        columns = np.array([_padded_columns(lattice, i, width, p) for i in group])
        origins = np.array([parents[i] for i in group])
        tables, fits = lax.scan(fit_one, tables, (np.array(group), columns, origins))
        found.append(fits)
        order.extend(group)
    back = np.argsort(order)
    return tables, tuple(jnp.concatenate(parts)[back] for parts in zip(*found, strict=True))


def fit_lattice(
    z: Array,
    labels: Array,
    classes: int,
    held_out: Array,
    logistic_c: Array,
    tolerance: Array,
    lattice: Lattice,
    at_once: int,
    scored: Array | None = None,
) -> LatticeFits:
    """Fits all subsets on all folds.

    Args:
      z: (n, p) standardised columns in lattice order.
      labels: (n,) class codes.
      held_out: (r, k, h) rows that each fold leaves out; n stands for none.
      at_once: folds fitted side by side.
      scored: (r, k, h') as `folds.Folds`.
    """
    n, p = z.shape
    r, k, _ = held_out.shape
    scored = held_out if scored is None else scored
    s = len(lattice.subsets)
    one = jnp.ones((1, n), z.dtype)
    x = jnp.concatenate([z.T, one, 0 * one])
    batches = -(-k // at_once)
    at_once = -(-k // batches)
    idle = batches * at_once - k  # places that no fold fills: problems without training rows
    b = r * (k + idle)

    def of_problems(rows: Array) -> Array:
        """(r, k, …) → (b, …)."""
        return jnp.pad(rows, ((0, 0), (0, idle), (0, 0)), constant_values=n).reshape(b, -1)

    rows, left_out = of_problems(scored), of_problems(held_out)
    training = jnp.ones((b, n), bool).at[jnp.arange(b)[:, None], left_out].set(False, mode="drop")
    training = training & jnp.tile(jnp.arange(k + idle) < k, r)[:, None]
    folds = make_problem(labels, classes, training, logistic_c, z.dtype)
    whole = make_problem(labels, classes, jnp.ones((1, n), bool), logistic_c, z.dtype)
    tables, found = fit_subsets(
        x, folds, whole, rows, no_fits(lattice, b, classes, z.dtype), tolerance, lattice, at_once
    )

    def by_seed(a: Array) -> Array:
        """(s, b, …) → (r, s, k, …)."""
        return a.reshape(s, r, k + idle, *a.shape[2:])[:, :, :k].swapaxes(0, 1)

    log_probability, norm, iterations = map(by_seed, found)
    seed = jnp.arange(r)[:, None, None]
    by_row = jnp.zeros((r, n, s, classes), z.dtype)
    by_row = by_row.at[seed, scored].set(log_probability.transpose(0, 2, 4, 1, 3), mode="drop")
    weights = by_seed(tables.of_problems[:s, ..., : p + 1])
    return LatticeFits(by_row.swapaxes(1, 2), weights, norm, iterations)
