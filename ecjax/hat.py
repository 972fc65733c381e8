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

It holds only where columns are scaled once for the whole table. Where a leverage nears 1 (as many
columns as rows, or a column that one row alone carries, and a small penalty), I − H_TT is nearly
singular, and about log₁₀ 1/(1 − leverage) digits are lost. Fitting the training rows loses as many,
because their matrix is then as nearly singular: neither route is the more exact one.

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
SIDE_BY_SIDE = 16  # systems solved in one stretch of the program; more only make it longer


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
    shifted = gram_lib.lower_gram(z) + ridge_lambda * jnp.eye(p, dtype=z.dtype)
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

    return HatFactors(tuple(growth), _in_order(_walk(scaled[None], fit, lattice), lattice))


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

    residuals = held_out(factors.residuals)
    identity = jnp.eye(len(rows), dtype=residuals.dtype)
    nothing = identity - (inside[:, None] & inside) / jnp.asarray(n, identity.dtype)
    left = _walk(nothing[None], shrink, lattice)  # (q, h, h) of each block, I − H_TT
    solved = [
        _solve_each(systems, residuals[np.array(ending.subsets, int)], at_once)
        for systems, ending in zip(left, _endings(lattice), strict=True)
        if ending.subsets
    ]
    return jnp.moveaxis(_in_order(solved, lattice), 0, 1)


def _for_each(function, arrays, at_once: int):
    return lax.map(function, arrays, batch_size=at_once if at_once > 1 else None)


def _eliminate(states: Array, width: int, stage: Stage, at_once: int):
    """Cholesky step on the first block of each state that takes it.

    states (q, r + n, r): the remaining blocks' matrix and, below, the rows' remaining columns.
    Returns the taken states' U (q, n, width) and the later states.
    """

    def inverse_root(matrix: Array) -> Array:
        root = jnp.linalg.cholesky(matrix, symmetrize_input=False)
        identity = jnp.eye(width, dtype=matrix.dtype)
        return lax.linalg.triangular_solve(root, identity, left_side=True, lower=True)

    taken = _pick(states, stage.take)
    # An inverse and a product, because the rows are many and products run on all cores.
    inverse = _for_each(inverse_root, taken[:, :width, :width], at_once)
    below = matmul(taken[:, width:, :width], jnp.swapaxes(inverse, 1, 2))
    later = states.shape[2] - width
    ahead = _pick(below, stage.onward)
    update = matmul(ahead, jnp.swapaxes(ahead[:, :later], 1, 2))
    passed = _pick(states, stage.skip)[:, width:, width:]
    states = jnp.concatenate([passed, _pick(taken, stage.onward)[:, width:, width:] - update])
    return below[:, later:], states


def _solve_each(systems: Array, right: Array, at_once: int) -> Array:
    """A⁻¹e of each A (h, h), symmetric and positive definite, and e (h, t).

    On a CPU a loop would leave all cores but one idle; calls that stand side by side in one program
    are shared out.
    """
    q = len(systems)
    if at_once > 1:
        return _for_each(_solve, (systems, right), at_once)
    if q <= SIDE_BY_SIDE:
        return jnp.stack([_solve(pair) for pair in zip(systems, right, strict=True)])
    groups = -(-q // SIDE_BY_SIDE)
    order = np.arange(groups * SIDE_BY_SIDE) % q  # the last group is filled with the first ones
    grouped = [a[order].reshape(groups, SIDE_BY_SIDE, *a.shape[1:]) for a in (systems, right)]
    solved = lax.map(lambda group: _solve_each(*group, at_once), tuple(grouped))
    return solved.reshape(-1, *right.shape[1:])[:q]


def _solve(system: tuple[Array, Array]) -> Array:
    a, e = system
    root = jnp.linalg.cholesky(a, symmetrize_input=False)
    half = lax.linalg.triangular_solve(root, e, left_side=True, lower=True)
    return lax.linalg.triangular_solve(root, half, left_side=True, lower=True, transpose_a=True)


def _walk(first: Array, step, lattice: Lattice) -> list[Array]:
    """Carries an array of every state through the lattice.

    Args:
      first: (1, …) of the empty set.
      step: (block, (q, …) of the states that take it) → the same with the block.

    Returns:
      For each block, the arrays of the subsets that end with it, as `_endings` lists them.
    """
    states, finished = first, []
    for j, (stage, ending) in enumerate(zip(lattice.stages, _endings(lattice), strict=True)):
        taken = step(j, _pick(states, stage.take))
        finished.append(_pick(taken, ending.positions))
        states = jnp.concatenate([_pick(states, stage.skip), _pick(taken, stage.onward)])
    return finished


def _pick(array: Array, positions) -> Array:
    """array[positions], and no copy where that is all of it."""
    if tuple(positions) == tuple(range(len(array))):
        return array
    return array[np.array(positions, int)]


class Ending(NamedTuple):
    """Subsets whose last block is a stage's.

    Attributes:
      positions: among the states that take the block.
      subsets: in the lattice's list.
    """

    positions: tuple[int, ...]
    subsets: tuple[int, ...]


def _endings(lattice: Lattice) -> list[Ending]:
    """Of each block."""
    endings = []
    for j, stage in enumerate(lattice.stages):
        found = [
            (position, subset)
            for position, members in enumerate(stage.members)
            for subset in members
            if subset < len(lattice.subsets) and lattice.subsets[subset][-1] == j
        ]
        endings.append(Ending(*zip(*found, strict=True)) if found else Ending((), ()))
    return endings


def _in_order(finished: list[Array], lattice: Lattice) -> Array:
    """Arrays of all subsets, listed by their last block, in the lattice's order: (s, …)."""
    order = [subset for ending in _endings(lattice) for subset in ending.subsets]
    return _pick(jnp.concatenate(finished), np.argsort(order))
