"""`kept.fit` on the host's BLAS: one replicate and seed on each core.

The training rows of a fold are all folds but one. Their moments are found by halving: those of the
folds of one half are made from what lies outside the half, and so on down to single folds. So every
sum is one of positive terms, as in `nested`, and no more than log₂ k of them are held.

A subset's penalty may be another than that of the next. Subsets that share one share an elimination
(`host.eliminate`).

Axes as in `kept`. Symmetric matrices (q, q) are lower triangles.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from ecjax import blas, host
from ecjax.gram import is_constant
from ecjax.subsets import Lattice, part_of


class KeptFits(NamedTuple):
    """What fits with kept penalties leave on rows that took no part in them.

    Attributes:
      squared_error: (c, r, k, s + 1, t) weighted sums over each fold's rows, of targets in the
        table's standard deviations; the last set is the empty one. 0 where no row has weight, not
        a number where rows with weight have none to train on.
      row_error: (c, r, t, n, s + 1) squares of each row's residual, 0 for rows without weight;
        (c, r, t, 0, s + 1) where nobody asked.
    """

    squared_error: np.ndarray
    row_error: np.ndarray


class Scatter(NamedTuple):
    """Moments of weighted rows: the weights' sum, mean (q,), products about the mean (q, q)."""

    count: float
    mean: np.ndarray
    products: np.ndarray


def fit(
    blocks: Sequence[np.ndarray],
    y: np.ndarray,
    weights: np.ndarray,
    tested: np.ndarray,
    left_out: np.ndarray,
    grid: np.ndarray,
    places: np.ndarray,
    lattice: Lattice,
    divided: bool,
    own_scale: bool,
    row_error: bool,
) -> KeptFits:
    """As `kept.fit`, from blocks (n, p_m) as stored and targets (n, t) in their own units."""
    (c, n), (r, k, _), t, s = weights.shape, tested.shape, y.shape[1], len(lattice.subsets)
    found = KeptFits(
        np.zeros((c, r, k, s + 1, t)), np.zeros((c, r, t, n if row_error else 0, s + 1))
    )
    cores = host.available_cores()
    with ThreadPoolExecutor(cores) as pool:
        z = host.standardised(pool, [*blocks, y])

        def one(which: tuple[int, int]) -> None:
            replicate, seed = which
            own = [a[min(replicate, len(a) - 1), seed] for a in (grid, places)]
            moments = _Moments(z, weights[replicate])
            solver = _Solver(lattice, t)
            inverse = None if own_scale else _inverse(moments.whole(), lattice.starts[-1])
            folds = [moments.drawn(rows) for rows in left_out[seed]]
            for fold, training in moments.leaving_out(folds, divided):
                rows = moments.drawn(tested[seed, fold])
                if not len(rows):
                    continue
                left = solver.residuals(training, *(a[fold] for a in own), z[rows], inverse)
                squares = left**2
                sums = np.einsum("h,hst->st", weights[replicate, rows], squares)
                found.squared_error[replicate, seed, fold] = sums
                if row_error:
                    found.row_error[replicate, seed][:, rows] = squares.transpose(2, 0, 1)

        list(pool.map(one, itertools.product(range(c), range(r))))
    return found


class _Moments:
    """Of the rows of z (n, q) with weights (n,)."""

    def __init__(self, z: np.ndarray, weights: np.ndarray):
        self.z, self.weights = z, weights
        self.room: list[np.ndarray] = []  # for products, one for each depth

    def drawn(self, rows: np.ndarray) -> np.ndarray:
        """Those of the rows that have weight; n stands for none."""
        rows = rows[rows < len(self.z)]
        return rows[self.weights[rows] > 0]

    def whole(self) -> Scatter:
        """Count, mean, and the diagonal (q,) in the place of the products, of all rows."""
        count, mean, rows = self._centred(np.flatnonzero(self.weights))
        return Scatter(count, mean, np.einsum("ij,ij->j", rows, rows))

    def leaving_out(
        self, folds: Sequence[np.ndarray], divided: bool
    ) -> Iterator[tuple[int, Scatter | None]]:
        """Every fold with the moments of all rows that are not in it; None where there are none.

        They are good until the next is asked for.

        Args:
          folds: rows with weight that each leaves out.
          divided: whether the folds divide the rows between them.
        """
        if divided:
            yield from self._halves(folds, range(len(folds)), None, 0)
            return
        for fold, rows in enumerate(folds):
            others = self.weights > 0
            others[rows] = False
            yield fold, self._and_rows(None, np.flatnonzero(others), 0)

    def _halves(self, folds, own: range, outside: Scatter | None, depth: int):
        if len(own) == 1:
            yield own[0], outside
            return
        middle = len(own) // 2
        halves = own[:middle], own[middle:]
        for half, other in (halves, halves[::-1]):
            rows = np.concatenate([folds[i] for i in other])
            yield from self._halves(folds, half, self._and_rows(outside, rows, depth), depth + 1)

    def _and_rows(self, outside: Scatter | None, rows: np.ndarray, depth: int) -> Scatter | None:
        """Of what is outside and these rows; see the formula in `nested`."""
        if not len(rows):
            return outside
        q = self.z.shape[1]
        while len(self.room) <= depth:
            self.room.append(np.zeros((q, q)))
        products = self.room[depth]
        count, mean, own = self._centred(rows, spare=outside is not None)
        if outside is None:
            blas.gram(own, products)
            return Scatter(count, mean, products)
        total, gap = count + outside.count, mean - outside.mean
        own[-1] = gap * np.sqrt(count * outside.count / total)
        for place in host.panels(q):
            products[place] = outside.products[place]
        blas.add_gram(products, own)
        return Scatter(total, outside.mean + gap * (count / total), products)

    def _centred(self, rows: np.ndarray, spare: bool = False):
        """The weights' sum, the mean, and the rows about it times √weight, with a spare row."""
        weights = self.weights[rows]
        count = weights.sum()
        own = np.empty((len(rows) + spare, self.z.shape[1]))
        inside = own[: len(rows)]
        np.take(self.z, rows, axis=0, out=inside, mode="clip")
        mean = weights @ inside / count
        inside -= mean
        rest = weights @ inside / count  # what rounding left in the mean
        inside -= rest
        inside *= np.sqrt(weights)[:, None]
        return count, mean + rest, own


def _inverse(training: Scatter, p: int) -> np.ndarray:
    """(p,) 1/deviation, 0 for a constant column."""
    diagonal = training.products if training.products.ndim == 1 else np.diagonal(training.products)
    variance = diagonal[:p] / training.count
    constant = is_constant(training.mean[:p], variance, training.count)
    return np.where(constant, 0.0, 1 / np.sqrt(np.where(constant, 1.0, variance)))


class _Solver:
    """Fits of all subsets to training rows, in arrays that serve again and again."""

    def __init__(self, lattice: Lattice, t: int):
        self.lattice, self.t, self.p = lattice, t, lattice.starts[-1]
        self.system = np.zeros((self.p + t, self.p + t))
        self.state = np.zeros(self.system.size)
        self.parts: dict[tuple[int, ...], tuple] = {}

    def residuals(
        self,
        training: Scatter | None,
        grid: np.ndarray,
        places: np.ndarray,
        rows: np.ndarray,
        inverse: np.ndarray | None,
    ) -> np.ndarray:
        """(h, s + 1, t) of rows (h, q); those of the empty set come last.

        Args:
          grid, places: (l,) penalties and (s, t, b) where on it those of the fits stand.
          inverse: (p,) 1/deviation of columns; None: as among the training rows.
        """
        p, t, s = self.p, self.t, len(self.lattice.subsets)
        left = np.full((len(rows), s + 1, t), np.nan)
        if training is None:
            return left
        inverse = _inverse(training, p) if inverse is None else inverse
        both = np.append(inverse, np.ones(t))
        np.multiply(training.products, both, out=self.system)
        self.system *= both[:, None]
        rows = rows - training.mean
        rows[:, :p] *= inverse
        left[:, s] = rows[:, p:]
        for members, same, by_block in _alike(places):
            found = self._residuals(members, np.where(by_block < 0, np.nan, grid[by_block]), rows)
            of, target = np.nonzero(same)
            left[:, np.array(members)[of], target] = found[:, of, target]
        return left

    def _residuals(self, members: tuple[int, ...], penalties: np.ndarray, rows) -> np.ndarray:
        """(h, m, t) of m subsets with one penalty for each block, or one for all (1,)."""
        if members not in self.parts:
            part = part_of(self.lattice, members)
            self.parts[members] = (part, *host.walk(part.lattice))
        part, order, branches = self.parts[members]
        widths, p, t = part.lattice.widths, part.lattice.starts[-1], self.t
        of_blocks = penalties[list(part.blocks)] if len(penalties) > 1 else penalties
        state = self._state(part)
        q = p + t
        state.flat[: p * (q + 1) : q + 1] += np.repeat(
            of_blocks, widths if len(of_blocks) > 1 else p
        )
        weights = np.zeros((p, len(members) * t))
        host.eliminate(state, weights, branches, part.lattice.starts, 0)
        x = np.take(rows, self.lattice.columns(part.blocks), axis=1)
        left = np.tile(rows[:, self.p :], len(members))
        blas.multiply(x, weights, left, subtract=True)
        return left.reshape(len(rows), len(members), t)[:, order]

    def _state(self, part) -> np.ndarray:
        """(q, q) the system of a part's columns, and the targets' rows below it."""
        starts, own = self.lattice.starts, part.lattice.starts
        q = own[-1] + self.t
        state = self.state[: q * q].reshape(q, q)
        state[own[-1] :, own[-1] :] = 0
        for j, block in enumerate(part.blocks):
            columns, to = slice(starts[block], starts[block + 1]), slice(own[j], own[j + 1])
            for i, below in enumerate(part.blocks[j:], start=j):
                from_rows = slice(starts[below], starts[below + 1])
                state[own[i] : own[i + 1], to] = self.system[from_rows, columns]
            state[own[-1] :, to] = self.system[self.p :, columns]
        return state


def _alike(places: np.ndarray) -> Iterator[tuple[tuple[int, ...], np.ndarray, np.ndarray]]:
    """Subsets that one elimination can serve, from the places of their penalties (s, t, b).

    Yields: the m subsets, for which targets (m, t), and the places of the penalties (b,).
    """
    if places.shape[2] == 1:
        for place in np.unique(places):
            same = places[..., 0] == place
            members = np.flatnonzero(same.any(axis=1))
            yield tuple(members.tolist()), same[members], np.array([place])
        return
    for i, of_targets in enumerate(places):
        for by_block in np.unique(of_targets, axis=0):
            yield (i,), (of_targets == by_block).all(axis=1)[None], by_block
