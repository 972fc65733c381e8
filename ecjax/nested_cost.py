"""What ridge regression costs under `strict`: operations, seconds and numbers held.

Every penalty is solved for every group of every outer fold, and for the outer fold itself, as if
every one was chosen there; and there once more, for the derivatives of losses. Axes as in `nested`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ecjax import cost, host, lbfgs
from ecjax.cost import Held, Step
from ecjax.subsets import Lattice, part_of

# Seconds as in `cost.Rates`, fitted on the same machine.
HOST = cost.Rates(7e-12, 5e-12, 0.0, 2.1e-9, 1.2e-5)
DRAWN = 1 - math.exp(-1)  # share of the rows that n draws of n reach


class Search(NamedTuple):
    """How the penalties of one kind of task are chosen.

    Attributes:
      groups: of inner folds.
      penalties: of the grid.
      width: rows of a group, as arrays hold them; 0 where groups are whole folds.
      banded: tasks with a penalty for each embedding; 0 where embeddings share theirs.
    """

    groups: int
    penalties: int
    width: int
    banded: int = 0


def host_steps(
    lattice: Lattice, n: int, t: int, folds: int, seeds: int, search: Search, held: Held
) -> list[Step]:
    """Everything that `host_nested.fit` does."""
    q, fits, penalties = lattice.starts[-1] + t, folds * seeds, search.penalties
    steps = host_search(lattice, n, t, folds, seeds, search, held)
    steps += [cost.symmetric(fits, q, search.groups)]
    steps += [Step("pass", fits * (search.groups + 4 + 2 * penalties), q, q, 0)]
    steps += cost.host_lattice(lattice, t, 2 * fits * penalties)
    return [*steps, cost.product(2 * fits, held.scored, len(lattice.subsets) * t, q - t)]


def host_search(
    lattice: Lattice, n: int, t: int, folds: int, seeds: int, search: Search, held: Held
) -> list[Step]:
    """What `host_nested.fit` does until penalties are chosen."""
    p, s = lattice.starts[-1], len(lattice.subsets)
    q, fits, (groups, penalties, width, _) = p + t, folds * seeds, search
    inner = fits * groups
    steps = [cost.standardised(n, q)]
    if width:
        steps += [cost.symmetric(inner, q, -(-(n - held.left_out) // groups))]
    else:
        steps += [cost.symmetric(fits, q, held.left_out), cost.symmetric(fits, q, folds - 1)]
        steps += [Step("pass", fits * folds, q, q, 0)]
    steps += [cost.symmetric(inner, q, groups - 1), cost.symmetric(inner, q, 1)]
    steps += [Step("pass", inner * (groups + 8), q, q, 0)]
    solves = inner * penalties
    steps += cost.host_lattice(lattice, t, solves)
    steps += [Step("pass", solves, q, q, 0)]
    _, branches = host.walk(lattice)
    for branch in branches:
        rows, columns = p - lattice.starts[branch.block], (branch.last - branch.first) * t
        steps.append(cost.product(inner * penalties, rows, columns, rows))
    steps.append(Step("pass", 4 * inner * penalties, p, s * t, 0))
    return steps


def banded_steps(lattice: Lattice, t: int, inner: int, tasks: int) -> list[Step]:
    """The search for a penalty of each band, in so many inner fits of tasks on the same rows.

    How many evaluations it takes was counted on made-up rows: 18 for two bands, 35 for three, 56
    for four; tasks share some of theirs.
    """
    steps = []
    for subset in lattice.subsets:
        if len(subset) > 1:
            c = sum(lattice.widths[j] for j in subset)
            fits = int(inner * (19 * len(subset) - 20) * np.sqrt(tasks))
            steps += [Step("pass", fits, c + t, c, 0), cost.cholesky(fits, c)]
            steps += [cost.solve(fits, c, 2 * t), cost.product(fits, c, t, c)]
            steps.append(Step("pass", 3 * fits, c, t, 0))
    return steps


def compiled_steps(
    lattice: Lattice, n: int, t: int, folds: int, seeds: int, search: Search, held: Held
) -> list[Step]:
    """Products, factorisations and triangular solves of `nested.fit`."""
    q, fits = lattice.starts[-1] + t, folds * seeds
    steps = compiled_search(lattice, n, t, folds, seeds, search, held)
    steps += _union(fits, search.groups, q)
    steps += _lattices(lattice, t, 2 * fits * search.penalties)
    columns = len(lattice.subsets) * t
    return [*steps, cost.product(2 * fits, held.padded_scored, columns, q - t)]


def compiled_search(
    lattice: Lattice, n: int, t: int, folds: int, seeds: int, search: Search, held: Held
) -> list[Step]:
    """Those of `nested.fit` until penalties are chosen."""
    p, s = lattice.starts[-1], len(lattice.subsets)
    q, fits, (groups, penalties, width, _) = p + t, folds * seeds, search
    inner = fits * groups
    steps = []
    if width:
        steps += _products(inner, width, q)
    else:
        steps += [*_products(fits, held.padded_scored, q), *_union(inner, folds, q)]
    steps += [*_union(inner, groups, q), *_lattices(lattice, t, inner * penalties)]
    steps.append(cost.product(inner * penalties, p, s * t, p))
    return steps


def _lattices(lattice: Lattice, t: int, solves: int) -> list[Step]:
    return [step._replace(count=step.count * solves) for step in cost.lattice_steps(lattice, t)]


def _products(count: int, rows: int, q: int) -> list[Step]:
    """Of so many lists of rows with each other: `gram.lower_gram`."""
    return [step._replace(count=step.count * count) for step in cost.lower_gram(q, rows)]


def _union(count: int, parts: int, q: int) -> list[Step]:
    return [cost.product(count, 1, q * q, parts), cost.product(count, q, q, parts)]


def nested_cost(on_host: bool, *shape) -> cost.Cost:
    """Of one sample's fits; arguments as for `host_steps`."""
    return _in_all(on_host, host_steps if on_host else compiled_steps, *shape)


def rechosen_cost(on_host: bool, *shape) -> cost.Cost:
    """Of `rechosen.choose`; arguments as for `host_steps`, seeds being replicates times seeds."""
    return _in_all(on_host, host_search if on_host else compiled_search, *shape)


def _in_all(on_host: bool, steps_of, *shape) -> cost.Cost:
    steps, rates = steps_of(*shape), HOST if on_host else cost.GRAM
    lattice, _, t, folds, seeds, search, _ = shape
    if search.banded:
        steps += banded_steps(lattice, t, folds * seeds * search.groups, search.banded)
    sums = cost.features(steps)
    return cost.Cost(float(sums[:2].sum()), float(sums @ np.array(rates)))


def kept_cost(
    on_host: bool,
    lattice: Lattice,
    n: int,
    t: int,
    folds: int,
    fits: int,
    strict: bool,
    held: Held,
) -> cost.Cost:
    """Of `kept.fit`, with weights that two thirds of the rows have.

    Args:
      fits: of every fold: replicates times seeds.
      strict: whether subsets have penalties of their own; then each is eliminated by itself.
    """
    p, s = lattice.starts[-1], len(lattice.subsets)
    q, halvings = p + t, math.ceil(math.log2(folds)) if held.divided else folds
    rows, tested = math.ceil(DRAWN * n), math.ceil(DRAWN * held.scored)
    steps = [cost.standardised(n, q), cost.symmetric(fits * halvings, q, rows)]
    steps += [Step("pass", 3 * fits * halvings, rows, q, 0)]
    steps += [Step("pass", 2 * fits * folds, q, q, 0)]
    lattices = [lattice]
    if strict:
        lattices = [part_of(lattice, (i,)).lattice for i in range(s)]
    for own in lattices:
        if on_host:
            steps += cost.host_lattice(own, t, fits * folds)
        else:
            steps += _lattices(own, t, fits * folds)
    steps.append(cost.product(fits * folds, tested, s * t, p))
    sums, rates = cost.features(steps), HOST if on_host else cost.GRAM
    return cost.Cost(float(sums[:2].sum()), float(sums @ np.array(rates)))


def nested_numbers(
    on_host: bool,
    beside: int,
    lattice: Lattice,
    n: int,
    t: int,
    folds: int,
    search: Search,
    held: Held,
) -> float:
    """Numbers held at a time; an upper estimate. beside: folds side by side."""
    p, s = lattice.starts[-1], len(lattice.subsets)
    q, h = p + t, held.padded_scored
    kept = 0 if search.width else folds * q * q
    rows = max(h, search.width) * q
    fold = rows + (4 * search.groups + 16) * q * q + 5 * p * s * t + 3 * h * s * t
    if not on_host:
        fold += 8 * q * q + 2 * p * s * t  # the lattice's states and factors
    return n * q + kept + beside * fold


def class_numbers(
    n: int, p: int, c: int, folds: int, subsets: int, search: Search, held: Held
) -> float:
    """Numbers that `nested_logistic.fit` holds beside those of `logistic.fit_lattice`."""
    b, s = folds * (search.groups + 2), subsets
    fits = 2 * b * c * (s + 1) * (p + 2) + b * c * lbfgs.HISTORY * p
    tested = max(search.width, held.padded_scored)
    found = max(n, folds * held.padded_scored) * c
    return fits + 3 * b * n + 2 * s * b * c * tested + 2 * search.penalties * s * found + 4 * b * p
