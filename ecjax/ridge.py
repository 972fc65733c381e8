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


def lattice_solve(gram: Array, rhs: Array, ridge_lambda: Array, lattice: Lattice) -> Array:
    """Ridge weights of all subsets of the lattice.

    Args:
      gram: (p, p) centred Gram matrix, blocks in lattice order.
      rhs: (p, t).
      ridge_lambda: () penalty, on the scale of the Gram matrix.
      lattice: the subsets and their order of elimination.

    Returns:
      (s, p, t) weights, zero in the columns that a subset leaves out.
    """
    p, t = rhs.shape
    states = (gram + ridge_lambda * jnp.eye(p, dtype=gram.dtype))[None]
    targets = rhs[None]
    factors = []
    for width, stage in zip(lattice.widths, lattice.stages, strict=True):
        factor, states, targets = _eliminate(states, targets, width, stage)
        factors.append(factor)
    # One more row than subsets: the padding of `Stage.members` writes there.
    weights = jnp.zeros((len(lattice.subsets) + 1, p, t), gram.dtype)
    for j in reversed(range(len(factors))):
        if lattice.stages[j].take:
            start, stop = lattice.starts[j], lattice.starts[j + 1]
            weights = _substitute(weights, factors[j], lattice.stages[j], start, stop)
    return weights[:-1]


def _eliminate(states: Array, targets: Array, width: int, stage: Stage):
    """Cholesky step on the first block of each state that takes it.

    states (q, r, r) and targets (q, r, t) cover the blocks from this one on; `width` columns are
    this block's. Returns the factor (diagonal, below, solved targets) and the later states.
    """
    take, skip, onward = (np.array(ix, int) for ix in (stage.take, stage.skip, stage.onward))
    taken = states[take]
    diagonal = jnp.linalg.cholesky(taken[:, :width, :width], symmetrize_input=False)
    # below (q, r - width, width) = A₂₁ L⁻ᵀ; solved (q, width, t) = L⁻¹ b
    below = lax.linalg.triangular_solve(
        diagonal, taken[:, width:, :width], left_side=False, lower=True, transpose_a=True
    )
    solved = lax.linalg.triangular_solve(
        diagonal, targets[take, :width], left_side=True, lower=True
    )
    ahead = below[onward]
    update = matmul(ahead, jnp.swapaxes(ahead, 1, 2))
    states = jnp.concatenate([states[skip, width:, width:], taken[onward, width:, width:] - update])
    targets = jnp.concatenate(
        [targets[skip, width:], targets[take][onward, width:] - matmul(ahead, solved[onward])]
    )
    return (diagonal, below, solved), states, targets


def _substitute(weights: Array, factor, stage: Stage, start: int, stop: int) -> Array:
    """Back substitution for one block in all subsets that hold it."""
    diagonal, below, solved = factor
    members = np.array(stage.members, int)  # (q, g)
    q, g = members.shape
    later = weights[members, stop:]  # (q, g, r, t)
    t = later.shape[-1]
    later = jnp.moveaxis(later, 1, 2).reshape(q, -1, g * t)  # (q, r, g·t)
    right = jnp.tile(solved, (1, 1, g)) - matmul(jnp.swapaxes(below, 1, 2), later)
    block = lax.linalg.triangular_solve(
        diagonal, right, left_side=True, lower=True, transpose_a=True
    )
    block = jnp.moveaxis(block.reshape(q, stop - start, g, t), 2, 1)  # (q, g, width, t)
    return weights.at[members, start:stop].set(block)
