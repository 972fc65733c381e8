"""Ridge regression of every subset of embeddings at once, in closed form.

Objective, for the columns X of a subset and centred targets Y: min_W ‖Y − XW‖² + λ‖W‖², the
intercept free. With G = XᵀX and B = XᵀY of the training rows, W = (G + λI)⁻¹B.

All subsets are solved by one elimination over the lattice of `subsets.Lattice`: the Cholesky
factor of a subset is that of its prefix plus one block row, and states that share a prefix share
the work. Axes: s subsets, q states of a stage, p columns, t targets.
"""

from __future__ import annotations

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
    states = jnp.concatenate([shifted, rhs.T])[None]
    factors = []
    for width, stage in zip(lattice.widths, lattice.stages, strict=True):
        factor, states = _eliminate(states, width, stage, at_once)
        factors.append(factor)
    # One more row than subsets: the padding of `Stage.members` writes there.
    weights = jnp.zeros((len(lattice.subsets) + 1, p, t), gram.dtype)
    for j in reversed(range(len(factors))):
        if lattice.stages[j].take:
            start, stop = lattice.starts[j], lattice.starts[j + 1]
            weights = _substitute(weights, factors[j], lattice.stages[j], start, stop, at_once)
    return weights[:-1]


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
