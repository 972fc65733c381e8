"""What ridge regression costs by either route, and which subsets should take which.

The Gram route (`host` on a CPU, `ridge` elsewhere) solves every fold of every seed anew. The hat
route (`hat`) factors the whole table once; a further fold then costs its own rows squared, whatever
the columns. Axes: n rows, h held-out rows of a fold, p columns, t targets, k folds, s subsets, q
states of a stage.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from ecjax import gram as gram_lib
from ecjax import host
from ecjax.subsets import Lattice, Part, part_of

MOST_CUTS = 16


class Step(NamedTuple):
    """Equal operations on small matrices.

    Attributes:
      kind: "product" of (m, k) and (k, n); "symmetric" (n, n) product of (n, k) with itself;
        "cholesky" or "inverse" of (n, n); "solve" of a triangle (n, n) for m right-hand sides, or
        its product with them; "pass" over (m, n) numbers.
      count: how many.
    """

    kind: str
    count: int
    m: int
    n: int
    k: int

    @property
    def operations(self) -> float:
        """Floating-point operations."""
        each = {
            "product": 2.0 * self.m * self.n * self.k,
            "symmetric": 1.0 * self.n**2 * self.k,
            "cholesky": self.n**3 / 3,
            "inverse": self.n**3 / 3,
            "pass": 0.0,
            "solve": 1.0 * self.n**2 * self.m,
        }
        return self.count * each[self.kind]

    @property
    def written(self) -> float:
        """Numbers written."""
        return 1.0 * self.count * self.m * self.n


class Held(NamedTuple):
    """Rows that a fold leaves out of training, and those of them that it scores.

    Attributes:
      left_out, scored: on average.
      padded_left_out, padded_scored: as compiled programs take them, the same for all folds.
      divided: whether the folds divide the rows between them.
    """

    left_out: int
    scored: int
    padded_left_out: int
    padded_scored: int
    divided: bool = True


def shares(n: int, folds: int) -> Held:
    """Of n rows that are divided evenly."""
    h = -(-n // folds)
    return Held(h, h, h, h)


def product(count: int, m: int, n: int, k: int) -> Step:
    return Step("product", count, m, n, k)


def cholesky(count: int, n: int) -> Step:
    return Step("cholesky", count, n, n, 0)


def solve(count: int, n: int, m: int) -> Step:
    return Step("solve", count, m, n, 0)


def symmetric(count: int, n: int, k: int) -> Step:
    return Step("symmetric", count, n, n, k)


def standardised(n: int, q: int) -> Step:
    return Step("pass", 8, n, q, 0)  # `gram.standardise` reads or writes all numbers so often


def lower_gram(p: int, n: int) -> list[Step]:
    """`gram.lower_gram` of n rows."""
    stops = [min(start + gram_lib.PANEL, p) for start in range(0, p, gram_lib.PANEL)]
    return [
        product(1, stop - start, stop, n) for start, stop in zip([0, *stops], stops, strict=False)
    ]


def _moments(lattice: Lattice, n: int, t: int) -> list[Step]:
    """The lower triangle of the Gram matrix of n rows, in panels, and the targets' products."""
    p = sum(lattice.widths)
    return [*lower_gram(p, n), product(1, p, t, n)]


def gram_fold(lattice: Lattice, held: Held, t: int, kept: bool) -> list[Step]:
    """Moments of the held-out rows, all subsets' weights, predictions.

    kept: whether moments that served the total are kept for the fold.
    """
    p = sum(lattice.widths)
    once = kept or not held.divided
    steps = _moments(lattice, held.padded_left_out, t) * (1 if once else 2)
    columns = len(lattice.subsets) * t
    return [*steps, *lattice_steps(lattice, t), product(1, held.padded_scored, columns, p)]


def lattice_steps(lattice: Lattice, t: int) -> list[Step]:
    """`ridge.lattice_solve`."""
    p, steps = sum(lattice.widths), []
    for width, stop, stage in _blocks(lattice):
        later, q = p - stop, len(stage.take)
        columns = len(stage.members[0]) * t
        steps += [
            cholesky(q, width),
            solve(q, width, later + t),
            product(len(stage.onward), later + t, later, width),
            product(q, width, columns, later),
            solve(q, width, columns),
        ]
    return steps


def host_fit(
    lattice: Lattice, n: int, t: int, folds: int, seeds: int, held: Held | None = None
) -> list[Step]:
    """Everything that `host.fit` does."""
    p, held = lattice.starts[-1], held or shares(n, folds)
    q, fits = p + t, folds * seeds
    if held.divided and seeds == 1 and gram_lib.keeps_moments(q, folds, n):
        steps = [symmetric(1, q, folds)]
    else:
        starts = range(0, q, host.PANEL)
        panels = [(min(start + host.PANEL, q) - start, start) for start in starts]
        steps = [product(1, width, start + width, n) for width, start in panels]
    steps += [standardised(n, q), symmetric(fits, q, held.left_out + 1)]
    steps += host_lattice(lattice, t, fits)
    _, branches = host.walk(lattice)
    for branch in branches:
        columns = (branch.last - branch.first) * t
        steps.append(product(fits, held.scored, columns, p - lattice.starts[branch.block]))
    return steps


def host_lattice(lattice: Lattice, t: int, fits: int) -> list[Step]:
    """So many eliminations of `host`."""
    p, steps = lattice.starts[-1], []
    _, branches = host.walk(lattice)
    for branch in host.every(branches):
        width, later = lattice.widths[branch.block], p - lattice.starts[branch.block + 1]
        columns = (branch.last - branch.first) * t
        for start in range(0, width, host.PANEL):
            part = min(host.PANEL, width - start)
            rows = width - start + later + t
            steps += [product(fits, rows, part, start)] if start else []
            below = rows - part
            steps += [cholesky(fits, part), solve(fits, part, below)]
            steps += [Step("inverse", fits, part, part, 0)] if below >= part else []
        if branch.branches:
            steps += [symmetric(fits, later + t, width), product(fits, width, columns, later)]
        steps.append(solve(fits, width, columns))
    return steps


def hat_setup(lattice: Lattice, n: int, t: int) -> list[Step]:
    """The hat matrices' factors, and the fits to the whole table."""
    p = sum(lattice.widths)
    steps = [standardised(n, p + t), *_moments(lattice, n, 0)]
    for width, stop, stage in _blocks(lattice):
        later, q = p - stop, len(stage.take)
        steps += [
            cholesky(q, width),
            solve(q, width, width),
            product(q, later + n, width, width),
            product(len(stage.onward), later + n, later, width),
            product(q, width, t, n),
            product(q, n, t, width),
        ]
    return steps


def hat_fold(lattice: Lattice, h: int, t: int) -> list[Step]:
    """Diagonal blocks of the hat matrices, and their systems."""
    steps = [
        product(len(stage.take), h, h, width)
        for width, stage in zip(lattice.widths, lattice.stages, strict=True)
    ]
    s = len(lattice.subsets)
    return [*steps, cholesky(s, h), solve(2 * s, h, t)]


def _blocks(lattice: Lattice):
    """Width, the column after the last, and stage of each block."""
    return zip(lattice.widths, lattice.starts[1:], lattice.stages, strict=True)


class Rates(NamedTuple):
    """Seconds for each operation of a product, operation of a factorisation or triangle, number
    written by either, number passed over in memory, and call."""

    product: float
    factor: float
    written: float
    passed: float
    call: float


# Fitted to the routes' times on 2 cores of a 2.x GHz Xeon, float64, JAX 0.10, one BLAS thread.
HOST = Rates(6.5e-12, 2e-11, 0.0, 2e-9, 2.2e-5)
GRAM = Rates(1e-11, 4e-11, 2e-9, 1e-9, 1e-5)
HAT = Rates(1.2e-11, 2.5e-11, 1.1e-9, 5e-10, 1e-5)
HAT_COMPILING = 2.0  # seconds; the host's route has nothing to compile


def features(steps: Iterable[Step]) -> np.ndarray:
    """(5,) sums that `Rates` multiply."""
    sums = np.zeros(5)
    for step in steps:
        sums[0 if step.kind in ("product", "symmetric") else 1] += step.operations
        sums[3 if step.kind == "pass" else 2] += step.written
        sums[4] += step.count
    return sums


class Cost(NamedTuple):
    """Operations and estimated seconds of one sample's ridge fits, all folds and seeds."""

    operations: float
    seconds: float


def ridge_cost(
    gram: Part | None,
    hat: Part | None,
    n: int,
    t: int,
    folds: int,
    seeds: int,
    on_host: bool,
    held: Held | None = None,
) -> Cost:
    """Of subsets that are shared out between the routes; `on_host` as `program.Program`.

    held: by default equal shares of the rows.
    """
    held = held or shares(n, folds)
    cost = np.zeros(2)
    if gram is not None and on_host:
        sums = features(host_fit(gram.lattice, n, t, folds, seeds, held))
        cost += sums[:2].sum(), sums @ np.array(HOST)
    elif gram is not None:
        kept = gram_lib.keeps_moments(sum(gram.lattice.widths), folds, n)
        sums = folds * seeds * features(gram_fold(gram.lattice, held, t, kept))
        if not held.divided:
            sums += seeds * features(_moments(gram.lattice, n, t))
        cost += sums[:2].sum(), sums @ np.array(GRAM)
    if hat is not None:
        sums = features(hat_setup(hat.lattice, n, t))
        sums += folds * seeds * features(hat_fold(hat.lattice, held.padded_left_out, t))
        cost += sums[:2].sum(), sums @ np.array(HAT)
    return Cost(*cost.tolist())


REFINEMENTS = 2  # steps that a well-conditioned system takes in float32


def refinement_cost(lattice: Lattice, n: int, t: int, folds: int, seeds: int) -> Cost:
    """Of `refine`'s steps: products of all rows with the directions of all folds, and back."""
    columns = folds * len(lattice.subsets) * t
    step = [product(2, n, columns, lattice.starts[-1])]
    sums = seeds * REFINEMENTS * features(step)
    return Cost(float(sums[:2].sum()), float(sums @ np.array(GRAM)))


@functools.cache
def share_out(
    lattice: Lattice,
    n: int,
    t: int,
    folds: int,
    seeds: int,
    on_host: bool,
    held: Held | None = None,
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Positions of the subsets for the Gram route and for the hat route.

    The narrower subsets go to the Gram route and the wider ones to the hat route; of all cuts
    between them, the one of least estimated time, compiling included, is taken.
    """
    widths = [len(lattice.columns(subset)) for subset in lattice.subsets]
    cuts = np.unique([0, *widths])
    if len(cuts) > MOST_CUTS:
        cuts = cuts[np.linspace(0, len(cuts) - 1, MOST_CUTS).round().astype(int)]

    def parted(cut):
        narrow = tuple(i for i, width in enumerate(widths) if width <= cut)
        wide = tuple(i for i, width in enumerate(widths) if width > cut)
        return narrow, wide

    def seconds(cut) -> float:
        gram, hat = (part_of(lattice, share) for share in parted(cut))
        compiling = HAT_COMPILING if hat is not None and on_host else 0.0
        return ridge_cost(gram, hat, n, t, folds, seeds, on_host, held).seconds + compiling

    return parted(min(cuts, key=seconds))
