"""Ridge regression of many seeds: out-of-fold residuals from the whole table's hat matrix.

With centred columns X of a subset and a fixed penalty, H = 11ᵀ/n + X(XᵀX + λI)⁻¹Xᵀ fits the whole
table, intercept included, and with e = y − Hy the residuals of a fold T whose rows took no part in
the fit are exactly

    r_T = (I − H_TT)⁻¹ e_T

(Cook and Weisberg, "Residuals and Influence in Regression", 1982, section 2.2, for λ = 0; a
penalty is so many rows more, which no fold holds out). So the factorisation is done once, and a
further seed needs only the diagonal blocks H_TT.

H is built over the lattice of `subsets.Lattice`. The Cholesky factor L of a subset is its prefix's
plus one block row, hence XL⁻ᵀ is the prefix's with some columns more, U, and H = H_prefix + UUᵀ.

It holds only where columns are scaled once for the whole table. Digits are lost where I − H_TT is
nearly singular, about log₁₀ 1/(1 − largest eigenvalue of H_TT) of them: with a small penalty where
the columns come near the number of rows. `plan` sends such subsets to `ridge`.

Axes: n rows, h held-out rows of a fold, p columns, t targets, s subsets, q states of a stage.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from ecjax import gram as gram_lib
from ecjax.subsets import Lattice, Stage

matmul = gram_lib.matmul


class HatFactors(NamedTuple):
    """What all seeds and folds of one table share.

    Attributes:
      growth: for each block of the lattice (q, n, width), the columns U by which the hat matrix of
        each state that takes the block grows.
      residuals: (s, n, t) of the fits to the whole table.
    """

    growth: tuple[Array, ...]
    residuals: Array


def factor(
    z: Array, scaled: Array, ridge_lambda: Array, lattice: Lattice, at_once: int = 1
) -> HatFactors:
    """Factors the whole table once.

    Args:
      z: (n, p) centred columns, blocks in lattice order.
      scaled: (n, t) centred targets.
      ridge_lambda: () penalty, on the scale of zᵀz.
      lattice: the subsets and their order of elimination.
      at_once: states factored side by side; must be 1 on a CPU, see `ridge.lattice_solve`.
    """
    p = z.shape[1]
    shifted = matmul(z.T, z) + ridge_lambda * jnp.eye(p, dtype=z.dtype)
    # The rows ride along below the matrix: the step that turns a block row of the matrix into one
    # of L turns the rows' columns into those of U.
    states = jnp.concatenate([shifted, z])[None]
    growth = []
    for width, stage in zip(lattice.widths, lattice.stages, strict=True):
        u, states = _eliminate(states, width, stage, at_once)
        growth.append(u)

    def fit(j: int, residuals: Array) -> Array:
        u = growth[j]
        return residuals - matmul(u, matmul(jnp.swapaxes(u, 1, 2), scaled))

    return HatFactors(tuple(growth), _walk(scaled[None], fit, lattice))


def fold_residuals(
    factors: HatFactors, rows: Array, inside: Array, lattice: Lattice, at_once: int = 1
) -> Array:
    """Out-of-fold residuals of one fold.

    Args:
      factors: of the whole table, of n rows.
      rows: (h,) held-out rows; a shorter fold is padded with n.
      inside: (h,) whether it is a row and no padding.
      lattice, at_once: as for `factor`.

    Returns:
      (h, s, t) targets less their out-of-fold predictions; 0 in the padding.
    """
    n = factors.residuals.shape[1]

    def held_out(whole: Array) -> Array:
        return jnp.take(whole, rows, axis=1, mode="fill", fill_value=0)

    def shrink(j: int, left: Array) -> Array:
        u = held_out(factors.growth[j])  # (q, h, width)
        return left - matmul(u, jnp.swapaxes(u, 1, 2))

    identity = jnp.eye(len(rows), dtype=factors.residuals.dtype)
    left = identity - (inside[:, None] & inside) / jnp.asarray(n, identity.dtype)
    left = _walk(left[None], shrink, lattice)  # (s, h, h), I − H_TT
    residuals = _for_each(_solve, (left, held_out(factors.residuals)), at_once)
    return jnp.moveaxis(residuals, 0, 1)


def _for_each(function, arrays, at_once: int):
    return lax.map(function, arrays, batch_size=at_once if at_once > 1 else None)


def _eliminate(states: Array, width: int, stage: Stage, at_once: int):
    """Cholesky step on the first block of each state that takes it.

    states (q, r + n, r): the remaining blocks' matrix and, below, the rows' remaining columns.
    Returns the taken states' U (q, n, width) and the later states.
    """
    take, skip, onward = (np.array(ix, int) for ix in (stage.take, stage.skip, stage.onward))

    def factor_one(state: Array) -> Array:
        diagonal = jnp.linalg.cholesky(state[:width, :width], symmetrize_input=False)
        return lax.linalg.triangular_solve(
            diagonal, state[width:, :width], left_side=False, lower=True, transpose_a=True
        )

    taken = states[take]
    below = _for_each(factor_one, taken, at_once)
    later = states.shape[2] - width
    ahead = below[onward]
    update = matmul(ahead, jnp.swapaxes(ahead[:, :later], 1, 2))
    states = jnp.concatenate([states[skip, width:, width:], taken[onward, width:, width:] - update])
    return below[:, later:], states


def _solve(system: tuple[Array, Array]) -> Array:
    """A⁻¹e of A (h, h), symmetric and positive definite, and e (h, t)."""
    a, e = system
    root = jnp.linalg.cholesky(a, symmetrize_input=False)
    half = lax.linalg.triangular_solve(root, e, left_side=True, lower=True)
    return lax.linalg.triangular_solve(root, half, left_side=True, lower=True, transpose_a=True)


def _walk(first: Array, step, lattice: Lattice) -> Array:
    """Carries an array of every state through the lattice; returns that of every subset.

    Args:
      first: (1, …) of the empty set.
      step: (block, (q, …) of the states that take it) → the same with the block.

    Returns:
      (s, …).
    """
    states, finished, order = first, [], []
    for j, stage in enumerate(lattice.stages):
        take, skip, onward = (np.array(ix, int) for ix in (stage.take, stage.skip, stage.onward))
        taken = step(j, states[take])
        ending, of_subset = _ending(lattice, j)
        finished.append(taken[ending])
        order.extend(of_subset)
        states = jnp.concatenate([states[skip], taken[onward]])
    return jnp.concatenate(finished)[np.argsort(order)]


def _ending(lattice: Lattice, j: int) -> tuple[np.ndarray, list[int]]:
    """Positions, among the states that take block j, of those that are a subset then; and which."""
    found = [
        (position, subset)
        for position, members in enumerate(lattice.stages[j].members)
        for subset in members
        if subset < len(lattice.subsets) and lattice.subsets[subset][-1] == j
    ]
    return np.array([position for position, _ in found], int), [subset for _, subset in found]
