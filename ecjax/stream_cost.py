"""What streaming a task costs, from shapes alone: passes, operations, bytes.

Axes: n rows, p columns, t targets, q = p + t, c classes, r seeds, k folds, m inner groups, s
subsets, l penalties.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ecjax.errors import InputError, quote
from ecjax.memory import FLOAT, size_text
from ecjax.stream_logistic import STATE
from ecjax.subsets import Lattice

BATCH_SHARE = 1 / 8  # of the budget, for the arrays of a batch
MOST_ROWS = 2**16  # of a batch
COPIES = 6  # of a batch's vectors: as read, as floats, by fold, and twice as read ahead
# Of the budget, beside it, for logistic fits: rows in memory, what is made of them, fits at work,
# and weights that are kept.
SAMPLE_SHARE, SHAPES_SHARE, FITS_SHARE, WEIGHTS_SHARE = 1 / 4, 1 / 8, 1 / 4, 1 / 8
ENOUGH, FEWEST = 400, 4  # rows of a sample per column, where not all rows fit
STORED = 4  # bytes of a number in the tables
# Evaluations of the last fit to be done, to a gradient of 1e-5: so many, and so many more divided
# by the sample's rows per column. Measured on 160 columns and 5 classes: 9 with 79 of them, 7 with
# 163; where columns have heavy tails, 18 with 62 and 8 with 250.
EVALUATIONS, MORE = 5.0, 320.0
OF_SAMPLE = 8.0  # evaluations of a fit to the sample
STEPS = 3.0  # of conjugate gradients for each of them, counted with all fits that are done


class Shape(NamedTuple):
    """What is asked for.

    Attributes:
      rows: n.
      lattice: widths of the embeddings, and the subsets.
      folds, seeds: k and r.
      strict: whether penalties are chosen by inner fits.
      groups, penalties: m and l of them.
      divided: whether the folds divide the rows between them.
    """

    rows: int
    lattice: Lattice
    folds: int
    seeds: int
    strict: bool
    groups: int = 0
    penalties: int = 1
    divided: bool = True

    @property
    def columns(self) -> int:
        return self.lattice.starts[-1]

    @property
    def widths(self) -> list[int]:
        """Columns of each subset."""
        return [sum(self.lattice.widths[b] for b in s) for s in self.lattice.subsets]

    @property
    def dealt(self) -> bool:
        """Whether rows, and not folds, are dealt to inner groups."""
        return self.strict and (self.folds < 3 or not self.divided)


class StreamCost(NamedTuple):
    """What a task takes under one setting.

    Attributes:
      passes: over all tables, as many as are assumed where fits decide.
      operations: floating-point ones of the first pass, of the fits, and of what comes after.
      repeated: those among the fits' that every process does that shares the rows.
      bytes_read: in a pass.
      peak_bytes: in memory at most, of what grows with the shapes.
    """

    passes: int
    operations: tuple[float, float, float]
    repeated: float
    bytes_read: float
    peak_bytes: float


def sample_rows(rows: int, columns: int, classes: int, budget: float, cores: int) -> int:
    """How many rows logistic fits may hold in memory; 0 where that would be too few to tell."""
    of_columns = SAMPLE_SHARE * budget / (2 * columns * FLOAT)
    held = int(min(of_columns, SHAPES_SHARE * budget / (cores * bytes_of_shapes(classes))))
    if held >= rows:
        return rows
    return 0 if held < FEWEST * (columns + 1) else min(held, ENOUGH * (columns + 1))


def rows_held(task: str, rows: int, columns: int, classes: int, budget: float, cores: int) -> int:
    """As `sample_rows`; an InputError where they are too few."""
    held = sample_rows(rows, columns, classes, budget, cores)
    if not held:
        raise InputError(
            f"task {quote(task)}: a budget of {size_text(budget)} holds too few rows in memory for "
            f"logistic fits to {columns:,} columns and {classes} classes, which need "
            f"{FEWEST * (columns + 1):,} of them; raise --max_memory_gib"
        )
    return held


def bytes_of_shapes(classes: int) -> float:
    """Of what a row in memory adds to the arrays of one fit."""
    return 2 * classes * FLOAT


def ridge(shape: Shape, targets: int, budget: float, second_pass: bool = True) -> StreamCost:
    """Ridge regression with a shared penalty, as `stream_task`."""
    n, p, r, k, t = shape.rows, shape.columns, shape.seeds, shape.folds, targets
    q, s = p + t, len(shape.lattice.subsets)
    systems = r * k * (shape.groups * shape.penalties + 2 if shape.strict else 1)
    tested = r * k * (shape.groups * shape.penalties if shape.strict else 1)
    fits = systems * _elimination(shape.lattice, t) + tested * 2.0 * p * p * s * t
    weights = 2.0 * p * s * t * (2 if shape.strict else 1)
    after = n * r * weights if second_pass else 0.0
    cells = r * (k + (not shape.divided)) * (shape.groups if shape.dealt else 1)
    moments = (cells * q * q + r * k * weights / 2) * FLOAT
    passes = 1 + second_pass + shape.dealt
    peak = moments + _known(shape) + _batch(shape, budget)
    return StreamCost(passes, (1.0 * n * q * q * r, fits, after), fits, _stored(shape, t), peak)


def logistic(shape: Shape, classes: int, budget: float, cores: int) -> StreamCost:
    """Logistic regression, as `stream_class_task`; passes and operations are an assumption.

    Args:
      cores: of the host.
    """
    n, p, r, k, c = shape.rows, shape.columns, shape.seeds, shape.folds, classes
    held = sample_rows(n, p, c, budget, cores)
    whole, widest = held == n, sum(shape.widths)
    state = c * (widest + len(shape.widths)) * STATE
    room = FITS_SHARE * budget / FLOAT
    evaluations = 0.0 if whole else EVALUATIONS + MORE * (p + 1) / max(held, 1)
    outer = r * k * (2 if shape.strict else 1)
    inner = r * k * shape.groups * shape.penalties if shape.strict else 0
    passes, operations, repeated = 0, 0.0, 0.0
    for fits, left_out in ((inner, 1 / max(shape.groups, 1)), (outer, 0.0)):
        trained = (1 - left_out) * (1 - 1 / k if shape.divided else 1)
        product = 4.0 * c * widest * fits * trained  # a row's, there and back
        operations += product * n * evaluations
        repeated += product * held * (OF_SAMPLE + evaluations) * (1 + STEPS)
        passes += math.ceil(fits * state / room) * math.ceil(evaluations)
    if shape.strict and not whole:  # the losses of inner fits
        passes += math.ceil(inner * state / room)
    after = (2 if shape.strict else 1) * outer / k * 2.0 * n * c * widest
    weights = outer * c * (widest + len(shape.widths)) * FLOAT
    fits = min((inner + outer) * state * FLOAT, FITS_SHARE * budget)
    shapes = min(SHAPES_SHARE * budget, held * cores * bytes_of_shapes(c) * 256 / c)
    peak = weights + fits + shapes + 2 * held * p * FLOAT + _known(shape) + _batch(shape, budget)
    first = 6.0 * n * p * r
    total = 1 + shape.dealt + passes + (2 if shape.strict else 1)
    fitting = operations + repeated
    return StreamCost(total, (first, fitting, after), repeated, _stored(shape, 1), peak)


def _elimination(lattice: Lattice, t: int) -> float:
    """Operations of one fold's systems, every common prefix once."""
    total, q = 0.0, lattice.starts[-1] + t
    for stage, width, start in zip(lattice.stages, lattice.widths, lattice.starts, strict=False):
        later = q - start - width
        total += len(stage.take) * (width**3 / 3 + width**2 * later + width * later**2)
    return total


def _stored(shape: Shape, targets: int) -> float:
    return shape.rows * (shape.columns * STORED + targets * FLOAT)


def _batch(shape: Shape, budget: float) -> float:
    rows = min(shape.rows, MOST_ROWS)
    return min(BATCH_SHARE * budget, COPIES * rows * shape.columns * FLOAT)


def _known(shape: Shape) -> float:
    tables, seeds = len(shape.lattice.widths), shape.seeds
    return shape.rows * (8 + 8 * tables + 4 * seeds)
