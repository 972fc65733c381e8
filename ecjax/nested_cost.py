"""What ridge regression costs under `strict`: operations, seconds and numbers held.

Every penalty is solved for every group of every outer fold, and for the outer fold itself, as if
every one was chosen there. Axes as in `nested`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ecjax import cost, host, lbfgs
from ecjax.cost import Held, Step
from ecjax.subsets import Lattice

# Seconds as in `cost.Rates`, fitted on the same machine.
HOST = cost.Rates(7e-12, 5e-12, 0.0, 2.1e-9, 1.2e-5)


class Search(NamedTuple):
    """How the penalties of one kind of task are chosen.

    Attributes:
      groups: of inner folds.
      penalties: of the grid.
      width: rows of a group, as arrays hold them; 0 where groups are whole folds.
    """

    groups: int
    penalties: int
    width: int


def host_steps(
    lattice: Lattice, n: int, t: int, folds: int, seeds: int, search: Search, held: Held
) -> list[Step]:
    """Everything that `host_nested.fit` does."""
    p, s = lattice.starts[-1], len(lattice.subsets)
    q, fits, (groups, penalties, width) = p + t, folds * seeds, search
    inner = fits * groups
    steps = [cost.standardised(n, q)]
    if width:
        rows = -(-(n - held.left_out) // groups)
        steps += [cost.symmetric(inner, q, rows), cost.symmetric(fits, q, groups)]
    else:
        steps += [cost.symmetric(fits, q, held.left_out), cost.symmetric(fits, q, folds - 1)]
        steps += [cost.symmetric(fits, q, groups), Step("pass", fits * folds, q, q, 0)]
    steps += [cost.symmetric(inner, q, groups - 1), cost.symmetric(inner, q, 1)]
    steps += [Step("pass", inner * (groups + 8) + fits * (groups + 4), q, q, 0)]
    steps += cost.host_lattice(lattice, t, (inner + fits) * penalties)
    steps += [Step("pass", (inner + fits) * penalties, q, q, 0)]
    _, branches = host.walk(lattice)
    for branch in branches:
        rows, columns = p - lattice.starts[branch.block], (branch.last - branch.first) * t
        steps.append(cost.product(inner * penalties, rows, columns, rows))
    steps.append(Step("pass", 4 * inner * penalties, p, s * t, 0))
    steps.append(cost.product(fits, held.scored, s * t, p))
    return steps


def compiled_steps(
    lattice: Lattice, n: int, t: int, folds: int, seeds: int, search: Search, held: Held
) -> list[Step]:
    """Products, factorisations and triangular solves of `nested.fit`."""
    p, s = sum(lattice.widths), len(lattice.subsets)
    q, fits, (groups, penalties, width) = p + t, folds * seeds, search
    inner = fits * groups
    solves = (inner + fits) * penalties
    steps = []
    if width:
        steps += _products(inner, width, q)
    else:
        steps += [*_products(fits, held.padded_scored, q), *_union(inner, folds, q)]
    steps += [*_union(inner, groups, q), *_union(fits, groups, q)]
    steps += [step._replace(count=step.count * solves) for step in cost.lattice_steps(lattice, t)]
    steps.append(cost.product(inner * penalties, p, s * t, p))
    steps.append(cost.product(fits, held.padded_scored, s * t, p))
    return steps


def _products(count: int, rows: int, q: int) -> list[Step]:
    """Of so many lists of rows with each other: `gram.lower_gram`."""
    return [step._replace(count=step.count * count) for step in cost.lower_gram(q, rows)]


def _union(count: int, parts: int, q: int) -> list[Step]:
    return [cost.product(count, 1, q * q, parts), cost.product(count, q, q, parts)]


def nested_cost(on_host: bool, *shape) -> cost.Cost:
    """Of one sample's fits; arguments as for `host_steps`."""
    steps, rates = (host_steps, HOST) if on_host else (compiled_steps, cost.GRAM)
    sums = cost.features(steps(*shape))
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
    fold = rows + (search.groups + 16) * q * q + 5 * p * s * t + 3 * h * s * t
    if not on_host:
        fold += 8 * q * q + 2 * p * s * t  # the lattice's states and factors
    return n * q + kept + beside * fold


def class_numbers(
    n: int, p: int, c: int, folds: int, subsets: int, search: Search, held: Held
) -> float:
    """Numbers that `nested_logistic.fit` holds beside those of `logistic.fit_lattice`."""
    b, s = folds * (search.groups + 1), subsets
    fits = 2 * b * c * (s + 1) * (p + 2) + b * c * lbfgs.HISTORY * p
    tested = max(search.width, held.padded_scored)
    found = max(n, folds * held.padded_scored) * c
    return fits + 3 * b * n + 2 * s * b * c * tested + 2 * search.penalties * s * found + 4 * b * p
