"""Ridge regression of all subsets in single precision, refined until it is right in double.

For a subset and a fold, A = XᵀX + λI and B = XᵀY over the training rows, both about their means.
XᵀX is multiplied and factored in float32: M = LLᵀ ≈ A. M alone gives predictions to about 1e-3. So
AW = B is solved in float64 by conjugate gradients with M as preconditioner, all folds, subsets and
targets at once. Where M is good, the first two steps do what iterative refinement does; where it is
bad, because the smallest eigenvalues of A drown in float32's rounding, they go on where refinement
would diverge.

A is never formed: A·D = Xᵀ(XD) + λD is taken from the rows as they are stored, standardised in
float64 a few thousand at a time. For few folds × subsets × targets and many rows that is cheaper
than XᵀX in float64 would be, and no float64 copy of the table is held.

Axes: n rows, p columns, t targets, k folds, h held-out rows of a fold, s subsets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from ecjax import gram as gram_lib
from ecjax import ridge
from ecjax.subsets import Lattice

matmul = gram_lib.matmul

# Rows standardised at a time: so many that a CPU's cache holds them, where XᵀX is then multiplied
# at nearly twice the rate of 8,192 rows; and many more where all folds go side by side.
CACHED_ROWS = 1024
MOST_ROWS = 16384
MOST_NUMBERS = 2**24  # and fewer rows where these and their products are more numbers than this
# Of ‖W − A⁻¹B‖ in the norm of A, relative to ‖A⁻¹B‖, as M tells it; a last step betters it.
TOLERANCE = 1e-10
MOST_STEPS = 100
GROWTH = 16.0  # of the shift that makes M positive definite, from one attempt to the next
MOST_ATTEMPTS = 8


class Table(NamedTuple):
    """Rows as they are stored, and what standardises them.

    Attributes:
      blocks: (n, p_m) of each embedding.
      mean: (p,) float64, of all their columns side by side.
      inverse: (p,) float64 reciprocal standard deviations, 0 for a constant column.
    """

    blocks: tuple[Array, ...]
    mean: Array
    inverse: Array

    @property
    def rows(self) -> int:
        return len(self.blocks[0])

    def take(self, rows: Array) -> Array:
        """(h, p) float64 standardised rows; rows beyond the table are 0."""
        at_hand = jnp.minimum(rows, self.rows - 1)
        blocks = [jnp.take(block, at_hand, axis=0, mode="clip") for block in self.blocks]
        return jnp.where((rows < self.rows)[:, None], self._standardise(blocks), 0)

    def slice(self, start: Array, size: int) -> Array:
        """(size, p) float64 standardised rows from `start` on."""
        return self._standardise([lax.dynamic_slice_in_dim(b, start, size) for b in self.blocks])

    def _standardise(self, blocks: list[Array]) -> Array:
        x = jnp.concatenate([block.astype(float) for block in blocks], axis=1)
        return (x - self.mean) * self.inverse


def table_of(blocks: tuple[Array, ...], at_once: int = 1) -> Table:
    """The table of these blocks, standardised over all rows as by `gram.standardise`.

    at_once: as for `fit`.
    """
    statistics = [_statistics(block, at_once) for block in blocks]
    return Table(blocks, *(jnp.concatenate(parts) for parts in zip(*statistics, strict=True)))


def part_of(table: Table, positions: Sequence[int]) -> Table:
    """The table of the blocks at these positions."""
    stops = np.cumsum([block.shape[1] for block in table.blocks])
    ranges = [np.arange(stops[i] - table.blocks[i].shape[1], stops[i]) for i in positions]
    columns = np.concatenate(ranges)
    blocks = tuple(table.blocks[i] for i in positions)
    return Table(blocks, table.mean[columns], table.inverse[columns])


def _statistics(block: Array, at_once: int) -> tuple[Array, Array]:
    """Means and reciprocal deviations (p_m,) of one block."""
    n = len(block)

    def sums_of(function: Callable):
        def of_chunk(start: Array, fresh: Array):
            x = lax.dynamic_slice_in_dim(block, start, len(fresh)).astype(float)
            return jnp.where(fresh, function(x), 0).sum(-2)

        return _sum_over_chunks(of_chunk, n, _chunk_rows(n, block.shape[1], at_once))

    first = sums_of(lambda x: x) / n
    centred = sums_of(lambda x: jnp.stack([x - first, (x - first) ** 2])) / n
    variance = centred[1] - centred[0] ** 2
    mean = first + centred[0]
    constant = gram_lib.is_constant(mean, variance, n)
    return mean, jnp.where(constant, 0, 1 / jnp.sqrt(jnp.where(constant, 1, variance)))


class Fits(NamedTuple):
    """Fits to the training rows of each fold of one seed.

    Attributes:
      weights: (k, s, p, t) on standardised columns, zero in those that a subset leaves out.
      mean_x, mean_y: (k, p) and (k, t), of the training rows.
      converged: (k, s, t) whether the weights are as exact as TOLERANCE asks.
      steps: () taken.
    """

    weights: Array
    mean_x: Array
    mean_y: Array
    converged: Array
    steps: Array


def fit(
    table: Table,
    y: Array,
    folds: Array,
    ridge_lambda: Array,
    lattice: Lattice,
    at_once: int = 1,
    divided: bool = True,
) -> Fits:
    """Fits all subsets to the training rows of each fold.

    Args:
      y: (n, t) float64 standardised targets.
      folds: (k, h) held-out rows; shorter folds are padded with n.
      ridge_lambda: (), on the scale of XᵀX.
      lattice: the subsets of the table's blocks.
      at_once: systems factored side by side; 1 on a CPU, see `ridge.lattice_solve`. There rows are
        also taken in chunks that its cache holds.
      divided: whether every row is in one fold.
    """
    n, (k, _) = table.rows, folds.shape
    whole = None if divided else moments(table, y, jnp.arange(n), at_once)
    total, moments_of = gram_lib.over_folds(
        lambda fold: moments(table, y, folds[fold], at_once), k, n, whole
    )

    def factor(fold: Array):
        held_out = moments_of(fold)
        system, rhs, mean_x, mean_y = gram_lib.training_system(total, held_out)
        factors = _factor(system, ridge_lambda, lattice, at_once)
        return factors, rhs, mean_x, mean_y, total.count - held_out.count

    factors, rhs, mean_x, mean_y, count = lax.map(
        factor, jnp.arange(k), batch_size=at_once if at_once > 1 else None
    )
    held = jnp.asarray(_held_columns(lattice), rhs.dtype)  # (s, p, 1)
    training = jnp.ones((n, k), bool)
    training = training.at[folds, jnp.arange(k)[:, None]].set(False, mode="drop")

    def system_times(d: Array) -> Array:
        """A·D of (k, s, p, t), each subset's own A."""
        about_zero = _gram_times(table, training, d, at_once)
        mean = mean_x[:, None, :, None]
        shift = count[:, None, None, None] * (mean * d).sum(2, keepdims=True)
        return held * (about_zero - mean * shift) + ridge_lambda * d

    def precondition(residual: Array) -> Array:
        solve = jax.vmap(lambda f, r: ridge.factor_solve(f, r, lattice))
        return solve(factors, residual.astype(jnp.float32)).astype(residual.dtype)

    weights, converged, steps = _conjugate_gradients(
        system_times, precondition, held * rhs[:, None]
    )
    return Fits(weights, mean_x, mean_y, converged, steps)


def held_out_residuals(
    table: Table, y: Array, fits: Fits, rows: Array, fold: Array, at_once: int = 1
) -> Array:
    """Targets less predictions of a fold's rows.

    Args:
      y: (n, t).
      rows: (h,), padded with n, where the result means nothing.
      fold: ().
      at_once: as for `fit`.

    Returns:
      (h, s, t) in float64; NaN where the fit has not converged.
    """
    _, s, p, t = fits.weights.shape
    columns = fits.weights[fold].transpose(1, 0, 2).reshape(p, s * t)

    def of_chunk(rows: Array) -> Array:
        own = jnp.take(y, rows, axis=0, mode="fill", fill_value=0)
        centred = table.take(rows) - fits.mean_x[fold]
        predicted = fits.mean_y[fold] + matmul(centred, columns).reshape(-1, s, t)
        return own[:, None] - predicted

    chunks = _in_chunks(rows, table.rows, p + s * t, at_once)
    residuals = lax.map(of_chunk, chunks).reshape(-1, s, t)
    return jnp.where(fits.converged[fold], residuals[: len(rows)], jnp.nan)


def _chunk_rows(n: int, numbers: int, at_once: int) -> int:
    """Rows to take at a time where each brings so many numbers."""
    most = CACHED_ROWS if at_once == 1 else MOST_ROWS
    most = max(1, min(most, MOST_NUMBERS // numbers))
    return -(-n // -(-n // most))


def _in_chunks(rows: Array, n: int, numbers: int, at_once: int) -> Array:
    """Row numbers (h,) in chunks of equal length, padded with n."""
    size = _chunk_rows(len(rows), numbers, at_once)
    chunks = -(-len(rows) // size)
    padding = chunks * size - len(rows)
    return jnp.pad(rows, (0, padding), constant_values=n).reshape(chunks, size)


def _sum_over_chunks(of_chunk: Callable, n: int, size: int) -> Array:
    """Sum of an array over chunks of n rows in order.

    of_chunk: (first row, (size, 1) which rows no earlier chunk had) → array.
    """

    def add(i: Array, total: Array) -> Array:
        start = jnp.minimum(i * size, n - size)  # the last chunk goes back over earlier rows
        return total + of_chunk(start, (start + jnp.arange(size) >= i * size)[:, None])

    shape = jax.eval_shape(of_chunk, jnp.zeros((), int), jnp.ones((size, 1), bool))
    return lax.fori_loop(0, -(-n // size), add, jnp.zeros(shape.shape, shape.dtype))


def moments(table: Table, y: Array, rows: Array, at_once: int) -> gram_lib.Moments:
    """Moments of a fold's rows: XᵀX of float32 products, the rest in float64."""
    n, p, t = table.rows, len(table.mean), y.shape[1]

    def add(total: gram_lib.Moments, rows: Array):
        x = table.take(rows)
        own = jnp.take(y, rows, axis=0, mode="fill", fill_value=0)
        part = gram_lib.Moments(
            (rows < n).sum().astype(x.dtype),
            x.sum(0),
            own.sum(0),
            gram_lib.lower_gram(x.astype(jnp.float32)).astype(x.dtype),
            matmul(own.T, x).T,
        )
        return jax.tree.map(jnp.add, total, part), None

    nothing = gram_lib.Moments(*(jnp.zeros(s) for s in ((), (p,), (t,), (p, p), (p, t))))
    return lax.scan(add, nothing, _in_chunks(rows, n, p, at_once))[0]


def _factor(system: Array, ridge_lambda: Array, lattice: Lattice, at_once: int):
    """The float32 factors of M.

    What rounding may take from the smallest eigenvalue is added to the diagonal first, which costs
    steps at worst; and more, until the factorisation succeeds.
    """
    p = len(system)

    def attempt(state):
        shift, _, count = state
        shifted = (system + shift * jnp.eye(p, dtype=system.dtype)).astype(jnp.float32)
        factors = ridge.lattice_factor(shifted, ridge_lambda, lattice, at_once)
        return shift * GROWTH, factors, count + 1

    def failed(state) -> Array:
        _, factors, count = state
        finite = [jnp.isfinite(a).all() for a in jax.tree.leaves(factors)]
        return (count == 0) | (~jnp.stack(finite).all() & (count < MOST_ATTEMPTS))

    shift = jnp.finfo(jnp.float32).eps * np.sqrt(p) * jnp.diagonal(system).max()
    start = (shift, None, jnp.zeros((), jnp.int32))
    shapes = jax.eval_shape(attempt, start)[1]
    nothing = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
    return lax.while_loop(failed, attempt, (start[0], nothing, start[2]))[1]


def _held_columns(lattice: Lattice) -> np.ndarray:
    """(s, p, 1) whether a subset holds a column."""
    held = np.zeros((len(lattice.subsets), lattice.starts[-1], 1), bool)
    for i, subset in enumerate(lattice.subsets):
        held[i, lattice.columns(subset)] = True
    return held


def _gram_times(table: Table, training: Array, d: Array, at_once: int) -> Array:
    """Xᵀ(XD) over the training rows (n, k) of each fold, for D (k, s, p, t).

    X is about the table's mean.
    """
    k, s, p, t = d.shape
    columns = d.transpose(2, 0, 1, 3).reshape(p, -1)

    def of_chunk(start: Array, fresh: Array) -> Array:
        x = table.slice(start, len(fresh))
        own = fresh & lax.dynamic_slice_in_dim(training, start, len(fresh))  # (c, k)
        products = matmul(x, columns).reshape(-1, k, s * t)
        products = jnp.where(own[:, :, None], products, 0).reshape(-1, k * s * t)
        # The barrier as in `gram.lower_gram`.
        return matmul(lax.optimization_barrier(x.T), products)

    n = table.rows
    size = _chunk_rows(n, p + columns.shape[1], at_once)
    total = _sum_over_chunks(of_chunk, n, size)
    return total.reshape(p, k, s, t).transpose(1, 2, 0, 3)


class _Search(NamedTuple):
    """Conjugate gradients, a column each of (k, s, p, t).

    Attributes:
      weights, residual, direction: W, B − AW and D.
      size: (k, s, 1, t) ⟨R, M⁻¹R⟩, the squared error in the norm of A as far as M tells.
      count: () steps taken.
    """

    weights: Array
    residual: Array
    direction: Array
    size: Array
    count: Array


def _conjugate_gradients(system_times: Callable, precondition: Callable, rhs: Array):
    """Solves AW = B (k, s, p, t): W, (k, s, t) whether it converged, and the number of steps."""

    def inner(a: Array, b: Array) -> Array:
        return (a * b).sum(2, keepdims=True)

    first = precondition(rhs)
    goal = TOLERANCE**2 * inner(rhs, first)

    def unfinished(size: Array) -> Array:
        # Of a NaN, which a factorisation that never succeeded leaves, nothing more is expected.
        return jnp.abs(size) > goal

    def step(now: _Search) -> _Search:
        active = unfinished(now.size)
        turned = system_times(now.direction)
        length = now.size / jnp.where(active, inner(now.direction, turned), 1)
        length = jnp.where(active, length, 0)
        residual = now.residual - length * turned
        scaled = precondition(residual)
        # The form that forgives a preconditioner which rounding makes a little different each time.
        keep = -length * inner(turned, scaled) / jnp.where(active, now.size, 1)
        return _Search(
            now.weights + length * now.direction,
            residual,
            jnp.where(active, scaled + keep * now.direction, now.direction),
            jnp.where(active, inner(residual, scaled), now.size),
            now.count + 1,
        )

    start = _Search(jnp.zeros_like(rhs), rhs, first, inner(rhs, first), jnp.zeros((), jnp.int32))
    found = lax.while_loop(
        lambda now: unfinished(now.size).any() & (now.count < MOST_STEPS), step, start
    )
    converged = jnp.abs(found.size) <= goal
    return found.weights + precondition(found.residual), converged[:, :, 0], found.count
