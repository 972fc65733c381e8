"""Ridge regression of every subset of embeddings at once, in closed form.

Objective, for the columns X of a subset and centred targets Y: min_W ‖Y − XW‖² + λ‖W‖², the
intercept free. With G = XᵀX and B = XᵀY of the training rows, W = (G + λI)⁻¹B.

All subsets are solved by one elimination over the lattice of `subsets.Lattice`: the Cholesky
factor of a subset is that of its prefix plus one block row, and states that share a prefix share
the work. Axes: s subsets, q states of a stage, p columns, t targets.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from ecjax import gram as gram_lib
from ecjax.subsets import Lattice, Stage

matmul = gram_lib.matmul


def lattice_solve(
    gram: Array, rhs: Array, ridge_lambda: Array, lattice: Lattice, at_once: int = 1
) -> Array:
    """Ridge weights of all subsets of the lattice.

    Args:
      gram: (p, p) centred Gram matrix, blocks in lattice order.
      rhs: (p, t).
      ridge_lambda: () penalty, on the scale of the Gram matrix.
      lattice: the subsets and their order of elimination.
      at_once: states factored side by side. On a CPU it must be 1: there a batched factorisation
        waits inside the thread pool that it needs, and two of them at a time wait for ever.

    Returns:
      (s, p, t) weights, zero in the columns that a subset leaves out.
    """
    p, t = rhs.shape
    shifted = gram + ridge_lambda * jnp.eye(p, dtype=gram.dtype)
    # The targets ride along as rows below the matrix: one triangular solve serves both.
    factors = _eliminate_all(jnp.concatenate([shifted, rhs.T]), lattice, at_once)
    # One more row than subsets: the padding of `Stage.members` writes there.
    weights = jnp.zeros((len(lattice.subsets) + 1, p, t), gram.dtype)
    for j in reversed(range(len(factors))):
        if lattice.stages[j].take:
            start, stop = lattice.starts[j], lattice.starts[j + 1]
            weights = _substitute(weights, factors[j], lattice.stages[j], start, stop, at_once)
    return weights[:-1]


class Factor(NamedTuple):
    """One block row of the Cholesky factors of all states that take a block.

    Attributes:
      inverse: (q, width, width) inverse of the diagonal block.
      below: (q, r + 1, width) the rows below it, and a last one of zeros: a batched `lax.map` takes
        no array without rows, which the last block's would be.
    """

    inverse: Array
    below: Array


def lattice_factor(
    gram: Array, ridge_lambda: Array, lattice: Lattice, at_once: int = 1
) -> tuple[Factor, ...]:
    """Factors all subsets of the lattice for `factor_solve`; arguments as for `lattice_solve`."""
    shifted = gram + ridge_lambda.astype(gram.dtype) * jnp.eye(len(gram), dtype=gram.dtype)

    def invert(diagonal: Array) -> Array:
        identity = jnp.eye(len(diagonal), dtype=diagonal.dtype)
        return lax.linalg.triangular_solve(diagonal, identity, left_side=True, lower=True)

    states = jnp.pad(shifted, ((0, 1), (0, 0)))
    return tuple(
        Factor(_for_each(invert, diagonal, at_once), below)
        for diagonal, below in _eliminate_all(states, lattice, at_once)
    )


def factor_solve(factors: tuple[Factor, ...], rhs: Array, lattice: Lattice) -> Array:
    """Solves the systems of all subsets, whose factors are at hand, by products alone.

    Args:
      rhs: (s, p, t) of each subset; columns that it leaves out count for nothing.

    Returns:
      (s, p, t), zero in the columns that a subset leaves out.
    """
    s, p, t = rhs.shape
    # One more row than subsets, as in `lattice_solve`.
    left = jnp.concatenate([rhs, jnp.zeros((1, p, t), rhs.dtype)])
    for j, (inverse, below) in enumerate(factors):
        members, start, stop = _place(lattice, j)
        if len(members):
            block = matmul(inverse, _side_by_side(left[members, start:stop]))
            left = left.at[members, start:stop].set(_apart(block, t))
            if stop < p:
                left = left.at[members, stop:].add(-_apart(matmul(below[:, :-1], block), t))
    found = jnp.zeros_like(left)
    for j in reversed(range(len(factors))):
        (inverse, below), (members, start, stop) = factors[j], _place(lattice, j)
        if len(members):
            right = _side_by_side(left[members, start:stop])
            later = _side_by_side(found[members, stop:])
            right = right - matmul(jnp.swapaxes(below[:, :-1], 1, 2), later)
            block = matmul(jnp.swapaxes(inverse, 1, 2), right)
            found = found.at[members, start:stop].set(_apart(block, t))
    return found[:s]


def _place(lattice: Lattice, j: int) -> tuple[np.ndarray, int, int]:
    """Members (q, g) of a block's states, its first column and the one after its last."""
    return np.array(lattice.stages[j].members, int), lattice.starts[j], lattice.starts[j + 1]


def _side_by_side(columns: Array) -> Array:
    """(q, g, r, t) → (q, r, g·t): the members of a state as columns of one matrix."""
    q, g, r, t = columns.shape
    return jnp.moveaxis(columns, 1, 2).reshape(q, r, g * t)


def _apart(columns: Array, t: int) -> Array:
    """The inverse of `_side_by_side`."""
    q, r, gt = columns.shape
    return jnp.moveaxis(columns.reshape(q, r, gt // t, t), 2, 1)


def _eliminate_all(matrix: Array, lattice: Lattice, at_once: int) -> list[tuple[Array, Array]]:
    """Each block's (diagonal, below) of the matrix (p, p) and of what rows lie below it."""
    states, factors = matrix[None], []
    for width, stage in zip(lattice.widths, lattice.stages, strict=True):
        factor, states = _eliminate(states, width, stage, at_once)
        factors.append(factor)
    return factors


def _for_each(function, arrays, at_once: int):
    return lax.map(function, arrays, batch_size=at_once if at_once > 1 else None)


def _eliminate(states: Array, width: int, stage: Stage, at_once: int):
    """Cholesky step on the first block of each state that takes it.

    states (q, r + t, r) cover the blocks from this one on, and the targets; `width` columns are
    this block's. Returns the factor (diagonal, below) and the later states.
    """
    take, skip, onward = (np.array(ix, int) for ix in (stage.take, stage.skip, stage.onward))

    def factor(state: Array):
        """L, and A₂₁ L⁻ᵀ of the rows below: later blocks (r - width) and targets (t)."""
        diagonal = jnp.linalg.cholesky(state[:width, :width], symmetrize_input=False)
        below = lax.linalg.triangular_solve(
            diagonal, state[width:, :width], left_side=False, lower=True, transpose_a=True
        )
        return diagonal, below

    taken = states[take]
    diagonal, below = _for_each(factor, taken, at_once)
    later = states.shape[2] - width
    ahead = below[onward]
    update = matmul(ahead, jnp.swapaxes(ahead[:, :later], 1, 2))
    states = jnp.concatenate([states[skip, width:, width:], taken[onward, width:, width:] - update])
    return (diagonal, below), states


def _substitute(weights: Array, factor, stage: Stage, start: int, stop: int, at_once: int) -> Array:
    """Back substitution for one block in all subsets that hold it."""
    diagonal, below = factor
    members = np.array(stage.members, int)  # (q, g)
    q, g = members.shape
    t = weights.shape[-1]
    later = jnp.moveaxis(weights[members, stop:], 1, 2).reshape(q, -1, g * t)  # (q, r, g·t)
    split = below.shape[1] - t
    solved = jnp.swapaxes(below[:, split:], 1, 2)  # (q, width, t) = L⁻¹ b
    right = jnp.tile(solved, (1, 1, g)) - matmul(jnp.swapaxes(below[:, :split], 1, 2), later)

    def solve(pair) -> Array:
        return lax.linalg.triangular_solve(
            pair[0], pair[1], left_side=True, lower=True, transpose_a=True
        )

    block = _for_each(solve, (diagonal, right), at_once)
    block = jnp.moveaxis(block.reshape(q, stop - start, g, t), 2, 1)  # (q, g, width, t)
    return weights.at[members, start:stop].set(block)
