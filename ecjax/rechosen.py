"""Penalties of ridge regression that are chosen anew by weighted rows.

What intervals of kind `refit` do before every fit where `--bootstrap_choices=redo`. A replicate in
which a row has the weight w is the table in which it stands w times; all its copies are in the fold
and in the inner group that the row is in. So columns are scaled by the weighted training rows of
each inner fit, losses are weighted sums, and the number of training rows is that of the copies. The
grid is that of the original fold, whatever was drawn.

Where fewer than two inner groups of a fold have rows with weight, nothing can be chosen by them;
then the original choice stays.

Axes: c replicates, n rows, p columns, t targets, q = p + t, r seeds, k folds, h rows of a fold, m
inner groups, g rows of a group, s subsets, l penalties of a grid, b bands: blocks of the lattice,
or 1 where a subset's share their penalty.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from ecjax import gram, host_call, nested
from ecjax.kept import weighted_scatter
from ecjax.subsets import Lattice


class How(NamedTuple):
    """What is compiled.

    Attributes:
      lattice: subsets and order of elimination.
      groups: k of k, the inner group of each fold where another is held out, as
        `inner.groups_of_folds`; () where groups are lists of rows.
      tasks: first target of each task and the one after its last.
      bands: the place of each block among the study's embeddings, for a penalty of its own; () for
        one that all share.
      on_host: whether the host's BLAS does it (see `host_rechosen`).
      at_once: folds side by side; 1 on a CPU, see `ridge.lattice_solve`.
    """

    lattice: Lattice
    groups: tuple[tuple[int, ...], ...]
    tasks: tuple[tuple[int, int], ...]
    bands: tuple[int, ...]
    on_host: bool
    at_once: int


@functools.partial(jax.jit, static_argnums=0)
def choose(
    how: How,
    blocks: Sequence[Array],
    y: Array,
    weights: Array,
    rows: Array,
    grid: Array,
    places: Array,
) -> Array:
    """The places of all penalties on their grids, as `kept.fit` takes them.

    Args:
      blocks: (n, p_m) for each block of the lattice, as stored.
      y: (n, t).
      weights: (c, n) whole numbers.
      rows: (r, k, h) of each fold, or (r, k, m, g) of the inner groups of each, n for none.
      grid: (r, k, l) penalties, the strongest first.
      places: (1, r, k, s, t, b) the original choice.

    Returns:
      (c, r, k, s, t, b); −1 for a band that a subset leaves out.
    """
    if how.on_host:
        static = how.lattice, how.groups, how.tasks, how.bands
        return host_call.choose_again(blocks, y, weights, rows, grid, places, *static)
    z, _ = gram.standardise(jnp.concatenate([block.astype(float) for block in blocks], axis=1))
    scaled, _ = gram.standardise(y.astype(float))
    table = jnp.concatenate([z, scaled], axis=1)

    def replicate(weight: Array) -> Array:
        of_seed = functools.partial(_seed, how, table, z.shape[1], weight)
        return lax.map(lambda seed: of_seed(*seed), (rows, grid, places[0]))

    return lax.map(replicate, weights)


def _seed(how: How, table: Array, p: int, weight: Array, rows, grid, places) -> Array:
    """(k, s, t, b) of one seed and replicate."""

    def parts(lists: Array) -> nested.Scatter:
        """Of each of several lists of rows."""
        take = functools.partial(jnp.take, axis=0, mode="fill", fill_value=0)
        return lax.map(lambda own: weighted_scatter(take(table, own), take(weight, own)), lists)

    if how.groups:
        of_folds, group_of = parts(rows), jnp.array(how.groups)
        count = max(map(max, how.groups)) + 1

    def fold(i: Array) -> Array:
        groups = nested.united(of_folds, group_of[i], count) if how.groups else parts(rows[i])
        static = how.tasks, how.lattice, how.bands, how.at_once
        place, _ = nested.choose_by(groups, p, grid[i], *static)
        place = place if how.bands else place[..., None]
        return jnp.where((groups.count > 0).sum() > 1, place, places[i]).astype(jnp.int32)

    side_by_side = how.at_once if how.at_once > 1 else None
    return lax.map(fold, jnp.arange(len(rows)), batch_size=side_by_side)
