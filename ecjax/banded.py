"""A penalty for each embedding of a set: the search for those with the least inner loss.

One λ for all columns of a set must suit its widest block: a large one of noise asks for a λ that
buries a small one. With a λ for each embedding (a banded penalty; Nunez-Elizalde, Huth & Gallant
2019; Dupré la Tour et al. 2022) each block is shrunk as it deserves.

The search goes downhill from the best shared λ of the grid. A step moves one embedding's λ by 4
places along the grid; of all such steps the one with the least loss is taken, until none lowers it;
then the same with 2 places, and with 1. So the loss never exceeds the best shared one, and at the
end no single step on the grid lowers it. Of equal losses that of the larger sum of log λ is taken,
then that of the earlier embedding's larger λ.

To choose a λ for each of b embeddings is to fit b − 1 numbers more to the inner folds. Each lowers
their loss by about 1/n_train of itself by luck alone, and new rows then lose what was fitted to
luck. So the best shared λ stays unless the search lowers the inner loss by more than
4·(b − 1)/n_train of itself. Where embeddings are alike that turns a loss of up to 0.014 R² into
0.003, and it takes next to nothing from the gains elsewhere (`experiments/penalties.md`).

Descent along the gradient of log λ, which the moments give in closed form (`optax.lbfgs`), was as
good on real biomass and planted worlds, in half the evaluations for two wide embeddings, but twice
as many where the loss is flat in one λ. It ends beside the grid, where equal losses no longer tell
which choice is the same on every device; so the grid is searched.

Axes: p columns, t targets, m groups of inner folds, l penalties, s subsets, b bands (blocks of the
lattice), T tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.scipy.linalg import cho_solve

from ecjax import gram
from ecjax.subsets import Lattice

STRIDES = (4, 2, 1)
LEAST = np.finfo(float).tiny  # λ of 0 counts as this in a sum of log λ
WORTH = 4.0  # times 1/n_train, by which a further λ must lower the inner loss


def _pays(found, shared, bands, rows) -> Array | np.ndarray:
    """Whether so many bands lower the loss from `shared` to `found` by enough to be believed.

    Equal losses pay too: of those the stronger penalties are taken, as everywhere.

    Args:
      rows: n_train.
    """
    return (found == shared) | (found < (1 - WORTH * (bands - 1) / rows) * shared)


def _strength(logs: Array | np.ndarray) -> Array | np.ndarray:
    """Sums over the last axis, in whole billionths: those of equal products of λ are equal."""
    return (1e9 * logs.sum(-1)).round()


def _best(losses: Array | np.ndarray, strength: Array | np.ndarray) -> Array | np.ndarray:
    """Which trial on axis 0 has the least loss; of equals the strongest, of those the first."""
    return ((losses == losses.min(0)) * (strength - strength.min(0) + 1)).argmax(0)


def descend(
    loss: Callable[[tuple[int, ...]], float], start: tuple[int, ...], grid: np.ndarray, rows: int
) -> tuple[int, ...]:
    """The places on the grid where the search ends; the start where that does not pay.

    Args:
      loss: of the places of all bands; its order of bands settles ties.
      start: places of the best shared penalty.
      grid: (l,) penalties, the strongest first.
      rows: n_train, that the loss sums over.
    """
    logs = np.log10(np.maximum(grid, LEAST))
    order = range(len(start))  # steps are tried such that the first leave the earlier the larger λ
    best, least = start, loss(start)
    for stride in STRIDES:
        while True:
            trials = [
                (*best[:band], best[band] + step, *best[band + 1 :])
                for step, bands in ((-stride, order), (stride, order[::-1]))
                for band in bands
                if 0 <= best[band] + step < len(grid)
            ]
            if not trials:
                break
            found = np.array([loss(trial) for trial in trials])
            i = int(_best(found, _strength(logs[np.array(trials)])))
            stronger = sum(trials[i]) < sum(best)
            if not (found[i] < least or (stronger and found[i] == least < np.inf)):
                break
            best, least = trials[i], found[i]
    return best if _pays(least, loss(start), len(start), rows) else start


class Inner(NamedTuple):
    """What the inner fits of an outer fold are made from, each with the others as training rows.

    Attributes:
      system, rhs: (m, p, p) and (m, p, t) of the training rows, standardised by them.
      xx, xy, yy: (m, p, p), (m, p, t) and (m, t) products of the tested rows on that scale.
    """

    system: Array
    rhs: Array
    xx: Array
    xy: Array
    yy: Array


class _Bands:
    """Which columns and bands belong to each subset, as arrays."""

    def __init__(self, lattice: Lattice, bands: Sequence[int]):
        self.of_column = np.repeat(np.arange(len(lattice.widths)), lattice.widths)
        self.member = np.array(
            [[j in subset for j in range(len(lattice.widths))] for subset in lattice.subsets]
        )  # (s, b)
        self.order = np.argsort(bands)


def solve(system: Array, rhs: Array, penalty: Array, member: Array) -> Array:
    """(p, t) weights of one subset, zero in the columns that it leaves out.

    Args:
      penalty: (p,) of each column.
      member: (p,) whether a column is the subset's.
    """
    inside = jnp.where(member[:, None] & member, system, 0)
    diagonal = jnp.where(member, penalty, 1)
    factor = jnp.linalg.cholesky(inside + jnp.diag(diagonal), symmetrize_input=False)
    return cho_solve((factor, True), jnp.where(member[:, None], rhs, 0))


def choose(
    inner: Inner,
    grid: Array,
    shared: Array,
    tasks: Sequence[tuple[int, int]],
    lattice: Lattice,
    bands: Sequence[int],
    rows: Array,
) -> tuple[Array, Array]:
    """Places on the grid (s, t, b), −1 for a band not in the subset, and inner losses (s, t).

    All subsets and tasks search in step; one that has arrived waits.

    Args:
      grid: (l,) penalties, the strongest first.
      shared: (s, t) the place of the best shared one.
      tasks: first target of each task and the one after its last.
      bands: the place of each block among the study's embeddings, by which ties are settled.
      rows: n_train, that the losses sum over.
    """
    of = _Bands(lattice, bands)
    b, t = len(lattice.widths), inner.yy.shape[1]
    own = np.array([[start <= i < stop for i in range(t)] for start, stop in tasks])  # (T, t)
    task_of = own.argmax(0)

    def losses(places: Array) -> Array:
        """(T, s, t) of places (T, s, b)."""

        def one(arguments):
            penalty, member = arguments

            def group(part: Inner) -> Array:
                weights = solve(part.system, part.rhs, penalty, member)
                product = gram.matmul(part.xx, weights)
                return part.yy + (weights * (product - 2 * part.xy)).sum(0)

            return lax.map(group, inner).sum(0)

        penalty = grid[places][..., of.of_column]  # (T, s, p)
        member = jnp.broadcast_to(of.member[:, of.of_column], penalty.shape)
        flat = (a.reshape(-1, a.shape[-1]) for a in (penalty, member))
        return lax.map(one, tuple(flat)).reshape(*places.shape[:2], t)

    def of_tasks(found: Array) -> Array:
        """(T, s) sums over each task's targets; not a number becomes infinite."""
        total = (found * own[:, None]).sum(2)
        return jnp.where(jnp.isnan(total), jnp.inf, total)

    directions = np.eye(b, dtype=int)[of.order]
    moves = np.concatenate([-directions, directions[::-1]])  # (2b, b), in the order of `descend`
    strides = jnp.array(STRIDES)
    logs = jnp.log10(jnp.maximum(grid, LEAST))

    def step(state):
        places, least, stage = state

        def trial(move: Array) -> Array:
            there = places + strides[stage] * move
            valid = ((there >= 0) & (there < len(grid))).all(2) & (of.member & (move != 0)).any(1)
            there = jnp.clip(there, 0, len(grid) - 1)
            strong = _strength(jnp.where(of.member, logs[there], 0))
            return jnp.where(valid, of_tasks(losses(there)), jnp.inf), strong

        found, strong = lax.map(trial, jnp.asarray(moves))  # (2b, T, s)
        best, value = _best(found, strong), found.min(0)
        stronger = (best < b) & (value == least) & jnp.isfinite(value)
        better = (value < least) | stronger
        places = places + jnp.where(better[..., None], strides[stage] * jnp.asarray(moves)[best], 0)
        return places, jnp.where(better, value, least), jnp.where(better.any(), stage, stage + 1)

    start = shared[:, np.argmax(own, axis=1)].T  # (T, s)
    start = jnp.broadcast_to(start[..., None], (*start.shape, b))
    least = of_tasks(losses(start))
    state = start, least, jnp.zeros((), int)
    places, found, _ = lax.while_loop(lambda state: state[2] < len(STRIDES), step, state)
    pays = _pays(found, least, of.member.sum(1), rows)
    places = jnp.where(pays[..., None], places, start)
    loss = losses(places)[task_of, :, np.arange(t)].T  # (s, t)
    found = jnp.moveaxis(places[task_of], 0, 1)  # (s, t, b)
    return jnp.where(of.member[:, None], found, -1), loss


def fit(system: Array, rhs: Array, grid: Array, places: Array, lattice: Lattice) -> Array:
    """(s, p, t) weights with the penalties at places (s, t, b) of the grid.

    Each target is solved for by itself, by the penalties of its task.
    """
    of = _Bands(lattice, range(len(lattice.widths)))

    def one(arguments):
        place, member, target = arguments
        penalty = grid[jnp.maximum(place, 0)][of.of_column]
        return solve(system, rhs[:, target, None], penalty, member)[:, 0]

    s, t, b = places.shape
    member = jnp.broadcast_to(of.member[:, None, of.of_column], (s, t, len(of.of_column)))
    target = jnp.broadcast_to(jnp.arange(t), (s, t))
    flat = places.reshape(s * t, b), member.reshape(s * t, -1), target.reshape(s * t)
    return jnp.moveaxis(lax.map(one, flat).reshape(s, t, -1), 1, 2)
