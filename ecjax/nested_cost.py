"""What ridge regression costs under `strict`: operations, seconds and numbers held.

Every penalty is solved for every group of every outer fold, and for the outer fold itself, as if
every one was chosen there. Axes as in `nested`; `own` says that groups are dealt from rows.
"""

from __future__ import annotations

import numpy as np

from ecjax import cost, host, lbfgs
from ecjax.cost import Step
from ecjax.subsets import Lattice

# Seconds as in `cost.Rates`, fitted on the same machine.
HOST = cost.Rates(7e-12, 5e-12, 0.0, 2.1e-9, 1.2e-5)


def host_steps(
    lattice: Lattice, n: int, t: int, folds: int, seeds: int, groups: int, penalties: int, own: bool
) -> list[Step]:
    """Everything that `host_nested.fit` does."""
    p, s = lattice.starts[-1], len(lattice.subsets)
    q, h, fits = p + t, -(-n // folds), folds * seeds
    inner = fits * groups
    steps = [cost.standardised(n, q)]
    if own:
        steps += [cost.symmetric(inner, q, -(-(n - h) // groups)), cost.symmetric(fits, q, groups)]
    else:
        steps += [cost.symmetric(fits, q, h), cost.symmetric(fits, q, folds - 1)]
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
    steps.append(cost.product(fits, h, s * t, p))
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
    lattice: Lattice, n: int, t: int, folds: int, seeds: int, groups: int, penalties: int, own: bool
) -> list[Step]:
    """Products, factorisations and triangular solves of `nested.fit`."""
    p, s = sum(lattice.widths), len(lattice.subsets)
    q, h, fits = p + t, -(-n // folds), folds * seeds
    inner = fits * groups
    solves = (inner + fits) * penalties
    steps = []
    if own:
        steps += _products(inner, -(-(n - h) // groups), q)
    else:
        steps += [*_products(fits, h, q), *_union(inner, folds, q)]
    steps += [*_union(inner, groups, q), *_union(fits, groups, q)]
    steps += [step._replace(count=step.count * solves) for step in cost.lattice_steps(lattice, t)]
    steps.append(cost.product(inner * penalties, p, s * t, p))
    steps.append(cost.product(fits, h, s * t, p))
    return steps


def _products(count: int, rows: int, q: int) -> list[Step]:
    """Of so many lists of rows with each other: `gram.lower_gram`."""
    return [step._replace(count=step.count * count) for step in cost.lower_gram(q, rows)]


def _union(count: int, parts: int, q: int) -> list[Step]:
    return [cost.product(count, 1, q * q, parts), cost.product(count, q, q, parts)]


def nested_cost(on_host: bool, banded_tasks: int, *shape) -> cost.Cost:
    """Of one sample's fits; arguments as for `host_steps`.

    banded_tasks: tasks with a penalty for each band, 0 where bands share theirs.
    """
    steps_of, rates = (host_steps, HOST) if on_host else (compiled_steps, cost.GRAM)
    steps = steps_of(*shape)
    if banded_tasks:
        lattice, _, t, folds, seeds, groups, *_ = shape
        steps += banded_steps(lattice, t, folds * seeds * groups, banded_tasks)
    sums = cost.features(steps)
    return cost.Cost(float(sums[:2].sum()), float(sums @ np.array(rates)))


def nested_numbers(
    on_host: bool,
    beside: int,
    lattice: Lattice,
    n: int,
    t: int,
    folds: int,
    groups: int,
    own: bool,
) -> float:
    """Numbers held at a time; an upper estimate. beside: folds side by side."""
    p, s = lattice.starts[-1], len(lattice.subsets)
    q, h = p + t, -(-n // folds)
    kept = 0 if own else folds * q * q
    rows = (n if own else h) * q
    fold = rows + (4 * groups + 16) * q * q + 5 * p * s * t + 3 * h * s * t
    if not on_host:
        fold += 8 * q * q + 2 * p * s * t  # the lattice's states and factors
    return n * q + kept + beside * fold


def class_numbers(
    n: int, p: int, c: int, folds: int, groups: int, subsets: int, penalties: int
) -> float:
    """Numbers that `nested_logistic.fit` holds beside those of `logistic.fit_lattice`."""
    b, s = folds * (groups + 1), subsets
    fits = 2 * b * c * (s + 1) * (p + 2) + b * c * lbfgs.HISTORY * p
    tested = -(-n // groups)
    return fits + 3 * b * n + 2 * s * b * c * tested + 2 * penalties * s * n * c + 4 * b * p
