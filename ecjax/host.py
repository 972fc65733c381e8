"""Ridge regression of all subsets on a CPU: the Gram route of the engine on the host's BLAS.

The same elimination as `ridge.lattice_solve`, depth first and in place, one fold on each core. It
takes the place of the compiled one on a CPU because XLA's products there reach two thirds of the
rate of BLAS, do not know symmetric ones, and wait for each other's threads on small matrices.

One symmetric matrix holds all moments: with Z = [X Y], centred columns beside centred targets, it
is ZᵀZ less the held-out rows' and less the mean of the others. Its last rows, those of the targets,
become L⁻¹XᵀY as the columns before them are eliminated.

Axes: n rows, p columns, t targets, q = p + t, r seeds, k folds, h held-out rows, s subsets.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from ecjax import blas
from ecjax.gram import is_constant, keeps_moments
from ecjax.subsets import Lattice

CHUNK = 64  # columns standardised at a time, so that they stay in the cache
PANEL = 128  # columns of a product or of a factorisation's step


class HeldOut(NamedTuple):
    """What ridge fits leave on rows that took no part in them, of targets in standard deviations.

    Attributes:
      squared_error: (r, k, s, t) sums over each fold's rows.
      row_error: (t, n, s) squares of each row's residual, summed over seeds.
      residuals: (r, k, h, s, t), zeros in the padding; (r, k, 0, s, t) where nobody asked.
    """

    squared_error: np.ndarray
    row_error: np.ndarray
    residuals: np.ndarray


def fit(
    blocks: Sequence[np.ndarray],
    y: np.ndarray,
    held_out: np.ndarray,
    ridge_lambda: np.ndarray,
    lattice: Lattice,
    residuals: bool,
    scored: np.ndarray | None = None,
) -> HeldOut:
    """Fits every subset to the training rows of every fold and seed.

    Args:
      blocks: (n, p_m) of each embedding of the lattice, in its order, as stored.
      y: (n, t).
      held_out: (r, k, h) as `folds.Folds`.
      ridge_lambda: () penalty, on the scale of the Gram matrix of standardised columns.
      residuals: whether they are kept.
      scored: (r, k, h') as `folds.Folds`.
    """
    divided = scored is None
    scored = held_out if divided else scored
    r, k, h = scored.shape
    n, t = y.shape
    s = len(lattice.subsets)
    found = HeldOut(
        np.empty((r, k, s, t)),
        (np.empty if divided and r == 1 else np.zeros)((t, n, s)),
        np.zeros((r, k, h if residuals else 0, s, t)),
    )
    cores = available_cores()
    with ThreadPoolExecutor(cores) as pool:
        z = standardised(pool, [*blocks, y])
        if divided and r == 1 and keeps_moments(z.shape[1], k, n):
            grams, means = _grams(pool, z, held_out[0])
            total = _sum(pool, grams, means)
        else:
            grams = None
            total = _gram(pool, z)

        states = [np.empty_like(total) for _ in range(cores)]

        def lane(seed: int, core: int) -> None:
            state = states[core]  # room for the moments of the training rows
            for fold in range(core, k, cores):
                rows = held_out[seed, fold]
                rows = rows[rows < n]
                tested = scored[seed, fold]
                tested = tested[tested < n]
                held = _held(z, rows)
                if grams is None:
                    np.copyto(state, total)
                    blas.subtract_gram(state, held)
                else:
                    for place in panels(len(total)):
                        np.subtract(total[place], grams[fold][place], out=state[place])
                left = _fold(held, len(tested), state, n, float(ridge_lambda), lattice)
                squares = left**2
                found.squared_error[seed, fold] = squares.sum(axis=0)
                row_error = squares.transpose(2, 0, 1)
                found.row_error[:, tested] = (
                    found.row_error[:, tested] + row_error if seed else row_error
                )
                if residuals:
                    found.residuals[seed, fold, : len(left)] = left

        for seed in range(r):  # one after the other: the folds of one share no row
            list(pool.map(functools.partial(lane, seed), range(cores)))
    return found


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def standardised(pool, blocks: Sequence[np.ndarray]) -> np.ndarray:
    """Blocks side by side as (n, q) z-scores."""
    widths = [block.shape[1] for block in blocks]
    z = np.empty((len(blocks[0]), sum(widths)))
    starts = itertools.accumulate(widths, initial=0)
    chunks = [
        (z[:, start + a : start + min(a + CHUNK, width)], block[:, a : a + CHUNK])
        for start, block, width in zip(starts, blocks, widths, strict=False)
        for a in range(0, width, CHUNK)
    ]

    def one(chunk) -> None:
        """As `gram.standardise`, in as few passes over memory as NumPy needs."""
        place, columns = chunk
        x = columns.astype(float)
        mean = x.mean(axis=0)
        x -= mean
        x -= x.mean(axis=0)
        variance = np.einsum("ij,ij->j", x, x) / len(x)
        constant = is_constant(mean, variance, len(x))
        inverse = np.where(constant, 0.0, 1 / np.sqrt(np.where(constant, 1.0, variance)))
        np.multiply(x, inverse, out=place)

    list(pool.map(one, chunks))
    return z


def _held(z: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(h + 1, q): the held-out rows (h,) and, below them, the mean of the c others times √c.

    Their products are what all rows' moments lose when these rows go and the others are centred.
    """
    n = len(z)
    held = np.empty((len(rows) + 1, z.shape[1]))
    np.take(z, rows, axis=0, out=held[:-1], mode="clip")  # other modes copy once more
    # All rows together have mean zero.
    held[-1] = held[:-1].sum(axis=0) * (-1 / np.sqrt(n - len(rows)))
    return held


def panels(q: int) -> list[tuple[slice, slice]]:
    """Rows and columns of the parts of a lower triangle (q, q)."""
    return [(slice(a, min(a + PANEL, q)), slice(min(a + PANEL, q))) for a in range(0, q, PANEL)]


def _gram(pool, z: np.ndarray) -> np.ndarray:
    """(q, q) lower triangle of zᵀz, a panel of rows at a time: no sum depends on the cores."""
    gram = np.empty((z.shape[1], z.shape[1]))

    def panel(place: tuple[slice, slice]) -> None:
        rows, columns = place
        blas.multiply(z[:, rows], z[:, columns], gram[place], transpose_a=True)

    list(pool.map(panel, reversed(panels(len(gram)))))
    return gram


def _grams(pool, z: np.ndarray, folds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(k, q, q) moments and (k, q) last rows of the `_held` of each fold (k, h)."""
    k, q = len(folds), z.shape[1]
    grams, means = np.zeros((k, q, q)), np.empty((k, q))  # zeros: above the diagonals

    def one(fold: int) -> None:
        rows = folds[fold]
        held = _held(z, rows[rows < len(z)])
        means[fold] = held[-1]
        blas.gram(held, grams[fold])

    list(pool.map(one, range(k)))
    return grams, means


def _sum(pool, grams: np.ndarray, means: np.ndarray) -> np.ndarray:
    """(q, q) sum over the first axis, less the moments of the means (k, q)."""
    total = np.empty(grams.shape[1:])

    def panel(place: tuple[slice, slice]) -> None:
        np.sum(grams[:, *place], axis=0, out=total[place])

    list(pool.map(panel, panels(len(total))))
    blas.subtract_gram(total, means)
    return total


def _fold(held, count: int, state, n: int, ridge_lambda: float, lattice: Lattice) -> np.ndarray:
    """Residuals (count, s, t) of the first held-out rows of `_held`, those that are scored.

    state (q, q) holds the centred moments of the rows not held out and is used up.
    """
    p, s = lattice.starts[-1], len(lattice.subsets)
    q = len(state)
    rows = held[:count]
    mean = held[-1] / np.sqrt(n - (len(held) - 1))
    state.flat[: p * (q + 1) : q + 1] += ridge_lambda
    weights = np.zeros((p, s * (q - p)))
    order, branches = walk(lattice)
    eliminate(state, weights, branches, lattice.starts, 0)
    left = np.tile(rows[:, p:] - mean[p:], s)
    for branch in branches:  # weights are zero above its first block
        begin = lattice.starts[branch.block]
        own = slice(branch.first * (q - p), branch.last * (q - p))
        blas.multiply(rows[:, begin:p], weights[begin:, own], left[:, own], subtract=True)
    left += mean[:p] @ weights
    return left.reshape(len(rows), s, q - p)[:, order]


class Branch(NamedTuple):
    """Subsets that begin with the same blocks.

    Attributes:
      block: the last of those blocks.
      first, last: the subsets, in the order of the walk: first, …, last − 1.
      branches: those of them that go on, by the next block.
    """

    block: int
    first: int
    last: int
    branches: tuple[Branch, ...]


@functools.cache
def walk(lattice: Lattice) -> tuple[np.ndarray, tuple[Branch, ...]]:
    """The lattice as a tree; where each subset comes in the walk, and the root's branches."""
    walk = sorted(range(len(lattice.subsets)), key=lambda i: lattice.subsets[i])
    subsets = [lattice.subsets[i] for i in walk]

    def branches(first: int, last: int, depth: int) -> tuple[Branch, ...]:
        if first < last and len(subsets[first]) == depth:
            first += 1  # the subset that ends here
        found = []
        for block, group in itertools.groupby(range(first, last), key=lambda i: subsets[i][depth]):
            low, *rest = group
            high = rest[-1] + 1 if rest else low + 1
            found.append(Branch(block, low, high, branches(low, high, depth + 1)))
        return tuple(found)

    return np.argsort(walk), branches(0, len(subsets), 0)


def every(branches: Sequence[Branch]) -> Iterator[Branch]:
    """These branches and all that grow from them."""
    for branch in branches:
        yield branch
        yield from every(branch.branches)


def eliminate(state, weights, branches: Sequence[Branch], starts, start: int) -> None:
    """Solves all subsets of these branches.

    state (q - start, q - start) covers the columns from `start` on and the targets, and is used up.
    weights (p, s·t) are set in the rows from `start` on.
    """
    t = state.shape[0] + start - starts[-1]
    # The branch whose block comes first goes last, and may then work in place.
    for branch in reversed(branches):
        begin, stop = starts[branch.block], starts[branch.block + 1]
        a, b = begin - start, stop - start
        factor, later = state[a:, a:b], state[b:, b:]
        if branch is not branches[0] or a:
            factor, later = factor.copy(), later.copy() if branch.branches else later
        _factor(factor)
        triangle, below, targets = factor[: b - a], factor[b - a : -t], factor[-t:]
        own = slice(branch.first * t, branch.last * t)
        block = weights[begin:stop, own]
        block.reshape(b - a, -1, t)[...] = targets.T[:, None]
        if branch.branches:
            blas.subtract_outer(later, factor[b - a :])
            eliminate(later, weights, branch.branches, starts, stop)
            blas.multiply(below, weights[stop:, own], block, transpose_a=True, subtract=True)
        blas.solve_transposed(triangle, block)


def _factor(columns: np.ndarray) -> None:
    """columns (w + m, w): the top becomes its Cholesky factor L, the m rows below times L⁻ᵀ.

    By parts. Many rows below are multiplied by a part's inverse, because a product runs at twice a
    triangular solve's rate.
    """
    w = columns.shape[1]
    for a in range(0, w, PANEL):
        b = min(a + PANEL, w)
        part = columns[a:, a:b]
        if a:
            done, same = columns[a:, :a], columns[a:b, :a]
            blas.multiply(done, same, part, transpose_b=True, subtract=True)
        triangle, below = part[: b - a], part[b - a :]
        blas.cholesky(triangle)
        if len(below) < len(triangle):
            blas.divide_transposed(below, triangle)
        else:
            inverse = triangle.copy()
            blas.invert(inverse)
            blas.multiply_transposed(below, inverse)
