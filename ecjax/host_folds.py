"""Ridge fits of an outer fold from the moments of its rows, on the host's BLAS.

What comes after the moments, however many rows they are of: `host_nested` makes them from rows in
memory, a stream in passes over tables.

Axes as in `nested`. Symmetric matrices (q, q) are lower triangles unless it is said otherwise.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ecjax import banded, blas, host
from ecjax.gram import is_constant
from ecjax.subsets import Lattice

STEP = 2.0**-7  # in log λ, over which derivatives are taken


class Scatter(NamedTuple):
    """Moments of some rows: their number, mean (q,), and products about the mean (q, q)."""

    count: int
    mean: np.ndarray
    products: np.ndarray


def union(parts: Sequence[Scatter]) -> Scatter:
    """Of all rows of some parts; see the formula in `nested`."""
    counts = np.array([part.count for part in parts], float)
    means = np.array([part.mean for part in parts])
    mean = counts @ means / counts.sum()
    gaps = (means - mean) * np.sqrt(counts)[:, None]
    products = np.zeros_like(parts[0].products)  # also above the diagonal, where nothing is added
    blas.gram(gaps, products)
    for place in host.panels(len(products)):
        for part in parts:
            products[place] += part.products[place]
    return Scatter(int(counts.sum()), mean, products)


def united(parts: Sequence[Scatter], group_of: np.ndarray) -> Iterator[Scatter]:
    """Of the rows of each group of parts; group_of (m,) of each part, −1 for none."""
    for number in range(group_of.max() + 1):
        members = [parts[i] for i in np.flatnonzero(group_of == number) if parts[i].count]
        if members:
            yield union(members)


def fold_of(lattice: Lattice, t: int, grid: np.ndarray, tasks, bands: Sequence[int]) -> Fold:
    """An outer fold whose penalties are shared, or, where there are bands, each has one."""
    return (BandedFold if bands else Fold)(lattice, t, grid, tasks, bands)


def inverse_deviations(rows: Scatter, p: int) -> np.ndarray:
    """(p,) 1/deviation of columns, 0 for a constant one."""
    variance = np.diagonal(rows.products)[:p] / rows.count
    constant = is_constant(rows.mean[:p], variance, rows.count)
    return np.where(constant, 0.0, 1 / np.sqrt(np.where(constant, 1.0, variance)))


class Fits(NamedTuple):
    """Fits to the training rows of an outer fold.

    Attributes:
      mean: (q,) of the training rows.
      inverse: (p,) by which columns less their mean are multiplied before weights are.
      weights: (f, p, s, t), with the chosen penalties and, where f is 2, with ones a `STEP` larger.
    """

    mean: np.ndarray
    inverse: np.ndarray
    weights: np.ndarray


class Fold:
    """One outer fold: its lattice solves, in arrays that serve again and again."""

    def __init__(self, lattice: Lattice, t: int, grid: np.ndarray, tasks, bands):
        self.lattice, self.bands = lattice, bands
        self.starts, self.s, self.t = lattice.starts, len(lattice.subsets), t
        self.p = lattice.starts[-1]
        self.grid, self.tasks = grid, tasks
        self.order, self.branches = host.walk(lattice)
        q = self.p + t
        self.system, self.state = np.empty((q, q)), np.empty((q, q))
        self.weights = np.empty((self.p, self.s * t))
        self.product = np.empty((self.p, self.s * t))
        self.whole = np.empty((q, q))

    def choose(self, groups: Sequence[Scatter]) -> tuple[np.ndarray, np.ndarray]:
        """As `nested.choose`, of the inner losses of the groups."""
        losses = np.zeros((len(self.grid), self.s, self.t))
        for _ in self._inner_fits(groups):
            for loss, ridge_lambda in zip(losses, self.grid, strict=True):
                self._solve(ridge_lambda)
                loss += self._loss()
        losses = losses[:, self.order]
        position = np.empty((self.s, self.t), int)
        for start, stop in self.tasks:
            of_task = losses[:, :, start:stop].sum(axis=2)
            of_task[np.isnan(of_task)] = np.inf
            position[:, start:stop] = of_task.argmin(axis=0)[:, None]
        return position, np.take_along_axis(losses, position[None], axis=0)[0]

    def _inner_fits(self, groups: Sequence[Scatter]) -> Iterator[None]:
        """Sets the systems of one inner fit after the other."""
        for i, tested in enumerate(groups):
            training = union([group for j, group in enumerate(groups) if j != i])
            inverse = self._scale(training)
            self._about(tested, training.mean, inverse)
            yield

    def penalties(self, position: np.ndarray) -> np.ndarray:
        """(s, t, b) those at places as `choose` returns; NaN for a band that a subset lacks."""
        chosen = np.where(position < 0, np.nan, self.grid[position])
        return chosen if self.bands else chosen[..., None]

    def residuals(
        self, training: Scatter, position: np.ndarray, rows: np.ndarray
    ) -> list[np.ndarray]:
        """(h, s, t) of the rows (h, q), by the fits whose penalties stand at (s, t) of the grid,
        and by fits whose penalties are a `STEP` larger."""
        p, t = self.p, self.t
        inverse = self._scale(training)
        rows = rows - training.mean
        rows[:, :p] *= inverse
        both = []
        for further in (1.0, np.exp(STEP)):
            weights = self._weights_at(position, further).reshape(p, -1)
            left = np.tile(rows[:, p:], self.s)
            blas.multiply(rows[:, :p], weights, left, subtract=True)
            both.append(left.reshape(len(rows), self.s, t)[:, self.order])
        return both

    def fits(
        self,
        training: Scatter,
        position: np.ndarray,
        inverse: np.ndarray | None = None,
        further: bool = True,
    ) -> Fits:
        """Fits whose penalties stand at (s, t) of the grid.

        Args:
          inverse: (p,) 1/deviation of columns; None: as among the training rows.
          further: also with penalties a `STEP` larger.
        """
        inverse = self._scale(training, inverse)
        steps = (1.0, np.exp(STEP)) if further else (1.0,)
        weights = [self._weights_at(position, step)[:, self.order] for step in steps]
        return Fits(training.mean, inverse, np.array(weights))

    def losses(self, fits: Fits, tested: Scatter) -> tuple[np.ndarray, np.ndarray]:
        """Of other rows, from their moments: sums of squared errors (s, t), and their derivatives
        with respect to log λ (s, t), 0 where fits have no further ones.

        They are right to about 5e-16/(1 − R²) of themselves.
        """
        p = self.p
        self._about(tested, fits.mean, fits.inverse)
        weights = fits.weights[0]
        product = np.empty((p, self.s * self.t))
        blas.multiply(self.whole[:p, :p], weights.reshape(p, -1), product)
        product = product.reshape(weights.shape)
        right = self.whole[:p, None, p:]
        squares = np.einsum("pst,pst->st", product - 2 * right, weights)
        slopes = np.einsum("pst,pst->st", product - right, fits.weights[-1] - weights)
        return np.diagonal(self.whole)[p:] + squares, 2 / STEP * slopes

    def _weights_at(self, position: np.ndarray, further: float) -> np.ndarray:
        """(p, s, t) with so many times the penalties at (s, t), in the order of the walk."""
        weights = np.zeros((self.p, self.s, self.t))
        walked = np.empty_like(position)
        walked[self.order] = position
        for number in np.unique(position):
            self._solve(further * self.grid[number])
            np.copyto(weights, self.weights.reshape(weights.shape), where=walked == number)
        return weights

    def _scale(self, training: Scatter, inverse: np.ndarray | None = None) -> np.ndarray:
        """Sets the system of the training rows' own z-scores; returns 1/deviation (p,).

        inverse: to be taken in place of theirs.
        """
        if inverse is None:
            inverse = inverse_deviations(training, self.p)
        both = np.append(inverse, np.ones(self.t))
        np.multiply(training.products, both, out=self.system)
        self.system *= both[:, None]
        return inverse

    def _about(self, tested: Scatter, mean: np.ndarray, inverse: np.ndarray) -> None:
        """Sets the tested rows' products about the training mean, both triangles, scaled."""
        gap = (tested.mean - mean)[None] * np.sqrt(tested.count)
        both = np.append(inverse, np.ones(self.t))
        np.copyto(self.whole, tested.products)
        blas.add_gram(self.whole, gap)
        self.whole *= both
        self.whole *= both[:, None]
        for rows, columns in host.panels(len(self.whole)):
            lower = self.whole[rows, columns]
            square = lower[:, rows.start :]
            lower[:, rows.start :] = np.tril(square) + np.tril(square, -1).T
            self.whole[: rows.start, rows] = lower[:, : rows.start].T

    def _solve(self, ridge_lambda: float) -> None:
        """Sets the weights of all subsets, in the order of the walk."""
        np.copyto(self.state, self.system)
        q = len(self.state)
        self.state.flat[: self.p * (q + 1) : q + 1] += ridge_lambda
        self.weights.fill(0.0)
        host.eliminate(self.state, self.weights, self.branches, self.starts, 0)

    def _loss(self) -> np.ndarray:
        """(s, t) squared errors of the tested rows, in the order of the walk."""
        p, t = self.p, self.t
        tested, weights, product = self.whole, self.weights, self.product
        for branch in self.branches:  # weights are zero above its first block
            begin = self.starts[branch.block]
            own = slice(branch.first * t, branch.last * t)
            blas.multiply(tested[begin:p, begin:p], weights[begin:, own], product[begin:, own])
            product[:begin, own] = 0
        product = product.reshape(p, self.s, t)
        product -= 2 * tested[:p, None, p:]
        errors = np.einsum("pst,pst->st", product, weights.reshape(p, self.s, t))
        return np.diagonal(tested)[p:] + errors


class BandedFold(Fold):
    """The same with a penalty for each band; see `banded`. Positions are (s, t, b)."""

    def choose(self, groups: Sequence[Scatter]) -> tuple[np.ndarray, np.ndarray]:
        self.inner: list[tuple[np.ndarray, np.ndarray]] = []
        shared, loss = super().choose(groups)
        rows = sum(group.count for group in groups)
        position = np.full((self.s, self.t, len(self.bands)), -1)
        for i, subset in enumerate(self.lattice.subsets):
            if len(subset) == 1:
                position[i, :, subset[0]] = shared[i]
                continue
            own = np.array(sorted(subset, key=lambda j: self.bands[j]))  # in the study's order
            losses = self._losses(own)
            for start, stop in self.tasks:

                def of_task(places: tuple[int, ...], own=slice(start, stop)) -> float:
                    total = losses(places)[own].sum()  # noqa: B023
                    return np.inf if np.isnan(total) else total

                first = (shared[i, start],) * len(own)
                found = banded.descend(of_task, first, self.grid, rows)
                position[i, start:stop, own] = np.array(found)[:, None]
                loss[i, start:stop] = losses(found)[start:stop]
        self.inner = []
        return position, loss

    def _inner_fits(self, groups: Sequence[Scatter]) -> Iterator[None]:
        for _ in super()._inner_fits(groups):
            self.inner.append((self.system.copy(), self.whole.copy()))
            yield

    def _losses(self, own: np.ndarray):
        """places → (t,) inner losses of the subset with these blocks; each is computed once."""
        p, columns = self.p, self._columns(own)
        systems = [self._system(system, columns) for system, _ in self.inner]
        tested = [whole[np.ix_(columns, columns)] for _, whole in self.inner]
        right = [np.ascontiguousarray(whole[columns, p:]) for _, whole in self.inner]
        spread = [np.diagonal(whole)[p:] for _, whole in self.inner]
        product = np.empty((len(columns), self.t))

        @functools.cache
        def losses(places: tuple[int, ...]) -> np.ndarray:
            total = np.zeros(self.t)
            for system, xx, xy, yy in zip(systems, tested, right, spread, strict=True):
                weights = self._weights(system, self._penalty(own, places))
                blas.multiply(xx, weights, product)
                total += yy + np.einsum("pt,pt->t", weights, product - 2 * xy)
            return total

        return losses

    def residuals(
        self, training: Scatter, position: np.ndarray, rows: np.ndarray
    ) -> list[np.ndarray]:
        inverse = self._scale(training)
        rows = rows - training.mean
        rows[:, : self.p] *= inverse
        both = [np.empty((len(rows), self.s, self.t)) for _ in range(2)]
        for i, targets, columns, found in self._found(position):
            x = rows[:, columns]
            for left, weights in zip(both, found, strict=True):
                left[:, i, targets] = rows[:, self.p + targets] - x @ weights
        return both

    def fits(
        self,
        training: Scatter,
        position: np.ndarray,
        inverse: np.ndarray | None = None,
        further: bool = True,
    ) -> Fits:
        inverse = self._scale(training, inverse)
        weights = np.zeros((2, self.p, self.s, self.t))
        for i, targets, columns, found in self._found(position):
            weights[:, columns[:, None], i, targets] = found
        return Fits(training.mean, inverse, weights if further else weights[:1])

    def _found(self, position: np.ndarray):
        """Of each subset, of targets with the same penalties: the subset, these targets, the
        columns (c,), and weights (c, targets) of them and of penalties a `STEP` larger."""
        for i, subset in enumerate(self.lattice.subsets):
            own = np.array(subset)
            columns = self._columns(own)
            system = self._system(self.system, columns)
            for places in np.unique(position[i][:, own], axis=0):
                targets = np.flatnonzero((position[i][:, own] == places).all(axis=1))
                penalty = self._penalty(own, places)
                steps = 1.0, np.exp(STEP)
                found = [self._weights(system, step * penalty)[:, targets] for step in steps]
                yield i, targets, columns, found

    def _columns(self, own: np.ndarray) -> np.ndarray:
        """Of these blocks, one after the other."""
        return np.concatenate([np.arange(self.starts[j], self.starts[j + 1]) for j in own])

    def _penalty(self, own: np.ndarray, places) -> np.ndarray:
        """Of each of their columns."""
        return np.repeat(self.grid[list(places)], [self.lattice.widths[j] for j in own])

    def _system(self, system: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """(c + t, c) the columns' own system, and below it the targets' rows."""
        p = self.p
        lower = np.tril(system[:p, :p])
        square = (lower + np.tril(lower, -1).T)[np.ix_(columns, columns)]
        return np.concatenate([square, system[p:, columns]])

    def _weights(self, system: np.ndarray, penalty: np.ndarray) -> np.ndarray:
        """(c, t) of all targets."""
        c = len(penalty)
        state = system.copy()
        state.flat[: c * (c + 1) : c + 1] += penalty
        host.factorise(state)
        weights = np.empty((c, self.t))
        weights[...] = state[c:].T
        blas.solve_transposed(state[:c], weights)
        return weights
