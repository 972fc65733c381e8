"""Bytes that pieces take in a call, as upper estimates.

Axes: n rows, h held-out rows of a fold, p columns, t targets, c classes, r seeds, k folds, s
subsets.
"""

from __future__ import annotations

from typing import NamedTuple

from ecjax import host, lbfgs, nested_cost, refine
from ecjax.cost import Held
from ecjax.errors import InputError
from ecjax.gram import keeps_moments
from ecjax.nested_cost import Search
from ecjax.pieces import Piece, Sample, lattice_of, parts_of
from ecjax.subsets import Part

FLOAT = 8
INTEGER = 4
GIB = 2**30
MORE_ROOM = (
    "raise --max_memory_gib on a machine that has more, or use --split=hash --stream, whose folds "
    "need no other rows"
)


class TooLarge(InputError):
    """What is to be computed does not fit into the memory that may be used."""


class Way(NamedTuple):
    """How the pieces of a sample are computed.

    Attributes:
      folds, held: k, and the rows that they hold out.
      hat: subsets that take the hat route of ridge regression.
      on_host: whether the Gram route runs on the host's BLAS.
      refined: whether ridge regression is float32 with refinement; see `refine`.
      at_once, fits_at_once: ridge systems and logistic fits side by side.
      predictions: whether those of every row are returned.
      ridge, logistic: under `strict`, how penalties are chosen.
    """

    folds: int
    held: Held
    hat: frozenset[tuple[int, ...]]
    on_host: bool
    refined: bool
    at_once: int
    fits_at_once: int
    predictions: bool
    ridge: Search | None = None
    logistic: Search | None = None


def size_text(size: float) -> str:
    """So many bytes in GiB, or in MiB where that says more."""
    return f"{size / GIB:.2f} GiB" if size >= GIB / 100 else f"{size / 2**20:.2f} MiB"


def piece_bytes(sample: Sample, piece: Piece, way: Way) -> float:
    """Of a piece's arrays in and out and of its largest working set."""
    n, t = sample.rows, sample.regression_targets
    inputs = sum(x.nbytes for x in sample.blocks) + n * t * FLOAT
    for search in (way.ridge, way.logistic):
        if search is not None:
            inputs += len(piece.seeds) * way.folds * search.groups * search.width * INTEGER
    of_ridge = _refined_ridge if way.refined else _ridge
    total = inputs + of_ridge(sample, piece, way)
    return total + _classes(sample, piece, way)


def _ridge(sample: Sample, piece: Piece, way: Way) -> float:
    n, s, t = sample.rows, len(piece.subsets), sample.regression_targets
    p = sum(x.shape[1] for x in sample.blocks)
    gram, hat = parts_of(lattice_of(sample, piece.subsets), piece, way.hat)
    compiled = hat is not None or sample.classification or not way.on_host
    total = 3 * n * p * FLOAT if compiled else 0.0
    if not t:
        return total
    k, h, q, beside = way.folds, way.held.padded_left_out, p + t, way.at_once
    if way.on_host and gram is not None:
        stored = sum(x.nbytes for x in sample.blocks) + n * t * FLOAT
        total += stored + n * q * FLOAT  # its own copy of the input, standardised
        beside = host.available_cores()
    if way.ridge is None:
        kept = k * q * q if keeps_moments(q, k, n) else 0
        fold = h * q + 8 * q * q + 3 * s * p * t + 3 * h * s * t
        total += (kept + fold * beside) * FLOAT
    else:
        shape = gram.lattice, n, t, k, way.ridge, way.held
        total += nested_cost.nested_numbers(way.on_host, beside, *shape) * FLOAT
    if hat is not None:
        total += _hat_route(hat, n, t, h, way.at_once)
    return total + _ridge_results(sample, piece, way, 5)


def _ridge_results(sample: Sample, piece: Piece, way: Way, of_predictions: int) -> float:
    r, s, k, t = len(piece.seeds), len(piece.subsets), way.folds, sample.regression_targets
    rows = max(sample.rows, k * way.held.padded_scored)
    numbers = r * s * k * t + 3 * s * rows * t
    return (numbers + (of_predictions * r * s * rows * t if way.predictions else 0)) * FLOAT


def _refined_ridge(sample: Sample, piece: Piece, way: Way) -> float:
    n, s, t = sample.rows, len(piece.subsets), sample.regression_targets
    p = sum(x.shape[1] for x in sample.blocks)
    total = 1.0 * sum(x.nbytes for x in sample.blocks)
    if sample.classification:
        total += 3 * n * p * FLOAT
    if not t:
        return total
    lattice, k, h = lattice_of(sample, piece.subsets), way.folds, way.held.padded_left_out
    blocks = zip(lattice.stages, lattice.widths, lattice.starts, strict=False)
    factor = sum(len(stage.take) * width * (p - start) for stage, width, start in blocks)
    columns = k * s * t
    chunk = min(n * (p + columns), refine.MOST_NUMBERS)
    kept = k * p * p if keeps_moments(p, k, n) else p * p
    fold = 6 * p * p + 3 * factor + 3 * h * s * t
    numbers = kept + fold * way.at_once + k * factor + 10 * p * columns + 4 * chunk
    return total + numbers * FLOAT + _ridge_results(sample, piece, way, 3)


def _classes(sample: Sample, piece: Piece, way: Way) -> float:
    """Of the classification tasks' fits and results."""
    n, s, r, k = sample.rows, len(piece.subsets), len(piece.seeds), way.folds
    widths = [x.shape[1] for x in sample.blocks]
    p = sum(widths)
    widest = max(sum(widths[i] for i in subset) for subset in piece.subsets)
    total = 0.0
    for task in sample.classification:
        c = len(task.classes)
        b = r * (k + way.fits_at_once)
        fits = b * c * (2 * (s + 1) * (p + 2) + (lbfgs.HISTORY + 4) * widest) + b * n
        batch = way.fits_at_once * c * (12 * n + 30 * widest)
        blocks = 3 * c * widest * widest
        logits = r * s * c * (n + max(n, k * way.held.padded_scored))
        results = (r * s * n * c if way.predictions else 0) + 4 * s * n
        total += (fits + batch + blocks + 3 * n * widest + logits + results) * FLOAT
    if sample.classification and way.logistic is not None:
        c = max(len(task.classes) for task in sample.classification)
        total += nested_cost.class_numbers(n, p, c, k, s, way.logistic, way.held) * FLOAT
    return total


def _hat_route(part: Part, n: int, t: int, h: int, at_once: int = 1) -> float:
    """Of the hat route's factors, of their elimination and of one round of folds."""
    lattice = part.lattice
    taken = [len(stage.take) for stage in lattice.stages]
    growth = sum(q * width for q, width in zip(taken, lattice.widths, strict=True))
    later = [lattice.starts[-1] - start for start in lattice.starts[:-1]]
    states = max(q * r * (n + r) for q, r in zip(taken, later, strict=True))
    s = len(lattice.subsets)
    fold = 4 * s * h * h + h * growth + 3 * s * h * t
    return (n * growth + 3 * states + 3 * s * n * t + fold * at_once) * FLOAT
