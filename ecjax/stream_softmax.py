"""The objective of `softmax` for rows that pass by: sums over runs of rows, on the host's BLAS.

Rows are sorted by cell (a fold of a seed, or an inner group in it). The rows of a cell belong to
the training rows of some fits and not of others, so that a run of them is multiplied by the weights
of these alone, and needs no mask. Arrays of a run are ordered (class, fit, row): sums over classes
are then sums of long stretches.

Each fit has coordinates of its own: weights on the z-scores that its training rows make of the
columns (`strict`), or on those that the whole table makes (`paper`).

Axes: m rows, h rows of a run, p columns of a subset, q fits, c classes, d cells, s subsets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ecjax import blas
from ecjax.stream_moments import by_cell, side_by_side, side_by_side_on_cores

RUN = 1024  # rows whose arrays stay in the caches
LEAST_BLOCK_ROWS = 10  # per column, that shape a preconditioner's block
LEAST_CURVATURE = 1e-4  # of a row in such a block, as in `logistic_start`
# What is added to a sample's curvature, times columns per row: it may hardly see a direction.
UNSEEN = 1.0


class Rows(NamedTuple):
    """Rows of one seed, sorted by cell.

    Attributes:
      z: (m, p) all columns, as z-scores of the whole table.
      labels: (m,) class codes.
      order: (m,) where each row stood before.
      runs: cell, first row, and the one after the last.
    """

    z: np.ndarray
    labels: np.ndarray
    order: np.ndarray
    runs: list[tuple[int, int, int]]


class Bundle(NamedTuple):
    """Fits of one subset and seed that advance side by side.

    Attributes:
      subset: position in the list of subsets.
      columns: of the subset, in the table; a slice where they follow one another.
      seed: position.
      numbers: (q,) what the caller calls the fits.
      member: (q, d) cells whose rows are trained on.
      count: (q,) training rows.
      present: (q, c) whether a class occurs among them.
      penalty: (q,) λ = 1/(C·count), doubled where two classes are present.
      mean, inverse: (q, p) of the fit's own z-scores of the table's; inverse 0 for a constant
        column.
    """

    subset: int
    columns: slice | np.ndarray
    seed: int
    numbers: np.ndarray
    member: np.ndarray
    count: np.ndarray
    present: np.ndarray
    penalty: np.ndarray
    mean: np.ndarray
    inverse: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """(q, c, p + 1) of its weights, the intercept last."""
        return (*self.present.shape, self.mean.shape[1] + 1)

    def at(self, some: np.ndarray) -> Bundle:
        """Some of the fits."""
        return self._replace(**{name: getattr(self, name)[some] for name in self._fields[3:]})


def sorted_rows(z: np.ndarray, labels: np.ndarray, cells: np.ndarray) -> Rows:
    """Of rows (m, p) in any order; cells (m,)."""
    order = np.argsort(cells, kind="stable")
    return Rows(z[order], labels[order], order, _runs(cells[order]))


def rows_of_blocks(
    blocks: Sequence[np.ndarray],
    labels: np.ndarray,
    cells: np.ndarray,
    mean: np.ndarray,
    inverse: np.ndarray,
) -> Rows:
    """Of a batch: blocks (m, p_j) in their own units, with mean and 1/deviation of columns."""
    order = np.argsort(cells, kind="stable")
    z = np.empty((len(order), len(mean)))

    def one(part: slice) -> None:
        np.multiply(side_by_side(blocks, order[part], mean), inverse, out=z[part])

    starts = range(0, len(order), RUN)
    side_by_side_on_cores(one, [slice(i, min(i + RUN, len(order))) for i in starts])
    return Rows(z, labels[order], order, _runs(cells[order]))


def _runs(cells: np.ndarray) -> list[tuple[int, int, int]]:
    runs = []
    for cell, rows in by_cell(cells):
        first, after = int(rows[0]), int(rows[-1]) + 1
        runs += [(cell, i, min(i + RUN, after)) for i in range(first, after, RUN)]
    return runs


def centred(directions: np.ndarray, bundle: Bundle) -> np.ndarray:
    """Directions (q, c, p + 1) as `softmax.centre` and `softmax.movable` leave them."""
    shown = bundle.present[:, :, None]
    mean = np.where(shown, directions, 0).sum(1) / np.maximum(bundle.present.sum(1), 1)[:, None]
    found = np.where(shown, directions - mean[:, None], 0)
    found[..., :-1] *= bundle.inverse[:, None] > 0
    return found


def _in_table(bundle: Bundle, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights (q, c, p + 1) as coefficients (c, q, p) of the table's z-scores, and intercepts."""
    own = weights[..., :-1] * bundle.inverse[:, None]
    intercepts = weights[..., -1] - np.einsum("qcp,qp->qc", own, bundle.mean)
    return np.ascontiguousarray(own.swapaxes(0, 1)), np.ascontiguousarray(intercepts.T)


def _in_own(bundle: Bundle, slopes: np.ndarray, of_intercepts: np.ndarray) -> np.ndarray:
    """Derivatives with respect to what `_in_table` gives as those in the fits' own coordinates."""
    own = slopes.swapaxes(0, 1) - of_intercepts.T[..., None] * bundle.mean[:, None]
    return np.concatenate([own * bundle.inverse[:, None], of_intercepts.T[..., None]], axis=2)


class _Run(NamedTuple):
    """members: the fits that have it, or all of them; x (h, p); rows: which of all they are."""

    members: np.ndarray | slice
    x: np.ndarray
    rows: slice


def _runs_of(bundle: Bundle, member: np.ndarray, rows: Rows) -> Iterator[_Run]:
    for cell, first, after in rows.runs:
        members = np.flatnonzero(member[:, cell])
        if len(members):
            every = slice(None) if len(members) == len(member) else members
            x, own = rows.z[first:after], bundle.columns
            x = x[:, own] if isinstance(own, slice) else x.take(own, axis=1)
            yield _Run(every, x, slice(first, after))


class _Linear(NamedTuple):
    """Coefficients (c, q, p) of the table's z-scores, and intercepts (c, q)."""

    coefficients: np.ndarray
    intercepts: np.ndarray

    def of(self, run: _Run) -> np.ndarray:
        """(c, q', h)."""
        coefficients = np.ascontiguousarray(self.coefficients[:, run.members])
        c, q, p = coefficients.shape
        found = np.empty((c * q, len(run.x)))
        blas.multiply(coefficients.reshape(c * q, p), run.x, found, transpose_b=True)
        found = found.reshape(c, q, -1)
        found += self.intercepts[:, run.members, None]
        return found

    def add(self, run: _Run, left: np.ndarray) -> None:
        """Adds the products of left (c, q', h) with the columns, and its sums."""
        c, q, h = left.shape
        found = np.empty((c * q, run.x.shape[1]))
        blas.multiply(left.reshape(c * q, h), run.x, found)
        self.coefficients[:, run.members] += found.reshape(c, q, -1)
        self.intercepts[:, run.members] += left.sum(2)


def _nothing(bundle: Bundle) -> _Linear:
    q, c, p = bundle.shape
    return _Linear(np.zeros((c, q, p - 1)), np.zeros((c, q)))


def _probabilities(logits: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """In place of logits (c, q', h) their softmax; and logsumexp (q', h).

    present: (q', c); the others' are 0.
    """
    if not present.all():
        logits[~present.T] = -np.inf
    top = logits.max(0)
    top[~np.isfinite(top)] = 0
    logits -= top
    np.exp(logits, out=logits)
    total = logits.sum(0)
    logits /= total
    return logits, top + np.log(total)


def sums(bundle: Bundle, weights: np.ndarray, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Log-losses (q,) summed over training rows, and their gradient (q, c, p + 1)."""
    linear, slopes = _Linear(*_in_table(bundle, weights)), _nothing(bundle)
    loss = np.zeros(len(weights))
    for run in _runs_of(bundle, bundle.member, rows):
        logits = linear.of(run)
        labels, place = rows.labels[run.rows], np.arange(len(run.x))
        own = logits[labels, :, place]  # (h, q')
        left, top = _probabilities(logits, bundle.present[run.members])
        loss[run.members] += top.sum(1) - own.sum(0)
        left[labels, :, place] -= 1
        slopes.add(run, left)
    return loss, _in_own(bundle, *slopes)


def objective(
    bundle: Bundle, weights: np.ndarray, loss: np.ndarray, gradient: np.ndarray, count: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The penalised mean loss (q,) and its gradient, from sums over count (q,) rows."""
    count = np.maximum(count, 1)
    pull = bundle.penalty[:, None, None] * weights
    pull[..., -1] = 0
    value = loss / count + 0.5 * (pull * weights).sum((1, 2))
    return value, gradient / count[:, None, None] + pull


def log_probabilities(
    bundle: Bundle, weights: np.ndarray, rows: Rows, member: np.ndarray
) -> Iterator[tuple[np.ndarray | slice, slice, np.ndarray]]:
    """Of rows in cells that are members (q, d): fits, rows, and (c, q', h); −inf for a class that
    is absent from a fit's training rows."""
    linear = _Linear(*_in_table(bundle, weights))
    for run in _runs_of(bundle, member, rows):
        logits = linear.of(run)
        present = bundle.present[run.members]
        _, top = _probabilities(logits.copy(), present)
        logits -= top
        if not present.all():
            logits[~present.T] = -np.inf
        yield run.members, run.rows, logits


class Curvature:
    """Hessians of fits as some of the rows tell them, and systems with them."""

    def __init__(self, bundle: Bundle, weights: np.ndarray, rows: Rows, whole: bool):
        """Of the mean loss of a sample of rows at these weights.

        Args:
          whole: the sample is all rows there are.
        """
        self.bundle, self.rows = bundle, rows
        linear = _Linear(*_in_table(bundle, weights))
        self.shares = [
            _probabilities(linear.of(run), bundle.present[run.members])[0] for run in self._runs()
        ]
        self.count = np.zeros(len(weights))
        for run in self._runs():
            self.count[run.members] += len(run.x)
        self.count = np.maximum(self.count, 1)
        columns = bundle.shape[2]
        self.unseen = 0.0 if whole else UNSEEN * min(1, columns / self.count.min())
        self.inverse = self._inverse_blocks()

    def _runs(self) -> Iterator[_Run]:
        return _runs_of(self.bundle, self.bundle.member, self.rows)

    def times(self, directions: np.ndarray) -> np.ndarray:
        """The Hessians times directions (q, c, p + 1) that are centred."""
        linear = _Linear(*_in_table(self.bundle, directions))
        found = _nothing(self.bundle)
        for run, share in zip(self._runs(), self.shares, strict=True):
            turn = linear.of(run)
            unseen = self.unseen * turn if self.unseen else None
            turn -= np.einsum("cqh,cqh->qh", share, turn)
            turn *= share
            if unseen is not None:
                turn += unseen
            found.add(run, turn)
        product = _in_own(self.bundle, *found) / self.count[:, None, None]
        product[..., :-1] += self.bundle.penalty[:, None, None] * directions[..., :-1]
        return centred(product, self.bundle)

    def _inverse_blocks(self) -> np.ndarray:
        """(c, p + 1, p + 1) inverses of each class's own block, for all fits together."""
        _, c, p = self.bundle.shape
        blocks, total = np.zeros((c, p, p)), 0
        step = max(1, int(self.count.max()) // (LEAST_BLOCK_ROWS * p))
        for run, share in zip(self._runs(), self.shares, strict=True):
            some = share[:, :, ::step]
            curvature = np.maximum((some * (1 - some)).mean(1), LEAST_CURVATURE)
            x = np.column_stack([run.x[::step], np.ones(some.shape[2])])
            total += len(x)
            for block, weight in zip(blocks, curvature, strict=True):
                blas.add_gram(block, x * np.sqrt(weight)[:, None])
        penalty = self.bundle.penalty.mean()
        for block in blocks:
            block /= max(total, 1)
            block.flat[: (p - 1) * (p + 1) : p + 1] += penalty
            # As in `logistic_start`: what rounding may take, or an empty sample lacks.
            block.flat[:: p + 1] += 1e-12 * p * block.diagonal().max() + 1e-9
            blas.cholesky(block)
            blas.invert(block)
            factor = np.tril(block)
            blas.gram(factor, block)
            block[...] = np.tril(block) + np.tril(block, -1).T
        return blocks

    def _precondition(self, left: np.ndarray) -> np.ndarray:
        by_class = np.ascontiguousarray(left.swapaxes(0, 1))
        found = np.empty_like(by_class)
        for own, inverse, out in zip(by_class, self.inverse, found, strict=True):
            blas.multiply(own, inverse, out)
        return centred(found.swapaxes(0, 1), self.bundle)

    def solve(self, right: np.ndarray, share: float, most: int) -> np.ndarray:
        """About the inverse Hessians times right (q, c, p + 1), by conjugate gradients.

        Args:
          share: of the right-hand side's norm at which an entry of the batch ends.
          most: steps.
        """
        found = np.zeros_like(right)
        left = centred(right, self.bundle)
        scaled = self._precondition(left)
        along, size = scaled.copy(), _inner(left, scaled)
        until = share**2 * size
        for _ in range(most):
            going = size > until
            if not going.any():
                break
            turned = self.times(along)
            bend = _inner(along, turned)
            step = np.divide(size, bend, out=np.zeros_like(size), where=going & (bend > 0))
            found += step[:, None, None] * along
            left -= step[:, None, None] * turned
            scaled = self._precondition(left)
            before, size = size, np.where(going, _inner(left, scaled), size)
            more = np.divide(size, before, out=np.zeros_like(size), where=going)
            along = scaled + more[:, None, None] * along
        return found


def _inner(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum((1, 2))
