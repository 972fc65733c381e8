"""Logistic regression of every subset and fold, in few passes over rows that do not fit in memory.

A sample of the rows is in memory. Every fit is first made to those of its training rows that are in
the sample, up to what they can tell, then goes on from there: a pass over all rows gives the losses
and gradients of all fits that are at work, whatever their subset and penalty, and the sample's
curvature turns gradients into steps (`stream_descent`). A fold never starts from rows that it holds
out. Where the sample is all rows there are, there is no pass.

Processes that share the rows have the sample each. A fit belongs to one of them, which alone
decides about it: losses and gradients are added up over all, where to evaluate next is told to all.

Axes: q fits of a bundle, c classes, p columns of the table, d cells, r seeds, u sets of training
rows, l penalties.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from ecjax import blas, host
from ecjax.stream_descent import PAIRS, Descent
from ecjax.stream_moments import Peers
from ecjax.stream_softmax import Bundle, Curvature, Rows, centred, objective, sorted_rows, sums
from ecjax.stream_training import Training
from ecjax.subsets import Lattice

OF_SAMPLE = 0.1  # of a gradient's sampling error, up to which fits to the sample are made
# How closely systems are solved, as a share of the right-hand side, and in how many steps.
NEAR, MOST_STEPS = 0.1, 40
STATE = 2 * PAIRS + 8  # numbers per weight that a fit at work takes


class Sample(NamedTuple):
    """Rows in memory.

    Attributes:
      z: (m, p), labels: (m,), cells: (r, m).
      whole: they are all rows there are.
    """

    z: np.ndarray
    labels: np.ndarray
    cells: np.ndarray
    whole: bool

    def rows(self, seed: int) -> Rows:
        return sorted_rows(self.z, self.labels, self.cells[seed])


class Fitted(NamedTuple):
    """A bundle's fits, with the place of their penalty in the grid.

    Attributes:
      weights: (q, c, p + 1) in the fits' own coordinates.
      norm: (q,) largest absolute entry of the gradient.
      evaluations: (q,) passes over all rows.
    """

    bundle: Bundle
    place: int
    weights: np.ndarray
    norm: np.ndarray
    evaluations: np.ndarray


_NOTHING = Rows(np.zeros((0, 0)), np.zeros(0, int), np.zeros(0, int), [])
# Passes over all rows: of each batch, the rows of a seed.
Passes = Callable[[], Iterator[Callable[[int], Rows]]]


def chains_of(
    lattice: Lattice, training: Training, logistic_c: Sequence[np.ndarray], most: int
) -> list[list[Bundle]]:
    """Bundles of fits with the same training rows, one for each penalty, the strongest first.

    Args:
      logistic_c: of each subset, C (u, l) of each set of training rows.
      most: fits of a bundle.
    """
    chains = []
    present = training.classes > 0
    count = training.classes.sum(1)
    doubled = np.where(present.sum(1) == 2, 2.0, 1.0)
    for i, subset in enumerate(lattice.subsets):
        columns = np.array(lattice.columns(subset))
        if columns[-1] - columns[0] + 1 == len(columns):
            columns = slice(int(columns[0]), int(columns[-1]) + 1)
        for seed in np.unique(training.seed):
            of_seed = np.flatnonzero(training.seed == seed)
            for start in range(0, len(of_seed), most):
                own = of_seed[start : start + most]
                penalties = (doubled / np.maximum(count, 1))[own, None] / logistic_c[i][own]
                chains.append(
                    [
                        Bundle(i, columns, int(seed), own, training.member[own], count[own],
                               present[own], penalty, training.mean[own][:, columns],
                               training.inverse[own][:, columns])
                        for penalty in penalties.T
                    ]
                )  # fmt: skip
    return chains


def numbers_of(chain: list[Bundle]) -> int:
    """Weights of a chain's fits."""
    return len(chain) * int(np.prod(chain[0].shape))


def fit(
    chains: Sequence[list[Bundle]],
    classes: np.ndarray,
    sample: Sample,
    passes: Passes,
    tolerance: float,
    room: float,
    peers: Peers,
) -> Iterator[list[Fitted]]:
    """Fits all chains, as many at a time as there is room for.

    Args:
      classes: (u, c) as `Training`.
      tolerance: on the gradient norm.
      room: numbers that fits at work may take.
      peers: processes; each gives the same.
    """
    group, size = [], 0.0
    for chain in chains:
        own = numbers_of(chain) * STATE
        if group and size + own > room:
            yield _Group(group, classes, sample, peers).fit(passes, tolerance)
            group, size = [], 0.0
        group.append(chain)
        size += own
    if group:
        yield _Group(group, classes, sample, peers).fit(passes, tolerance)


class _Group:
    """Chains whose fits are at work together."""

    def __init__(self, chains, classes: np.ndarray, sample: Sample, peers: Peers):
        self.chains, self.classes, self.sample, self.peers = chains, classes, sample, peers
        self.bundles = [bundle for chain in chains for bundle in chain]
        own = np.arange(len(chains)) % peers.count == peers.index
        self.mine = np.repeat(own, [len(chain) for chain in chains])
        self.descents: list[Descent | None] = []

    def fit(self, passes: Passes, tolerance: float) -> list[Fitted]:
        self._fit_sample(tolerance)
        if not self.sample.whole:
            self.descents = [d and Descent(d.weights) for d in self.descents]
            while self._pass(passes, tolerance):
                pass
        found = []
        for bundle, own in zip(self.bundles, self.descents, strict=True):
            q = bundle.shape[0]
            parts = np.zeros(bundle.shape), np.zeros(q), np.zeros(q)
            if own is not None:
                parts = own.weights, own.norm, own.evaluations * float(not self.sample.whole)
            found.append(parts)
        found = self.peers.summed(tuple(found))
        places = [place for chain in self.chains for place in range(len(chain))]
        return [Fitted(*own, *of) for *own, of in zip(self.bundles, places, found, strict=True)]

    def _fit_sample(self, tolerance: float) -> None:
        """Starts every fit of this process from those of its training rows that are in memory."""
        self.descents = [None] * len(self.bundles)
        firsts = np.cumsum([0, *map(len, self.chains)])[:-1].tolist()
        mine = [part for part in zip(firsts, self.chains, strict=True) if self.mine[part[0]]]
        for seed in sorted({chain[0].seed for _, chain in mine}):
            rows = self.sample.rows(seed)

            def one(part: tuple[int, list[Bundle]], rows: Rows = rows) -> None:
                first, chain = part
                weights = _shares_alone(chain[0], self.classes[chain[0].numbers])
                for place, bundle in enumerate(chain, first):
                    own = _fit_rows(bundle, weights, rows, tolerance, self.sample.whole)
                    self.descents[place], weights = own, own.weights

            _on_cores(one, [part for part in mine if part[1][0].seed == seed])

    def _pass(self, passes: Passes, tolerance: float) -> bool:
        """Evaluates what is unfinished once; False where nothing is."""
        wanted, trials = [], []
        for bundle, own in zip(self.bundles, self.descents, strict=True):
            going, at = np.zeros(bundle.shape[0], int), np.zeros(bundle.shape)
            if own is not None:
                some = own.unfinished(tolerance)
                going[some], at[some] = 1, own.trials(some)
            wanted.append(going)
            trials.append(at)
        wanted, trials = self.peers.summed((tuple(wanted), tuple(trials)))
        active = [np.flatnonzero(going) for going in wanted]
        if not any(map(len, active)):
            return False
        places = [i for i, some in enumerate(active) if len(some)]
        bundles = {i: self.bundles[i].at(active[i]) for i in places}
        totals = {i: sums(bundles[i], trials[i][active[i]], _NOTHING) for i in places}
        for rows_of in passes():
            for seed in sorted({bundle.seed for bundle in bundles.values()}):
                rows = rows_of(seed)
                own = [i for i in places if bundles[i].seed == seed]
                # Where few bundles are left, the rows are shared out among the cores.
                shares = -(-host.available_cores() // len(own))

                def one(part: tuple[int, int], rows: Rows = rows, shares: int = shares):
                    i, share = part
                    runs = rows._replace(runs=rows.runs[share::shares])
                    return sums(bundles[i], trials[i][active[i]], runs)

                parts = list(itertools.product(own, range(shares)))
                for (i, _), more in zip(parts, _on_cores(one, parts), strict=True):
                    for total, part in zip(totals[i], more, strict=True):
                        total += part
        totals = self.peers.summed(totals)
        for seed in sorted({bundle.seed for bundle in bundles.values()}):
            rows = self.sample.rows(seed)

            def turn(i: int, rows: Rows = rows) -> None:
                own, bundle = self.descents[i], bundles[i]
                value = objective(bundle, trials[i][active[i]], *totals[i], bundle.count)
                _turn(own, self.bundles[i], own.take(active[i], *value), rows, tolerance, False)

            mine = [i for i in places if bundles[i].seed == seed and self.mine[i]]
            _on_cores(turn, mine)
        return True


def _on_cores(work: Callable, parts: Sequence) -> list:
    """What the work on each part gives, one part on each core: products are small."""
    with blas.one_thread(), ThreadPoolExecutor(host.available_cores()) as pool:
        return list(pool.map(work, parts))


def _shares_alone(bundle: Bundle, classes: np.ndarray) -> np.ndarray:
    """Weights of the intercepts alone, which give each class its share of the training rows."""
    weights = np.zeros(bundle.shape)
    weights[..., -1] = np.log(np.maximum(classes, 1))
    return centred(weights, bundle)


def _fit_rows(
    bundle: Bundle, weights: np.ndarray, rows: Rows, tolerance: float, whole: bool
) -> Descent:
    """Fits to rows in memory, as far as they can tell."""
    own = Descent(weights)
    q, c, _ = bundle.shape
    classes = np.zeros((bundle.member.shape[1], c))
    for cell, first, after in rows.runs:
        classes[cell] += np.bincount(rows.labels[first:after], minlength=c)
    among = bundle.member @ classes
    count = among.sum(1)
    if not whole:  # a class that is in other rows alone stays where it is
        bundle = bundle._replace(present=bundle.present & (among > 0))
        tolerance = max(tolerance, OF_SAMPLE / np.sqrt(max(count.min(), 1)))
    while len(some := own.unfinished(tolerance)):
        part, at = bundle.at(some), own.trials(some)
        value = objective(part, at, *sums(part, at, rows), count[some])
        _turn(own, bundle, own.take(some, *value), rows, tolerance, whole)
    return own


def _turn(
    own: Descent, bundle: Bundle, some: np.ndarray, rows: Rows, tolerance: float, whole: bool
) -> None:
    """Gives those of some fits that are unfinished another direction."""
    some = np.intersect1d(some, own.unfinished(tolerance))
    if len(some):
        curvature = Curvature(bundle.at(some), own.weights[some], rows, whole)
        own.turn(some, lambda right: curvature.solve(right, NEAR, MOST_STEPS))
